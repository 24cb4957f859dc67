"""What a worker takes ahead of its free slots: how much, what becomes of it, and what mends it."""

from __future__ import annotations

import time

import celery
import pytest
from rabbit_scenes import not_on_rabbitmq
from scenario import after, kinds, memory_only, passed

from pytest_taskharness.errors import Deadlock

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)

ONE_SLOT = {"worker_concurrency": 1}
LATE = {**ONE_SLOT, "worker_prefetch_multiplier": 1, "task_acks_late": True}


@pytest.fixture
def slow(app):
    @app.task(name="shop.slow", shared=False)
    def slow(seconds=0):
        time.sleep(seconds)

    return slow


@pytest.fixture
def open_harness(mode, slow, tasks, open_harness):
    return open_harness


def states(harness, results):
    return [harness.run_of(result).state for result in results]


def started(harness, task):
    """The first argument of each run, in the order in which they began."""
    mine = (event for event in harness.timeline if (event.kind, event.task) == ("start", task.name))
    return [harness.run_of(event.id).args[0] for event in mine]


def reserved(app, name):
    return [request["id"] for request in app.control.inspect().reserved()[f"{name}@taskharness"]]


# -- as many as it may


@STEPPED
def test_a_slow_task_blocks_the_short_ones_behind_it(open_harness, app, tasks, slow):
    harness = open_harness(workers=2, config=ONE_SLOT)
    with harness.worker("a").hold_in(slow):
        harness.worker("b").pause()
        slow.delay()
        harness.drain()
        harness.worker("b").resume()
        short = [tasks.noop.delay() for _ in range(8)]
        harness.drain()

        # b is idle, and cannot have them.
        waiting = [result for result in short if not harness.run_of(result).finished]
        assert len(waiting) == 4
        assert states(harness, waiting) == ["RECEIVED"] * 4
        assert sorted(reserved(app, "a")) == sorted(result.id for result in waiting)
        assert reserved(app, "b") == []
    harness.drain()
    assert states(harness, short) == ["SUCCESS"] * 8
    assert [harness.run_of(result).worker for result in waiting] == ["a"] * 4


@STEPPED
def test_late_acknowledgement_and_a_multiplier_of_one_mend_that(open_harness, app, tasks, slow):
    harness = open_harness(workers=2, config=LATE)
    with harness.worker("a").hold_in(slow):
        harness.worker("b").pause()
        slow.delay()
        harness.drain()
        harness.worker("b").resume()
        short = [tasks.noop.delay() for _ in range(8)]
        harness.drain()

        assert states(harness, short) == ["SUCCESS"] * 8
        assert {harness.run_of(result).worker for result in short} == {"b"}
        assert reserved(app, "a") == []


@STEPPED
@pytest.mark.skipif(tuple(map(int, celery.__version__.split(".")[:2])) < (5, 6), reason="since Celery 5.6")
def test_a_worker_that_does_not_prefetch_takes_what_it_has_a_slot_for(open_harness, app, tasks, slow):
    harness = open_harness(workers=2, config={**ONE_SLOT, "worker_disable_prefetch": True})
    with harness.worker("a").hold_in(slow):
        harness.worker("b").pause()
        slow.delay()
        harness.drain()
        harness.worker("b").resume()
        short = [tasks.noop.delay() for _ in range(8)]
        harness.drain()

        assert {harness.run_of(result).worker for result in short} == {"b"}


@STEPPED
@pytest.mark.parametrize(
    "multiplier, concurrency, late, taken",
    [(4, 1, False, 4), (1, 1, False, 1), (3, 1, True, 2), (1, 1, True, 0), (2, 2, False, 4), (0, 1, False, 12)],
)
def test_it_takes_as_many_as_its_prefetch_count_says(open_harness, tasks, slow, multiplier, concurrency, late, taken):
    config = {"worker_prefetch_multiplier": multiplier, "worker_concurrency": concurrency, "task_acks_late": late}
    harness = open_harness(config=config)
    holds = [harness.worker().hold_in(slow) for _ in range(concurrency)]
    for _ in range(concurrency):
        slow.delay()
    harness.drain()
    short = [tasks.noop.delay() for _ in range(12)]
    harness.drain()

    assert states(harness, short).count("RECEIVED") == taken
    assert harness.broker.depth("celery") == 12 - taken
    for hold in holds:
        hold.release()
    harness.drain()
    assert states(harness, short) == ["SUCCESS"] * 12


@STEPPED
def test_a_worker_with_a_free_slot_takes_nothing_ahead(open_harness, tasks, slow):
    harness = open_harness(config={"worker_concurrency": 2})
    with harness.worker().hold_in(slow):
        slow.delay()
        first, second = tasks.noop.delay(), tasks.noop.delay()
        harness.bring_to(first, "running")
        assert states(harness, [first, second]) == ["STARTED", "PENDING"]


# -- in their line


@STEPPED
def test_what_waits_starts_first_come_first(open_harness, tasks, slow):
    harness = open_harness(workers=2, config=ONE_SLOT)
    holds = [harness.worker(name).hold_in(slow) for name in "ab"]
    for _ in "ab":
        slow.delay()
    harness.drain()
    short = [tasks.echo.delay(number) for number in range(5)]
    harness.drain()
    for hold in holds:
        hold.release()
    harness.drain()

    assert started(harness, tasks.echo) == [0, 1, 2, 3, 4]
    assert [harness.run_of(result).worker for result in short] == ["a", "b", "a", "b", "a"]


@not_on_rabbitmq("priorities")
@STEPPED
def test_what_is_taken_ahead_no_longer_minds_priorities(open_harness, tasks, slow):
    harness = open_harness(config={**ONE_SLOT, "worker_prefetch_multiplier": 1})
    with harness.worker().hold_in(slow):
        slow.delay()
        harness.drain()
        tasks.echo.apply_async(("first",), priority=9)
        harness.drain()
        tasks.echo.apply_async(("low",), priority=9)
        tasks.echo.apply_async(("urgent",), priority=0)
    harness.drain()

    assert started(harness, tasks.echo) == ["first", "urgent", "low"]


@STEPPED
def test_an_eta_that_comes_meanwhile_waits_in_the_line(open_harness, app, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    with harness.worker().hold_in(slow):
        slow.delay()
        later = tasks.noop.apply_async(countdown=10)
        harness.clock.advance(seconds=30)
        assert reserved(app, "worker") == [later.id]
    harness.drain()
    assert harness.run_of(later).started_at == after(seconds=30)


# -- while a body sleeps


@STEPPED
def test_a_body_that_sleeps_lets_its_worker_take_ahead(open_harness, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    first, second = slow.delay(60), tasks.noop.delay()
    harness.drain()

    taken, ended = (
        next(event.seq for event in harness.timeline if (event.kind, event.id) == asked)
        for asked in [("receive", second.id), ("finish", first.id)]
    )
    assert taken < ended
    assert harness.run_of(second).started_at == after(seconds=60)


@STEPPED
def test_a_body_that_sleeps_lets_it_take_no_more_than_it_may(open_harness, app, tasks):
    seen = []

    @app.task(name="shop.look", shared=False)
    def look():
        time.sleep(1)
        seen.append(len(app.control.inspect().reserved()["worker@taskharness"]))

    harness = open_harness(config={**ONE_SLOT, "worker_prefetch_multiplier": 2})
    look.delay()
    for _ in range(5):
        tasks.noop.delay()
    harness.drain()
    assert seen == [2]


@STEPPED
def test_which_expires_meanwhile_is_revoked(open_harness, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    slow.delay(60)
    result = tasks.noop.apply_async(expires=30)
    harness.drain()

    run = harness.run_of(result)
    assert (run.state, kinds(run)[:3]) == ("REVOKED", ["publish", "deliver", "receive"])
    assert not run.attempts


# -- what becomes of it


@STEPPED
def test_which_is_revoked_meanwhile_never_starts(open_harness, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    with harness.worker().hold_in(slow):
        slow.delay()
        result, other = tasks.noop.delay(), tasks.noop.delay()
        harness.drain()
        result.revoke()
    harness.drain()
    assert states(harness, [result, other]) == ["REVOKED", "SUCCESS"]


@STEPPED
def test_which_a_killed_worker_had_is_delivered_again(open_harness, tasks, slow):
    harness = open_harness(workers=2, config=ONE_SLOT)
    harness.worker("b").pause()
    with harness.worker("a").hold_in(slow):
        slow.delay()
        short = [tasks.noop.delay() for _ in range(3)]
        harness.drain()
        harness.worker("a").kill()
    harness.worker("b").resume()
    harness.settle()

    runs = [harness.run_of(result) for result in short]
    assert [(run.worker, run.redelivered, len(run.attempts)) for run in runs] == [("b", True, 1)] * 3


@STEPPED
def test_which_a_warm_shutdown_gives_back_runs_elsewhere(open_harness, tasks, slow):
    harness = open_harness(workers=2, config=ONE_SLOT)
    harness.worker("b").pause()
    result = slow.delay()
    short = [tasks.noop.delay() for _ in range(3)]
    harness.bring_to(result, "running")
    for _ in short:
        harness.worker("a")._node.deliver()
    harness.worker("a").shutdown()
    harness.worker("b").resume()
    harness.drain()

    assert harness.run_of(result).worker == "a"
    assert {harness.run_of(each).worker for each in short} == {"b"}


@pytest.mark.parametrize("mode", ["fakeredis", "redis"], indirect=True)
def test_which_waits_longer_than_the_visibility_timeout_runs_twice(open_harness, tasks, slow):
    harness = open_harness(visibility_timeout=60, config=ONE_SLOT)
    slow.delay(90)
    result = tasks.noop.delay()
    harness.settle()

    run = harness.run_of(result)
    assert [attempt.redelivered for attempt in run.attempts] == [False, True]
    assert harness.tally.duplicated == [run]


@not_on_rabbitmq("patience")
@STEPPED
def test_a_deadlock_says_who_has_reserved_it(open_harness, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    with harness.worker().hold_in(slow):
        slow.delay()
        result = tasks.noop.delay()
        with pytest.raises(Deadlock, match="reserved by worker, but all its 1 slots are taken by bodies that wait"):
            result.get()


@memory_only
def test_perform_waits_for_no_slot(open_harness, tasks, slow):
    harness = open_harness(config=ONE_SLOT)
    with harness.worker().hold_in(slow):
        slow.delay()
        harness.drain()
        assert harness.perform(tasks.add.s(1, 2)).result == 3
    assert passed(harness) == 0
