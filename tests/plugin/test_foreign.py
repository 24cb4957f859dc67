"""What `python -m benchmarks.foreign` says of two runs of somebody's suite, and that it says it of a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

JUNIT = """<testsuites><testsuite>
<testcase classname="test_a" name="test_one"/>
<testcase classname="test_a" name="test_two"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="test_a" name="test_three"><skipped message="not here"/></testcase>
<testcase classname="test_a" name="test_four"/>
<testcase classname="test_a" name="test_four"><error message="in the tear-down"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def foreign(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import foreign

    return foreign


def test_the_worst_that_a_test_has_had(foreign):
    outcomes, messages = foreign.outcomes_of(JUNIT)

    assert outcomes == {
        "test_a::test_one": "passed",
        "test_a::test_two": "failure",
        "test_a::test_three": "skipped",
        "test_a::test_four": "error",
    }
    assert messages["test_a::test_two"] == "assert 1 == 2"


def test_what_differs_and_how_much_faster(foreign):
    stock = [
        foreign.Run(10, 1, {"one": "passed", "flaky": "passed", "random[1]": "passed"}),
        foreign.Run(30, 1, {"one": "passed", "flaky": "error", "random[2]": "passed"}),
    ]
    ours = [
        foreign.Run(1, 1, {"one": "failure", "flaky": "error", "new": "passed"}, {"one": "assert 0"}),
        foreign.Run(2, 2, {"one": "passed", "flaky": "error", "new": "passed"}),
    ]

    same, other = foreign.compared({"stock": stock, "drop-in": ours})

    assert (same.ratio, same.differing) == (1, {})
    assert (other.seconds, other.busy, other.ratio) == (1.5, 1.5, 12.5)
    assert other.differing == {
        "one": "passed, now failure or passed: assert 0",
        "new": "missing, now passed",
    }
    assert "drop-in: one: passed, now failure or passed: assert 0" in foreign.report("suite", [same, other])


def test_on_a_suite(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_fine(): pass\n"
        "def test_served(request):\n"
        "    assert not request.config.getini('taskharness_replace_celery_fixtures')\n"
    )

    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.foreign", str(tmp_path), "--rounds=1", "--way=idle", "--way=drop-in", "--",
         "-p", "no:cacheprovider"],
        cwd=ROOT, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip

    assert ended.returncode == 1
    assert "| idle | 2 passed |" in ended.stdout
    assert "| drop-in | 1 passed, 1 failure |" in ended.stdout
    assert "drop-in: test_it::test_served: passed, now failure" in ended.stdout
