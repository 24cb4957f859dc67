"""``--taskharness-plan``: one plan alone, in every exploration of a session; and the line that shows progress."""

from __future__ import annotations

SHOP = """
from celery import Celery

app = Celery("shop", broker="amqp://nobody@nowhere.invalid//")
state = {"balance": 0}


@app.task(acks_late=True)
def credit(amount):
    state["balance"] += amount
    return amount


@app.task(acks_late=True)
def assign(amount):
    state["balance"] = amount
    return amount
"""

TEST = """
from shop import assign, credit, state


def asked():
    return {"observe": lambda: state, "reset": lambda: state.update(balance=0)}


def test_assign(harness):
    print("ran", harness.assert_idempotent(assign.s(7), **asked()))


def test_credit(harness):
    harness.assert_idempotent(credit.s(7), **asked())
"""


def run(project, *args):
    project.file(shop=SHOP)
    return project.test(TEST, *args)


def test_a_failure_names_the_plan_and_the_option_runs_it_alone(project):
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    line = next(line for line in result.outlines if "To run this plan alone: " in line)
    option = line.partition("To run this plan alone: ")[2].replace("'", "")
    assert option == "--taskharness-plan=crash:node@in_body:10"

    again = run(project, option, "-k", "credit")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["E  *shop.credit(7) is not idempotent: 1 of 1 plan ends otherwise than one clean run."])


def test_it_holds_for_every_exploration_of_the_session(project):
    result = run(project, "--taskharness-plan=again", "-rP")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["ran ['once', 'again']"])


def test_a_plan_that_is_none_ends_the_run_before_it_begins(project):
    result = run(project, "--taskharness-plan=agian")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: taskharness: 'agian' (from --taskharness-plan) is no plan. Did you mean*"])


def test_a_window_that_a_task_does_not_come_to_is_an_error_with_the_nearest(project):
    result = run(project, "--taskharness-plan=crash:node@in_body:99")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E  *'crash:node@in_body:99' (from --taskharness-plan): one clean run does not come*"])


def test_the_failure_points_at_the_line_of_the_test(project):
    result = run(project, "-k", "credit")
    result.stdout.fnmatch_lines(
        [">       harness.assert_idempotent(credit.s(7), **asked())", "test_shop.py:*AssertionError"]
    )
    result.stdout.no_fnmatch_line("*pytest_taskharness/*")


def test_a_long_exploration_says_so_on_the_terminal_past_the_capturing(project):
    project.file(conftest="from pytest_taskharness.explore import progress\nprogress.QUIET_SECONDS = 0.0\n")
    result = run(project, "-k", "assign")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["taskharness: assert_idempotent(shop.assign(7)): 1 plan so far, * s"])


def test_a_short_one_says_nothing(project):
    run(project, "-k", "assign", "--taskharness-plan=again").stdout.no_fnmatch_line("*so far*")
