"""Every wrong task is caught by the plan on its label, and no right one is accused."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_case import KINDS, load
from table import accusation, catching, row, summary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CASES = load()
WRONG = [name for name, case in CASES.items() if case.wrong]
RIGHT = [name for name, case in CASES.items() if not case.wrong]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_task_is_not_accused(name):
    assert accusation(name, "all") == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_task_is_caught_by_its_plan_and_by_no_plainer_one(name):
    assert catching(CASES[name])[:1] == (CASES[name].caught_by,)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_task_is_caught_by_all_plans(name):
    assert f"corpus_tasks.{name}(" in accusation(name, "all")


def test_half_of_them_are_right():
    assert len(CASES) >= 44
    assert 0.4 < len(RIGHT) / len(CASES) < 0.6
    assert {case.caught_by for case in CASES.values()} == {None, *KINDS}


@pytest.mark.parametrize("name", CASES)
def test_its_row_in_the_documentation_is_the_real_one(name):
    """To mend the page: ``python tests/corpus/table.py --write``."""
    assert row(CASES[name]) in (DOCS / "corpus.md").read_text(encoding="utf-8").splitlines()


def test_the_sums_in_the_documentation_are_those_of_the_rows():
    """The tests above say that none is missed and none accused."""
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    said = f"of {len(CASES)} small tasks, all of the {len(WRONG)} wrong ones, and none of the {len(RIGHT)} right ones"
    assert said in " ".join(words)
    sums = summary(CASES.values(), judge=lambda case: "caught" if case.wrong else "passed")
    assert sums in (DOCS / "idempotency.md").read_text(encoding="utf-8")
