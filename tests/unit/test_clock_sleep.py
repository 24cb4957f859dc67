"""Sleeping while a harness is open."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import ModuleType

import pytest

from pytest_taskharness.clock import sleep as sleeping
from pytest_taskharness.clock.sleep import Sleeper, sleep_virtually


class Clock:
    """A sleeper's clock, and what it was asked for."""

    def __init__(self):
        self.now = 0.0
        self.naps = []
        self.applies = True
        self.sleeper = Sleeper(lambda: self.now, self.sleep, lambda: self.applies)

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def module():
    """A module of a user that did `from time import sleep` long ago."""
    made = ModuleType("users_module")
    exec("from time import sleep\nfrom asyncio import sleep as nap\n\ndef work():\n    sleep(5)", made.__dict__)
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_sleeping_goes_to_the_sleeper_and_back_to_the_real_thing(clock):
    real = time.sleep
    with sleep_virtually(clock.sleeper):
        time.sleep(3600)

    assert clock.naps == [3600]
    assert time.sleep is real


def test_a_name_that_was_imported_is_replaced_too(clock, module):
    real = module.sleep
    with sleep_virtually(clock.sleeper):
        module.work()

    assert clock.naps == [5]
    assert module.sleep is real
    assert module.nap is asyncio.sleep


def test_the_innermost_sleeper_is_asked(clock):
    inner = Clock()
    with sleep_virtually(clock.sleeper):
        with sleep_virtually(inner.sleeper):
            time.sleep(1)
        time.sleep(2)

    assert (clock.naps, inner.naps) == ([2], [1])


def test_a_negative_sleep_is_refused_as_ever(clock):
    with sleep_virtually(clock.sleeper), pytest.raises(ValueError, match="sleep length must be non-negative"):
        time.sleep(-1)


def test_a_thread_that_does_not_live_in_virtual_time_sleeps_for_real(clock, monkeypatch):
    slept = []
    monkeypatch.setattr(sleeping.Real, "sleep", slept.append)
    clock.applies = False

    with sleep_virtually(clock.sleeper):
        thread = threading.Thread(target=time.sleep, args=(7,))
        thread.start()
        thread.join()

    assert (slept, clock.naps) == ([7], [])


@pytest.mark.parametrize("name", ["subprocess", "threading", "multiprocessing.pool", "_pytest.runner", "xdist.remote"])
def test_who_waits_for_something_real_sleeps_for_real(clock, monkeypatch, name):
    slept = []
    monkeypatch.setattr(sleeping.Real, "sleep", slept.append)
    caller = {"__name__": name, "time": time}

    with sleep_virtually(clock.sleeper):
        exec("time.sleep(1)", caller)

    assert (slept, clock.naps) == ([1], [])


def test_a_reference_that_outlives_the_harness_sleeps_for_real(clock, monkeypatch):
    slept = []
    with sleep_virtually(clock.sleeper):
        kept = time.sleep
    monkeypatch.setattr(sleeping.Real, "sleep", slept.append)

    kept(3)

    assert (slept, clock.naps) == ([3], [])


def test_an_object_in_a_module_that_warns_whoever_asks_it_for_anything_is_not_asked(clock, module):
    class Deprecated:
        def __getattribute__(self, name):
            raise DeprecationWarning(name)

    module.deprecated = Deprecated()

    with sleep_virtually(clock.sleeper):
        module.work()

    assert clock.naps == [5]


def test_sleeping_with_a_mock_in_place_leaves_the_mock(clock, monkeypatch):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)

    with sleep_virtually(clock.sleeper):
        time.sleep(1)

    assert (naps, clock.naps) == ([1], [])


# -- asyncio


def run(clock, main):
    with sleep_virtually(clock.sleeper):
        return asyncio.run(main())


def test_two_coroutines_sleep_at_the_same_time(clock):
    async def main():
        await asyncio.gather(asyncio.sleep(10), asyncio.sleep(4), asyncio.sleep(7))

    run(clock, main)

    assert clock.naps == [4, 3, 3]


def test_coroutines_wake_in_order_of_time(clock):
    woken = []

    async def nap(seconds):
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main():
        await asyncio.gather(nap(3), nap(1), nap(2))

    run(clock, main)

    assert woken == [1, 2, 3]


def test_an_async_sleep_gives_its_result(clock):
    async def main():
        return await asyncio.sleep(1, "woken")

    assert run(clock, main) == "woken"


def test_sleeping_for_nothing_gives_others_a_turn_and_moves_no_time(clock):
    turns = []

    async def other():
        turns.append("other")

    async def main():
        task = asyncio.ensure_future(other())
        await asyncio.sleep(0)
        turns.append("main")
        await task

    run(clock, main)

    assert (turns, clock.naps) == (["other", "main"], [])


def test_a_cancelled_sleep_costs_no_time(clock):
    async def main():
        task = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(1)

    run(clock, main)

    assert clock.now == 1


def test_an_error_while_time_passes_is_raised_by_the_await(clock):
    def fail(seconds):
        raise RuntimeError("deadlock")

    clock.sleeper.sleep = fail

    async def main():
        with pytest.raises(RuntimeError, match="deadlock"):
            await asyncio.sleep(1)
        return "survived"

    assert run(clock, main) == "survived"


def test_each_event_loop_has_its_own_sleepers(clock):
    async def main():
        await asyncio.sleep(1)

    for _ in range(3):
        run(clock, main)

    assert clock.naps == [1, 1, 1]
