"""Every scenario looks the same with a stepped worker as with a real one, or is a row of ``differences.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import signals
from differences import DIFFERENCES, Difference
from matrix import ORACLE, STEPPED, judged
from parity_scenario import load
from parity_trace import Names, difference, play

from pytest_taskharness.clock.real import Real

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
# Where on_failure raises, Celery warns in the worker's own process, which is ours.
pytestmark = pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
WAYS_OUT = ["Mend the stepped worker, or give differences.py a row with exactly the lines that differ."]
SCENARIOS = [pytest.param(found, id=name) for name, found in load().items()]


@pytest.mark.parametrize("mode", STEPPED)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_looks_the_same_as_with_a_real_worker(scenario, mode, expected, needs):
    needs(mode)
    cell = judged(scenario, mode, expected(scenario.name))
    if cell.text:
        pytest.fail("\n".join([*heading(scenario, mode), *cell.text, *WAYS_OUT]), pytrace=False)


def heading(scenario, mode):
    return [f"{scenario.name} ({scenario.tells}) should look in {mode} as it does in {ORACLE}. Instead:"]


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.scenario)
def test_a_known_difference_stands_in_the_documented_table(row):
    assert row.scenario in load()
    assert set(row.modes) <= set(STEPPED)
    assert f"\n| {row.title} |" in DESIGN.read_text(encoding="utf-8"), "docs/design.md has no such row"


def test_rows_are_numbered_as_they_stand():
    assert [row.number for row in DIFFERENCES] == list(range(1, len(DIFFERENCES) + 1))


def test_each_scenario_says_in_a_sentence_what_it_shows():
    assert len(load()) >= 200
    assert all(found.tells.rstrip().endswith(".") for found in load().values())


def test_the_same_scenario_gives_the_same_trace_twice(log):
    scenario = load()["chords.chords_in_a_chord"]
    assert play(scenario, "memory") == play(scenario, "memory")


def test_a_test_process_that_publishes_slowly_makes_no_difference(needs):
    def linger(**_):
        Real.sleep(0.5)

    needs(ORACLE)
    scenario = load()["signatures.a_chord_from_json"]
    signals.after_task_publish.connect(linger)
    try:
        found = play(scenario, ORACLE)
    finally:
        signals.after_task_publish.disconnect(linger)
    assert found == play(scenario, "memory")


def test_scenarios_that_differ_give_traces_that_differ(log):
    one, other = (play(load()[name], "memory") for name in ("delivery.late", "delivery.late_and_failing"))
    diff = difference(one, other, names=("one", "other"))
    assert "-the user saw 3" in diff


def test_a_row_holds_for_exactly_its_lines():
    diff = difference(["same", "was"], ["same", "is"], names=("real", "stepped"))
    row = Difference(1, "any", ("memory",), title="any", lines=("-was", "+is"))
    assert row.shows(diff)
    assert not row.shows([])
    assert not row.shows([*diff, "+more"])


def test_tasks_are_named_after_who_published_them():
    def publish(task_id, parent=None):
        return {"what": "publish", "id": task_id, "detail": {"task": "shop.add", "parent_id": parent}}

    ids = [f"{number:08}-0000-0000-0000-000000000000" for number in range(4)]
    first, second, child, group = ids
    names = Names([publish(first), publish(second), publish(child, parent=second)])
    text = f"{first} {second} {child} {group} at 2030-01-01T00:00:00.5+00:00"
    assert names.in_text(text) == "<add 1> <add 2> <add 2.1> <id 1> at <time>"
