"""Beat through the fixture: what a failing test shows."""

from __future__ import annotations

SOURCE = """
from shop import app, boom

def nightly(task):
    app.conf.beat_schedule = {"nightly": {"task": task, "schedule": 60}}

def test_runs(harness):
    nightly("shop.boom")
    harness.beat.simulate(minutes=1, run=True)
    harness.assert_succeeded(boom)

def test_is_wrong(harness):
    nightly("shop.bom")
    harness.beat.simulate(days=1)

def test_adds_one(harness):
    app.add_periodic_task(30, boom.s(), name="added")
    assert harness.beat.simulate(hours=1).counts == {"added": 120}

def test_is_clean(harness):
    assert app.conf.beat_schedule == {}
"""


def test_a_failing_test_shows_what_beat_has_sent_and_leaves_no_entry_behind(project):
    result = project.test(SOURCE)

    result.assert_outcomes(failed=2, passed=2)
    result.stdout.fnmatch_lines([
        "t+60.000s  beat fire   shop.boom *  'nightly' <freq: 1.00 minute>",
        "*ScheduleError: the beat schedule of app 'shop' cannot work as it is written:",
        "*'nightly': a worker would refuse its message: no task 'shop.bom' is registered on app 'shop'*",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*harness/beat.py*")
