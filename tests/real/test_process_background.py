"""``harness.background()`` and ``await harness.wait()`` where the worker is a process."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import process_app as plant
import pytest

from pytest_taskharness import Harness
from pytest_taskharness.errors import FidelityError, RunBudgetExceeded, WorkerDied


@pytest.fixture(autouse=True)
def server(redis_server):
    return redis_server


@pytest.fixture
def harness():
    with Harness.open(plant.app, "redis+process") as harness:
        yield harness


@pytest.fixture
def virtual(harness, libfaketime):
    return harness


def elapsed(harness):
    return harness.clock.now - harness.timeline.start


def threads():
    return [each for each in threading.enumerate() if each.name == "taskharness background"]


def test_a_key_that_a_task_writes_an_hour_later(virtual):
    client = virtual._world.broker.client
    key = virtual._world.broker.prefix + "answer"
    with virtual.background():
        plant.push.apply_async((virtual._world.broker.access.url, key, "done"), countdown=3600)
        assert client.blpop([key], timeout=20) == (key.encode(), b"done")
    assert elapsed(virtual) == timedelta(hours=1)
    assert threads() == []


def test_retries_results_and_looks_inside_the_block(virtual):
    with virtual.background():
        retried = plant.flaky.delay(2, 60)
        late = plant.add.apply_async((1, 2), countdown=600)
        assert late.get(timeout=1000) == 3
        while not retried.ready():
            time.sleep(0.05)
        assert retried.get() == "at last"  # and the worker has told of it
        assert virtual.run_of(retried).retry_delays == [60, 60]
        assert virtual.assert_succeeded(retried, returns="at last")


def test_what_is_left_is_done_when_the_block_ends(virtual):
    with virtual.background():
        results = [plant.add.apply_async((number, 1), countdown=60 * number) for number in range(5)]
    assert [virtual.run_of(each).state for each in results] == ["SUCCESS"] * 5
    assert virtual.settle().counts.get("SUCCESS", 0) <= 5
    # The clock may move on between two of them.
    assert virtual.clock.now == max(virtual.run_of(each).eta for each in results[1:])


def test_the_clock_stays_where_the_block_says_so(virtual):
    with virtual.background(jumps=False):
        late = plant.add.apply_async((1, 2), countdown=60)
        assert plant.add.delay(3, 4).get() == 7
        assert elapsed(virtual) == timedelta(0)
        virtual.clock.advance(seconds=60)
        assert late.ready()


def test_endless_work_ends_with_an_error(virtual):
    with pytest.raises(RunBudgetExceeded, match=r"background\(max_runs=…\)"), virtual.background(max_runs=5):
        plant.flaky.apply_async((5, 60))
        plant.flaky.apply_async((5, 60))
    assert threads() == []


def test_a_worker_that_dies_is_told_at_the_end_of_the_block(harness):
    ended = threading.Event()
    with pytest.raises(WorkerDied), harness.background() as block:
        block._attendants[-1].on_end = ended.set
        harness._world.nodes[0].process.kill_group(9)
        assert ended.wait(20)
    harness.forgive()
    assert threads() == []


def test_a_coroutine_waits_while_others_go_on(virtual):
    ticks = []

    async def ticker():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def scenario():
        ticking = asyncio.create_task(ticker())
        result = await virtual.wait(plant.add.apply_async((1, 2), countdown=3600), timeout=4000)
        ticking.cancel()
        return result

    assert asyncio.run(scenario()) == 3
    assert len(ticks) > 1
    assert threads() == []


def test_real_time():
    with Harness.open(plant.app, "redis+process", clock="real") as harness, harness.background():
        assert plant.add.apply_async((1, 2), countdown=0.1).get(timeout=20) == 3
        assert asyncio.run(harness.wait(plant.add.delay(1, 2))) == 3
        last = plant.add.delay(3, 4)
    assert harness.run_of(last).state == "SUCCESS"


def test_no_task_sets_an_event_of_the_test(harness):
    with pytest.raises(FidelityError, match="real worker is another process"):
        harness.driven_waits()
