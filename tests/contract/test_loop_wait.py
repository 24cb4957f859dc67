"""``await harness.wait(result)``: an event loop drives, and its other coroutines go on."""

from __future__ import annotations

import asyncio

import pytest
from celery import chain, group
from celery.exceptions import TimeoutError as CeleryTimeoutError
from scenario import both_clocks, passed

from pytest_taskharness.errors import ConfigurationError, Deadlock
from pytest_taskharness.worker.waiting import loop_wait


@both_clocks
def test_a_result_and_the_sleep_of_another_coroutine(harness, tasks):
    ticks = []

    async def ticker():
        for _ in range(3):
            await asyncio.sleep(10)
            ticks.append(passed(harness))

    async def scenario():
        ticking = asyncio.create_task(ticker())
        result = await harness.wait(tasks.add.apply_async((1, 2), countdown=25))
        seen, now = list(ticks), passed(harness)
        await ticking
        return result, seen, now

    assert asyncio.run(scenario()) == (3, [10, 20], 25)
    assert ticks == [10, 20, 30]


def test_everything_that_names_a_run(harness, tasks):
    async def scenario():
        result = tasks.add.delay(1, 2)
        message = harness.outbox[0]
        everything = (result, result.id, message, harness.run_of(result))
        assert [await harness.wait(each) for each in everything] == [3, 3, 3, 3]
        assert await harness.wait(group(tasks.add.s(1, n) for n in range(3)).delay()) == [1, 2, 3]
        assert await harness.wait(chain(tasks.add.s(1, 2), tasks.add.s(3)).delay()) == 6
        assert await harness.wait((group(tasks.add.s(1, n) for n in range(3)) | tasks.total.s()).delay()) == 6

    asyncio.run(scenario())


def test_what_the_task_has_raised(harness, tasks):
    async def scenario():
        with pytest.raises(RuntimeError, match="boom"):
            await harness.wait(tasks.boom.delay())
        assert isinstance(await harness.wait(tasks.boom.delay(), propagate=False), RuntimeError)
        with pytest.raises(RuntimeError, match="boom"):
            await harness.wait(chain(tasks.boom.s(), tasks.add.s(1)).delay())

    asyncio.run(scenario())


def test_a_timeout_counts_virtual_seconds(harness, tasks):
    async def scenario():
        result = tasks.add.apply_async((1, 2), countdown=60)
        with pytest.raises(CeleryTimeoutError, match="after 59 virtual seconds; the next thing that can happen is due"):
            await harness.wait(result, timeout=59)
        assert passed(harness) == 59
        assert await harness.wait(result, timeout=1) == 3

    asyncio.run(scenario())


def test_nothing_can_happen_any_more(harness):
    async def scenario():
        with pytest.raises(Deadlock, match="nothing was published under this id"):
            await harness.wait("nobody")
        with pytest.raises(CeleryTimeoutError, match="nothing was published under this id") as caught:
            await harness.wait("nobody", timeout=5)
        assert isinstance(caught.value, Deadlock)
        assert passed(harness) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("timeout", [None, 10])
def test_another_coroutine_publishes_it_later(harness, tasks, timeout):
    async def later():
        await asyncio.sleep(3)
        tasks.add.apply_async((1, 2), task_id="later")

    async def scenario():
        publishing = asyncio.create_task(later())
        assert await harness.wait("later", timeout=timeout) == 3
        await publishing

    asyncio.run(scenario())
    assert passed(harness) == 3


def test_a_thread_publishes_it_later(harness, tasks):
    async def scenario():
        publishing = asyncio.create_task(asyncio.to_thread(tasks.add.apply_async, (1, 2), task_id="later"))
        assert await harness.wait("later") == 3
        await publishing

    asyncio.run(scenario())


def test_a_coroutine_that_waits_for_something_else_is_not_waited_for_without_end(harness, monkeypatch):
    monkeypatch.setattr(loop_wait, "PATIENCE", 0.05)

    async def scenario():
        server = asyncio.create_task(asyncio.Event().wait())
        with pytest.raises(Deadlock):
            await harness.wait("nobody")
        server.cancel()

    asyncio.run(scenario())


def test_several_waits_at_once(harness, tasks):
    async def scenario():
        results = [tasks.add.apply_async((number, 1), countdown=10 * number) for number in (3, 1, 2)]
        return await asyncio.gather(*map(harness.wait, results))

    assert asyncio.run(scenario()) == [4, 2, 3]
    assert passed(harness) == 30


def test_several_waits_of_which_one_is_in_vain(harness, tasks, monkeypatch):
    monkeypatch.setattr(loop_wait, "PATIENCE", 0.05)

    async def scenario():
        waits = harness.wait(tasks.add.delay(1, 2)), harness.wait("nobody"), harness.wait("nobody else")
        return await asyncio.gather(*waits, return_exceptions=True)

    three, *rest = asyncio.run(scenario())
    assert three == 3
    assert [type(each) for each in rest] == [Deadlock, Deadlock]


def test_a_wait_that_is_cancelled(harness, tasks):
    async def scenario():
        waiting = asyncio.create_task(harness.wait(tasks.add.apply_async((1, 2), countdown=60)))
        await asyncio.sleep(10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())
    assert passed(harness) == 10


def test_beside_a_thread_that_drives(harness, tasks):
    async def scenario():
        async with harness.background():
            assert await harness.wait(tasks.add.apply_async((1, 2), countdown=60)) == 3
            assert await harness.wait(tasks.add.apply_async((1, 2), countdown=60), timeout=61) == 3
            results = [tasks.add.apply_async((number, 1), countdown=number) for number in range(5)]
            assert await asyncio.gather(*map(harness.wait, results)) == [1, 2, 3, 4, 5]

    asyncio.run(scenario())


def test_what_is_no_result(harness, tasks):
    async def scenario():
        with pytest.raises(ConfigurationError, match=r"wait\(\) takes a result"):
            await harness.wait(42)

    asyncio.run(scenario())
