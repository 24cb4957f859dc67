"""The state machine, and the test that it writes."""

from __future__ import annotations

import logging
import re
from datetime import datetime, timezone
from typing import ClassVar

import pytest
from celery import Celery, chain
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from pytest_taskharness import Harness
from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.report.attaching import attached
from pytest_taskharness.strategies import TaskMachine
from pytest_taskharness.strategies.machine import PASTE_TITLE

app = Celery("shop", broker="redis://localhost", set_as_current=False)
payments = []
balances = {}


@app.task(shared=False, name="shop.charge")
def charge(order: int, currency: str = "EUR"):
    payments.append(order)


@app.task(shared=False, name="shop.credit", acks_late=True)
def credit(account: str, amount: int):
    balances[account] = balances.get(account, 0) + amount


@app.task(shared=False, name="shop.untold")
def untold(order):
    pass


class Checkout(TaskMachine):
    """The seeded bug: whoever is charged twice pays twice."""

    app = app
    tasks = (charge,)

    def __init__(self):
        super().__init__()
        payments.clear()

    @invariant()
    def nobody_pays_twice(self):
        assert len(payments) <= len(self.harness.runs())


def failure_of(machine):
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine)
    return caught.value


def pasted(error):
    return dict(attached(error))[PASTE_TITLE]


def run_pasted(text, harness):
    """Run the test as pytest would, in this file."""
    namespace = dict(globals())
    exec(text, namespace)
    name = re.search(r"^def (\w+)", text, re.MULTILINE)[1]
    namespace[name](harness)


def opened_as(machine):
    return Harness.open(machine.app, machine.mode, start=machine.start, seed=machine.seed)


def test_a_double_charge_shrinks_to_a_test_that_fails_the_same_way():
    text = pasted(failure_of(Checkout))

    assert text == (
        "# Paste this test beside Checkout, in test_strategies_machine.py:\n"
        "import pytest\n"
        "\n"
        "\n"
        '@pytest.mark.taskharness(mode="memory", start="2030-01-01T00:00:00+00:00", seed=0)\n'
        "def test_checkout_nobody_pays_twice(harness):\n"
        "    state = Checkout.on(harness)\n"
        "    published_0 = charge.delay(0)\n"
        "    harness.broker.duplicate(published_0)\n"
        "    harness.drain()\n"
        "    state.nobody_pays_twice()"
    )
    with opened_as(Checkout) as harness, pytest.raises(AssertionError, match=r"assert 2 <= 1"):
        run_pasted(text, harness)


class Bank(TaskMachine):
    """Late acknowledgement, and an effect that is not idempotent; rules and steps of the user's beside ours."""

    app = app
    tasks = (credit,)
    calls = st.builds(credit.s, st.just("a"), st.integers(1, 3))
    start = datetime(2031, 2, 3, tzinfo=timezone.utc)
    seed = 5
    config: ClassVar = {"task_track_started": True}
    duplicate = None
    redeliver = None

    def __init__(self):
        super().__init__()
        balances.clear()
        self.fees = 0

    @initialize(amount=st.integers(10, 20))
    def open_account(self, amount):
        balances["a"] = self.opened = amount

    @rule(result=TaskMachine.published, fee=st.integers(1, 3))
    def take_fee(self, result, fee):
        assert result.id
        self.fees += fee
        balances["a"] -= fee

    def at_rest(self):
        sent = sum(message.args[1] for message in self.harness.outbox)
        assert balances["a"] == self.opened + sent - self.fees


def test_a_crash_that_loses_or_repeats_an_effect_is_found_at_rest():
    text = pasted(failure_of(Bank))
    lines = [line.strip() for line in text.partition("):\n")[2].splitlines()]

    assert lines[:2] == ["state = Bank.on(harness)", "state.open_account(amount=10)"]
    assert lines[-2:] == ["harness.settle()", "state.at_rest()"]
    assert sorted(line.partition("(")[0] for line in lines[2:-2]) == [
        "harness.faults.crash",
        "published_0 = credit.delay",
    ]
    assert (
        '@pytest.mark.taskharness(mode="memory", start="2031-02-03T00:00:00+00:00", seed=5, '
        "config={'task_track_started': True})\n"
    ) in text
    with opened_as(Bank) as harness, pytest.raises(AssertionError):
        run_pasted(text, harness)


def test_a_crash_takes_the_place_of_one_that_has_not_struck():
    with opened_as(Bank) as harness:
        state = Bank.on(harness)
        state.open_account(amount=10)
        for death in state.possible_deaths()[:2]:
            state.crash(death)
        credit.delay("a", 1)
        harness.settle()
        assert [str(fault.what) for fault, _ in state._crashes if fault.struck] == [str(death.window)]


def test_the_failure_shows_the_timeline_with_the_seed():
    sections = dict(attached(failure_of(Bank)))

    assert "shop.credit" in sections["taskharness timeline (memory, seed 5)"]


def test_a_machine_that_finds_nothing():
    class Sound(Checkout):
        duplicate = redeliver = crash = None

    run_state_machine_as_test(Sound, settings=settings(max_examples=10, stateful_step_count=10))


def test_rules_of_the_users_stand_in_the_pasted_test_with_what_they_were_given():
    class Fees(Bank):
        crash = None

        @invariant()
        def fees_are_low(self):
            assert self.fees < 3

    text = pasted(failure_of(Fees))

    assert "    published_0 = credit.delay('a', 1)\n    state.take_fee(fee=3, result=published_0)\n" in text


class Broken(Exception):
    pass


def test_an_error_of_a_rule_needs_no_check():
    class Failing(Checkout):
        duplicate = redeliver = crash = None

        @rule()
        def fail(self):
            raise Broken

    with pytest.raises(Broken) as caught:
        run_state_machine_as_test(Failing)

    assert pasted(caught.value).endswith(
        "def test_failing(harness):\n    state = Failing.on(harness)\n    state.fail()"
    )


def test_a_canvas_and_options_are_written_so_that_they_can_be_read():
    class Canvas(Checkout):
        calls = st.just(chain(credit.si("a", 1), credit.si("a", 2).set(countdown=5)))
        tasks = ()

        @invariant()
        def nothing_was_sent(self):
            assert len(self.harness.runs()) == 0

    text = pasted(failure_of(Canvas))

    assert "published_0 = harness.app.signature({'task': 'celery.chain', " in text
    namespace = {**globals(), "Canvas": Canvas}
    with opened_as(Canvas) as harness, pytest.raises(AssertionError):
        exec(text + "\n\ntest_canvas_nothing_was_sent(harness)", {**namespace, "harness": harness})


def test_options_of_a_call_go_on():
    class Delayed(Checkout):
        calls = st.just(charge.s(1).set(countdown=5))

        @invariant()
        def nothing_was_sent(self):
            assert len(self.harness.runs()) == 0

    assert "    published_0 = charge.s(1).apply_async(countdown=5)\n" in pasted(failure_of(Delayed))


def test_a_task_of_no_module_is_looked_up():
    local = Celery("local", broker="redis://localhost", set_as_current=False)

    @local.task(shared=False, name="local.note-it")
    def note(text: str):
        pass

    class Local(TaskMachine):
        app = local
        tasks = (note,)

        @invariant()
        def nothing_was_sent(self):
            assert not self.harness.runs()

    text = pasted(failure_of(Local))

    assert "    note_it = harness.app.tasks['local.note-it']\n" in text
    assert "    published_0 = note_it.delay('')\n" in text


@pytest.mark.parametrize("mode", ["fakeredis"])
def test_other_modes(mode):
    class There(Checkout):
        pass

    There.mode = mode

    assert f'@pytest.mark.taskharness(mode="{mode}", ' in pasted(failure_of(There))


# -- nothing is left behind


def test_an_error_in_the_constructor_closes_the_harness():
    class Unmade(TaskMachine):
        app = app
        tasks = (charge,)

        def __init__(self):
            super().__init__()
            self.kept.append(self.harness)
            raise Broken

        kept: ClassVar = []

    with pytest.raises(Broken):
        Unmade()

    assert "(closed)" in repr(Unmade.kept[0])
    assert logging.getLogger("celery").level == logging.NOTSET


def test_a_machine_on_a_given_harness_leaves_it_open():
    with Harness.open(app) as harness:
        state = Checkout.on(harness)
        assert state.harness is harness
        state.teardown()
        assert "(closed)" not in repr(harness)


def test_celery_is_quiet_meanwhile_and_speaks_afterwards(caplog):
    failure_of(Bank)

    assert not [record for record in caplog.records if record.name.startswith("celery")]
    assert logging.getLogger("celery").level == logging.NOTSET


# -- what cannot be


@pytest.mark.parametrize(
    "attributes, text",
    [
        ({"tasks": [charge]}, "Wrong needs the app that it steps: class Wrong(TaskMachine): app = app"),
        ({"app": app}, "Wrong needs tasks to publish: tasks = [charge], or calls = a strategy of them"),
        (
            {"app": app, "tasks": [charge], "mode": "redis+process"},
            (
                "Wrong.mode = 'redis+process': a TaskMachine steps, crashes and duplicates, which works in the modes "
                "'memory', 'fakeredis', 'redis'."
            ),
        ),
    ],
)
def test_a_machine_that_cannot_start(attributes, text):
    machine = type("Wrong", (TaskMachine,), attributes)

    with pytest.raises(ConfigurationError) as caught:
        run_state_machine_as_test(machine)

    assert str(caught.value) == text


def test_settings_are_hypothesis_own():
    @settings(max_examples=3, stateful_step_count=2)
    class Short(Checkout):
        @invariant()
        def few_steps(self):
            assert len(self.harness.runs()) <= 2

    assert Checkout.TestCase.settings.stateful_step_count == 20
    assert Short.TestCase.settings.max_examples == 3
    run_state_machine_as_test(Short)


def test_a_parameter_without_a_hint_is_named():
    class Untold(Checkout):
        tasks = (untold,)

    with pytest.raises(ConfigurationError, match="cannot know what to pass as 'order'"):
        run_state_machine_as_test(Untold)
