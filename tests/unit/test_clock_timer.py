"""Celery's timer seam on virtual time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from pytest_taskharness.clock.real import Real
from pytest_taskharness.clock.timer import SteppedTimer

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def timer():
    return SteppedTimer(time=SimpleNamespace(now=NOW), on_tick=print)


def due(timer):
    return [(entry.at - NOW).total_seconds() for entry in timer.pending()]


def test_entries_are_due_in_order_of_time_whatever_the_order_of_calls(timer):
    timer.call_after(30, print)
    timer.call_after(10, print)
    timer.call_after(20, print)

    assert due(timer) == [10, 20, 30]
    assert timer.peek().at == NOW + timedelta(seconds=10)


def test_an_entry_comes_again_until_it_is_cancelled(timer):
    calls = []
    entry = timer.call_repeatedly(30, calls.append, ("again",))

    timer.pop().entry()
    assert due(timer) == [30]

    entry.cancel()
    assert (due(timer), calls) == ([], ["again"])


def test_ties_run_first_in_first_out(timer):
    calls = []
    for name in "abcde":
        timer.call_after(1, calls.append, (name,))

    while timer.peek():
        timer.pop().entry()

    assert calls == list("abcde")


def test_the_eta_of_the_request_wins_to_the_microsecond(timer):
    request = SimpleNamespace(eta=NOW + timedelta(seconds=1, microseconds=7))

    timer.call_at(1e9, print, (request,))

    assert due(timer) == [1.000007]


def test_an_eta_in_another_zone_is_the_same_instant(timer):
    timer.enter_at(timer.Entry(print), datetime(2030, 1, 1, 3, tzinfo=timezone(timedelta(hours=2))))

    assert due(timer) == [3600]


def test_a_float_is_an_instant_of_the_real_monotonic_clock(timer):
    timer.call_at(Real.monotonic() + 60, print)

    [seconds] = due(timer)
    assert seconds == pytest.approx(60, abs=1)


def test_no_eta_is_now(timer):
    timer.enter_at(timer.Entry(print))

    assert due(timer) == [0]


def test_a_negative_delay_is_now(timer):
    timer.call_after(-5, print)

    assert due(timer) == [0]


def test_a_delay_is_never_early_and_float_dust_costs_nothing(timer):
    timer.call_after(0.1 + 0.2, print)
    timer.call_after(1.0000001, print)

    assert due(timer) == [0.3, 1.000001]


def test_a_cancelled_entry_is_never_due(timer):
    timer.call_after(1, print).cancel()
    timer.call_after(2, print)

    assert due(timer) == [2]
    assert timer.peek().at == NOW + timedelta(seconds=2)


def test_an_empty_timer_has_nothing(timer):
    timer.call_after(1, print)
    timer.clear()

    assert (timer.peek(), len(timer), timer.pending()) == (None, 0, [])
