"""What the report of a failed test says to somebody who expects a worker that goes on by itself."""

from __future__ import annotations

import pytest

PROGRESS = """
import time
from shop import app

@app.task(bind=True)
def count(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    time.sleep(1)

"""
LOOKING = """
def test_looking({fixture}):
    result = count.delay()
    seen = set()
    while not result.ready():
        seen.add(result.state)
        time.sleep(0.1)
    assert "PROGRESS" in seen
"""
NOBODY_DRIVES = """
from shop import app

@app.task
def add(x, y):
    return x + y

def test_that_does_not_wait(harness):
    result = add.delay(1, 2)
    {line}
"""
TITLE, UNDRIVEN = "*- taskharness: a stepped worker -*", "*1 message was published, and nothing drove the worker*"
PASSED = "PROGRESS was stored, but a body runs to its end in one wait of the test, which sees what comes after it"


def test_a_state_that_has_passed(project):
    project.test(PROGRESS + LOOKING.format(fixture="harness")).stdout.fnmatch_lines([TITLE, PASSED])


def test_a_state_that_has_passed_on_the_drop_in(project):
    source = PROGRESS + LOOKING.format(fixture="celery_app, celery_worker").replace("count.delay", "tick.delay")
    source = source.replace("    result", "    tick = celery_app.task(count.run.__func__, bind=True)\n    result", 1)
    found = project.test(source, "-o", "taskharness_replace_celery_fixtures=true")
    found.stdout.fnmatch_lines([TITLE, PASSED])


def test_what_nobody_drives(project):
    found = project.test(NOBODY_DRIVES.format(line='assert result.state == "SUCCESS"'))
    found.stdout.fnmatch_lines([TITLE, UNDRIVEN, "*with harness.background():"])


@pytest.mark.parametrize(
    "line",
    ["harness.assert_enqueued(add.s(1, 3))", "assert result.get() == 4", 'assert harness.settle().counts == "STARTED"'],
)
def test_a_test_that_fails_for_another_reason_is_told_nothing(project, line):
    found = project.test(NOBODY_DRIVES.format(line=line))
    found.assert_outcomes(failed=1)
    assert "a stepped worker -" not in found.stdout.str()


def test_a_whole_history_is_no_look_at_one_state(project):
    source = PROGRESS + (
        "def test_history(harness):\n"
        "    harness.perform(count.s())\n"
        '    assert harness.runs()[0].states == ["PENDING", "RECEIVED", "PROGRESS", "FAILURE"]\n'
    )
    assert "a stepped worker -" not in project.test(source).stdout.str()
