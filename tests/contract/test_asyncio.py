"""Tests, and bodies, that are coroutines."""

from __future__ import annotations

import asyncio
import time

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from napping import async_nap
from scenario import both_clocks, passed

pytestmark = both_clocks


def test_polling_with_asyncio_sleep_moves_the_world(harness, tasks):
    async def scenario():
        result = tasks.add.apply_async((1, 2), countdown=10)
        polls = 0
        while not result.ready():
            await asyncio.sleep(0.5)
            polls += 1
        return result.get(), polls

    assert asyncio.run(scenario()) == (3, 20)
    assert passed(harness) == 10


def test_two_sleeps_that_are_gathered_overlap(harness):
    woken = []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        woken.append((seconds, passed(harness)))

    async def scenario():
        await asyncio.gather(sleeper(30), sleeper(10), sleeper(20))

    asyncio.run(scenario())
    assert woken == [(10, 10), (20, 20), (30, 30)]
    assert passed(harness) == 30


def test_asyncio_sleep_gives_its_result_back(harness):
    async def scenario():
        return await asyncio.sleep(5, "rested")

    assert asyncio.run(scenario()) == "rested"
    assert passed(harness) == 5


def test_asyncio_sleep_zero_takes_no_time(harness):
    async def scenario():
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert passed(harness) == 0


def test_other_coroutines_go_on_while_one_sleeps(harness):
    log = []

    async def busy():
        for number in range(3):
            log.append(number)
            await asyncio.sleep(0)

    async def scenario():
        await asyncio.gather(asyncio.sleep(10), busy())

    asyncio.run(scenario())
    assert log == [0, 1, 2]
    assert passed(harness) == 10


def test_a_cancelled_sleep_takes_no_time(harness):
    async def scenario():
        sleeping = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(1)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping

    asyncio.run(scenario())
    assert passed(harness) == 1


def test_asyncio_sleep_imported_by_name_is_virtual(harness):
    asyncio.run(async_nap(100))
    assert passed(harness) == 100


def test_get_inside_a_running_loop_drives_the_world(harness, tasks):
    async def scenario():
        return tasks.add.apply_async((1, 2), countdown=60).get(timeout=100)

    assert asyncio.run(scenario()) == 3
    assert passed(harness) == 60


def test_a_body_may_run_a_loop_of_its_own_while_the_test_runs_in_one(harness, app):
    @app.task
    def inner():
        async def work():
            await asyncio.sleep(5)
            return "inner"

        return asyncio.run(work())

    async def scenario():
        result = inner.delay()
        while not result.ready():
            await asyncio.sleep(1)
        return result.get()

    assert asyncio.run(scenario()) == "inner"
    assert harness.run_of(inner).elapsed.total_seconds() == 5


def test_the_tests_loop_is_running_again_after_a_step(harness, app):
    @app.task
    def inner():
        return asyncio.run(asyncio.sleep(0, "inner"))

    async def scenario():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        inner.delay().get()
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task

    asyncio.run(scenario())


def test_asyncio_sleep_in_a_body_meets_its_soft_limit(harness, app):
    @app.task(soft_time_limit=5)
    def slow():
        asyncio.run(asyncio.sleep(60))

    result = slow.delay()
    result.get(propagate=False)
    assert isinstance(result.result, SoftTimeLimitExceeded)
    assert passed(harness) == 5


def test_asyncio_sleep_in_a_body_meets_its_hard_limit(harness, app):
    @app.task(time_limit=5)
    def slow():
        asyncio.run(asyncio.sleep(60))

    with pytest.raises(TimeLimitExceeded):
        slow.delay().get()
    assert passed(harness) == 5


def test_what_a_task_raises_while_a_coroutine_sleeps_stays_with_the_task(harness, tasks):
    async def scenario():
        result = tasks.boom.apply_async(countdown=5)
        await asyncio.sleep(10)
        return result.state

    assert asyncio.run(scenario()) == "FAILURE"


def test_pytest_fail_in_a_body_reaches_the_sleeping_coroutine(harness, app):
    @app.task
    def failing():
        pytest.fail("from the body")

    async def scenario():
        failing.apply_async(countdown=5)
        await asyncio.sleep(10)

    with pytest.raises(pytest.fail.Exception, match="from the body"):
        asyncio.run(scenario())


def test_keyboard_interrupt_in_a_body_reaches_the_sleeping_coroutine(harness, app):
    @app.task
    def interrupted():
        raise KeyboardInterrupt

    async def scenario():
        interrupted.apply_async(countdown=5)
        await asyncio.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(scenario())


def test_time_sleep_in_a_coroutine_moves_the_world_too(harness, tasks):
    async def scenario():
        result = tasks.add.apply_async((1, 2), countdown=5)
        time.sleep(5)
        return result.ready()

    assert asyncio.run(scenario()) is True


def test_sleeping_without_a_harness_afterwards_is_real(open_harness, tasks):
    with open_harness():
        asyncio.run(asyncio.sleep(100))
    before = time.perf_counter()
    asyncio.run(asyncio.sleep(0.01))
    assert time.perf_counter() - before >= 0.009


def test_a_timer_of_the_loop_fires_in_real_time_where_nobody_sleeps(harness):
    async def until_called():
        called = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, called.set)
        await called.wait()

    asyncio.run(until_called())
    assert passed(harness) == 0
