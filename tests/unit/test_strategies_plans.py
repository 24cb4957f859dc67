"""Plans of faults, and orders of deliveries."""

from __future__ import annotations

import re

import pytest
from celery import Celery
from hypothesis import find, given, settings
from hypothesis import strategies as st

from pytest_taskharness import Harness
from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.faults.windows import WINDOWS
from pytest_taskharness.strategies import (
    DeliverySchedule,
    FaultPlan,
    calls,
    crash_windows,
    delivery_schedules,
    fault_plans,
)
from pytest_taskharness.strategies.plans import PlannedFault

START = "2030-01-01T00:00Z"

app = Celery("shop", broker="redis://localhost", set_as_current=False)


@app.task(shared=False, name="shop.charge", acks_late=True, autoretry_for=(OSError,), retry_backoff=True)
def charge(order: int):
    return str(order)


@app.task(shared=False, name="shop.note")
def note(text: str):
    return text


def opened(mode="memory"):
    return Harness.open(app, mode, start=START)


# -- windows


def test_a_window_of_each_kind():
    for name in WINDOWS:
        find(crash_windows(charge), lambda window, name=name: window.name == name)


@given(window=crash_windows(note, lines=False))
def test_no_window_that_an_early_acknowledgement_does_not_have(window):
    assert str(window) != "child@before_ack"
    assert window.name != "in_body"


# -- plans


@settings(max_examples=50)
@given(call=calls(charge) | calls(note), plan=fault_plans(charge, note))
def test_every_plan_can_be_had(call, plan):
    with opened() as harness:
        faults = plan.apply(harness)
        call.delay()
        harness.settle()

    assert len(faults) == len(plan.faults)


@given(plan=fault_plans(charge, note, kinds=["crash", "fail"], max_size=2))
def test_one_of_a_kind_for_a_task(plan):
    kinds = [(fault.kind, fault.task) for fault in plan.faults]

    assert len(kinds) == len(set(kinds)) <= 2
    assert {fault.kind for fault in plan.faults} <= {"crash", "fail"}


def test_a_plan_says_how_it_is_written():
    window = find(crash_windows(charge), lambda window: window.name == "before_ack" and window.death == "node")
    plan = FaultPlan([
        PlannedFault("crash", charge, window),
        PlannedFault("fail", charge, ConnectionError),
        PlannedFault("fail", note, ConnectionError("refused")),
        PlannedFault("slow", note, 5),
        PlannedFault("lose_result", note),
    ])  # fmt: skip

    assert repr(plan) == (
        "FaultPlan([crash(charge, 'node@before_ack'), fail(charge, ConnectionError, times=1), "
        "fail(note, ConnectionError('refused'), times=1), slow(note, 5, times=1), lose_result(note)])"
    )
    assert plan
    assert not FaultPlan()
    with opened() as harness:
        assert [str(fault) for fault in plan.apply(harness)] == [
            "crash('shop.charge', at='node@before_ack')",
            "fail('shop.charge', ConnectionError())",
            "fail('shop.note', ConnectionError('refused'))",
            "slow('shop.note', seconds=5)",
            "lose_result('shop.note')",
        ]


def test_a_publish_that_raises_is_only_planned_where_it_is_asked_for():
    plan = find(fault_plans(charge, kinds=["publish_unknown"]), bool)

    assert repr(plan) == "FaultPlan([publish_unknown(charge)])"


def test_an_unknown_kind():
    with pytest.raises(ConfigurationError) as caught:
        fault_plans(charge, kinds=["crash", "explode"])

    assert str(caught.value) == (
        "fault_plans(kinds=…) takes some of 'crash', 'fail', 'slow', 'lose_result', 'publish_unknown'; given: "
        "['crash', 'explode']"
    )


def test_no_task():
    with pytest.raises(ConfigurationError, match="takes the tasks whose runs go wrong; given: none"):
        fault_plans()


# -- schedules


@settings(max_examples=50)
@given(count=st.integers(0, 3), schedule=delivery_schedules())
def test_every_schedule_can_be_had(count, schedule):
    with opened() as harness:
        for order in range(count):
            charge.delay(order)
        schedule.apply(harness)
        harness.settle()

        assert [run.state for run in harness.runs()] == ["SUCCESS"] * count


def test_a_schedule_gives_the_lines_that_do_the_same():
    steps = [
        ("hold", 0), ("step", 0), ("duplicate", 3), ("release", 2), ("hold", 1), ("drain", 0), ("redeliver", 1),
        ("advance", 60),
    ]  # fmt: skip
    with opened() as harness:
        charge.delay(1)
        note.apply_async(("x",), queue="notes")
        lines = DeliverySchedule(steps).apply(harness)
        first = harness.timeline.to_json()
    with opened() as harness:
        charge.delay(1)
        note.apply_async(("x",), queue="notes")
        exec("\n".join(lines))
        second = harness.timeline.to_json()

    assert lines == [
        "harness.broker.hold('celery')",
        "harness.step()",
        "harness.broker.duplicate(harness.outbox[1])",
        "harness.broker.release('celery')",
        "harness.broker.hold('notes')",
        "harness.drain()",
        "harness.broker.redeliver(harness.outbox[1])",
        "harness.clock.advance(seconds=60)",
        "harness.broker.release('notes')",
    ]
    assert sites_removed(first) == sites_removed(second)


def sites_removed(text):
    return re.sub(r'"\$site": \[[^]]*\]', "", text)


def test_nothing_to_duplicate_or_to_hold_is_left_out():
    with opened() as harness:
        assert DeliverySchedule([("duplicate", 0), ("redeliver", 0), ("hold", 0), ("release", 0)]).apply(harness) == []


def test_the_limits_of_a_schedule():
    assert find(delivery_schedules(max_size=3), lambda schedule: len(schedule.steps) == 3)
    assert find(delivery_schedules(max_seconds=1), lambda schedule: ("advance", 1) in schedule.steps).steps == (
        ("advance", 1),
    )


def test_a_schedule_shrinks_to_the_steps_that_matter():
    def runs_twice(schedule):
        with opened() as harness:
            run = harness.run_of(charge.delay(1))
            schedule.apply(harness)
            harness.settle()
            return len(run.attempts) > 1

    schedule = find(delivery_schedules(), runs_twice)

    assert schedule.steps == (("duplicate", 0),)
