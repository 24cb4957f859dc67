"""Hypothesis beside the plugin."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CHECKOUT = """
from celery import Celery
from hypothesis import settings
from hypothesis.stateful import invariant

from pytest_taskharness.strategies import TaskMachine
from shop import app

charged = []

@app.task
def charge_card(order: int):
    charged.append(order)

class Checkout(TaskMachine):
    app = app
    tasks = [charge_card]

    def __init__(self):
        super().__init__()
        charged.clear()

    @invariant()
    def nobody_pays_twice(self):
        assert len(charged) <= len(self.harness.runs()), "paid twice"

TestCheckout = Checkout.TestCase
TestCheckout.settings = settings(TestCheckout.settings, database=None, derandomize=True)
"""


@pytest.mark.parametrize("arguments", [[], ["-n", "1", "--taskharness-timeline=never"]])
def test_the_pasted_test_fails_as_the_machine_did(project, arguments):
    found = project.test(CHECKOUT, *arguments)

    found.assert_outcomes(failed=1)
    pasted = re.search(r"^# Paste .*?^    state\.nobody_pays_twice\(\)$", found.stdout.str(), re.MULTILINE | re.DOTALL)
    assert pasted is not None
    assert pasted[0].count("\n    ") <= 10

    again = project.test(f"{textwrap.dedent(CHECKOUT).partition('TestCheckout = ')[0]}\n\n{pasted[0]}\n")

    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["E * AssertionError: paid twice"])


def test_the_fixture_of_one_test_is_not_for_many_examples(project):
    result = project.test(
        """
        from hypothesis import given, strategies as st
        from shop import add

        @given(number=st.integers())
        def test_adds(harness, number):
            add.delay(number, 1)
        """,
        "-p",
        "hypothesispytest",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *FailedHealthCheck: *uses a function-scoped fixture 'harness'.*"])


@pytest.mark.parametrize("clock", ["freezegun", "time-machine"])
def test_virtual_hours_are_nothing_to_a_deadline(project, clock):
    result = project.test(
        f"""
        from hypothesis import given, settings, strategies as st
        from pytest_taskharness import Harness
        from pytest_taskharness.strategies import calls
        from shop import app

        @app.task
        def note(text: str, urgent: bool = False):
            return text

        @settings(deadline=60_000, max_examples=10, database=None)
        @given(call=calls(note), data=st.data())
        def test_hours(call, data):
            with Harness.open(app, clock={clock!r}) as harness:
                call.apply_async(countdown=7200)
                harness.settle()
                data.draw(st.integers())
                harness.clock.advance(hours=2)
                harness.assert_succeeded(note, returns=call.args[0])
        """
    )

    result.assert_outcomes(passed=1)


def test_the_failure_of_an_example_shows_its_seed_its_timeline_and_what_a_plan_did(project):
    result = project.test(
        """
        from hypothesis import given, settings
        from pytest_taskharness import Harness
        from pytest_taskharness.strategies import calls, delivery_schedules, fault_plans
        from shop import app

        @app.task(acks_late=True)
        def note(text: str):
            return text

        @settings(deadline=None, database=None, derandomize=True)
        @given(plan=fault_plans(note, kinds=["crash"]), schedule=delivery_schedules())
        def test_runs_once(plan, schedule):
            with Harness.open(app, seed=3) as harness:
                note.delay("x")
                plan.apply(harness)
                schedule.apply(harness)
                harness.settle()
                assert len(harness.run_of(note).attempts) < 2
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*plan=FaultPlan([[]*", "*harness.*", "*taskharness timeline (memory, seed 3)*"])


def test_without_hypothesis_the_error_says_what_to_install():
    program = "import sys; sys.modules['hypothesis'] = None; import pytest_taskharness.strategies"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr.endswith(
        "pytest_taskharness.errors.ConfigurationError: pytest_taskharness.strategies needs Hypothesis, which is not "
        "installed. Install it with\n    pip install 'pytest-taskharness[hypothesis]'\n"
    )


PAGE = Path(__file__).parents[2] / "docs/strategies.md"


def test_the_page_shows_the_test_that_its_machine_ends_with(pytester):
    page = PAGE.read_text("utf-8")
    files = dict(re.findall(r"^```python\n# ([\w/]+\.py)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    for name in ("conftest.py", "shop/tasks.py", "test_checkout.py"):
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[name], encoding="utf-8")

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "test_checkout.py")

    pasted = re.search(r"^# Paste .*?twice\(\)$", result.stdout.str(), re.MULTILINE | re.DOTALL)
    assert pasted is not None
    assert f"```python\n{pasted[0]}\n```" in page
