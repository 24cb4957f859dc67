"""The user's own freezing, threads and ``from time import sleep``, around the harness and inside it."""

from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from freezegun import freeze_time
from napping import nap
from scenario import both_clocks, memory_only, passed

NOON = datetime(2031, 5, 5, 12, tzinfo=timezone.utc)


def now():
    return datetime.now(timezone.utc)


@both_clocks
def test_sleep_imported_by_name_is_virtual(harness):
    nap(3600)
    assert passed(harness) == 3600


@both_clocks
def test_sleep_imported_by_name_in_a_body_meets_the_time_limit(harness, app):
    @app.task(soft_time_limit=5)
    def slow():
        nap(60)

    slow.delay().get(propagate=False)
    assert passed(harness) == 5


def test_sleep_imported_by_name_after_opening_is_virtual(harness):
    module = type(sys)("late_module")
    exec("from time import sleep", module.__dict__)
    module.sleep(60)
    assert passed(harness) == 60


@both_clocks
def test_a_thread_of_the_users_sleeps_for_real(harness):
    slept = []

    def work():
        time.sleep(0.01)
        slept.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert slept == [True]
    assert passed(harness) == 0


@both_clocks
def test_waiting_for_a_thread_is_real(harness):
    done = threading.Event()
    threading.Timer(0.01, done.set).start()
    assert done.wait(timeout=10)
    assert passed(harness) == 0


@both_clocks
def test_publishing_from_a_thread_is_seen(harness, tasks):
    results = []
    thread = threading.Thread(target=lambda: results.append(tasks.add.delay(1, 2)))
    thread.start()
    thread.join()
    harness.settle()
    assert results[0].get() == 3


def test_the_harness_shares_a_freeze_time_around_it(open_harness, tasks):
    with freeze_time(NOON) as frozen:
        with open_harness(start=None) as harness:
            assert harness.clock.now == NOON
            tasks.noop.apply_async(countdown=60)
            harness.settle()
            assert now() == NOON + timedelta(seconds=60)
            frozen.tick(timedelta(seconds=5))
            assert harness.clock.now == NOON + timedelta(seconds=65)
        assert now() == NOON + timedelta(seconds=65)


def test_the_harness_shares_a_time_machine_around_it(open_harness, tasks):
    with time_machine.travel(NOON, tick=False) as traveller:
        with open_harness(start=None) as harness:
            assert harness.clock.now == NOON
            tasks.noop.apply_async(countdown=60)
            harness.settle()
            assert now() == NOON + timedelta(seconds=60)
            traveller.shift(5)
            assert harness.clock.now == NOON + timedelta(seconds=65)
        assert now() == NOON + timedelta(seconds=65)


@pytest.mark.parametrize("around", ["freezegun", "time-machine"])
def test_a_start_inside_a_users_freeze_is_a_layer_on_top(open_harness, tasks, around):
    outer = freeze_time(NOON) if around == "freezegun" else time_machine.travel(NOON, tick=False)
    with outer:
        with open_harness(start="2040-01-01T00:00:00Z") as harness:
            assert now().year == 2040
            harness.clock.advance(hours=1)
        assert now() == NOON


@memory_only
def test_a_tick_of_the_user_makes_things_due(open_harness, tasks):
    with freeze_time(NOON) as frozen, open_harness(start=None) as harness:
        result = tasks.noop.apply_async(countdown=60)
        harness.drain()
        frozen.tick(timedelta(seconds=60))
        assert harness.drain().counts == {"SUCCESS": 1}
        assert result.state == "SUCCESS"


@memory_only
def test_a_move_to_of_the_user_makes_things_due(open_harness, tasks):
    with freeze_time(NOON) as frozen, open_harness(start=None) as harness:
        tasks.noop.apply_async(countdown=60)
        harness.drain()
        frozen.move_to(NOON + timedelta(hours=1))
        assert harness.drain().counts == {"SUCCESS": 1}
        assert harness.run_of(tasks.noop).started_at == NOON + timedelta(hours=1)


@memory_only
def test_a_shift_of_the_users_time_machine_makes_things_due(open_harness, tasks):
    with time_machine.travel(NOON, tick=False) as traveller, open_harness(start=None) as harness:
        tasks.noop.apply_async(countdown=60)
        harness.drain()
        traveller.shift(timedelta(minutes=2))
        assert harness.drain().counts == {"SUCCESS": 1}


@memory_only
def test_a_move_to_of_the_users_time_machine_expires_things(open_harness, tasks):
    with time_machine.travel(NOON, tick=False) as traveller, open_harness(start=None) as harness:
        result = tasks.noop.apply_async(expires=60)
        traveller.move_to(NOON + timedelta(hours=1))
        harness.drain()
        assert result.state == "REVOKED"


@both_clocks
def test_a_freeze_time_that_begins_inside_the_harness_is_seen(harness, tasks):
    with freeze_time(NOON):
        assert harness.clock.now == NOON
        tasks.noop.apply_async(countdown=60)
        harness.settle()
        assert harness.clock.now == now() == NOON + timedelta(seconds=60)
    assert passed(harness) == 0


@pytest.mark.parametrize("clock_library", ["time-machine"], indirect=True)
def test_a_travel_that_begins_inside_the_harness_is_seen(harness, tasks):
    with time_machine.travel(NOON, tick=False):
        assert harness.clock.now == NOON
        tasks.noop.apply_async(countdown=60)
        harness.settle()
        assert harness.clock.now == now() == NOON + timedelta(seconds=60)
    assert passed(harness) == 0


@memory_only
def test_a_user_who_goes_back_in_time_only_waits_longer(open_harness, tasks):
    with freeze_time(NOON) as frozen, open_harness(start=None) as harness:
        tasks.noop.apply_async(countdown=60)
        harness.drain()
        frozen.move_to(NOON - timedelta(hours=1))
        assert harness.drain().counts == {}
        harness.settle()
        assert harness.clock.now == NOON + timedelta(seconds=60)


@both_clocks
def test_time_is_real_again_after_the_harness(open_harness):
    before = time.time()
    with open_harness(start="2050-01-01T00:00:00Z"):
        assert now().year == 2050
    assert 0 <= time.time() - before < 60
    assert time.monotonic() < time.monotonic() + 1


@both_clocks
def test_without_a_start_the_clock_begins_at_the_real_now_and_stands_still(open_harness):
    before = datetime.now(timezone.utc)
    with open_harness(start=None) as harness:
        first = harness.clock.now
        assert timedelta(0) <= first - before < timedelta(minutes=1)
        assert now() == first


def test_a_ticking_clock_of_the_users_stands_still_inside_the_harness(open_harness):
    with time_machine.travel(NOON, tick=True), open_harness(start=None) as harness:
        readings = {harness.clock.now for _ in range(100)}
        assert len(readings) == 1
        assert abs(readings.pop() - NOON) < timedelta(minutes=1)
