"""What only a worker process has: limits, recycled and lost pool processes, prefetching, deduplication."""

from __future__ import annotations

from datetime import timedelta

import process_app as plant
import process_features_app as mill
import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from process_worlds import kinds, opened, started, until

pytestmark = pytest.mark.usefixtures("redis_server")


# -- time limits


def test_a_soft_limit_raises_in_the_body(tmp_path):
    with opened() as world:
        result = plant.nap_and_clean_up.apply_async((60, str(tmp_path / "marker")), soft_time_limit=1)
        world.settle()
        assert result.get() == "SoftTimeLimitExceeded"
        assert (tmp_path / "marker").exists()
        run = world.timeline.run(result.id)
        assert timedelta(seconds=0.5) < run.elapsed < timedelta(seconds=30)


def test_a_soft_limit_that_nobody_catches_is_a_failure():
    with opened(config={"task_soft_time_limit": 1}) as world:
        result = plant.nap.delay(60)
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, run.attempts[0].outcome) == ("FAILURE", "FAILURE")
        assert isinstance(run.error, SoftTimeLimitExceeded)


def test_a_hard_limit_kills_the_pool_process_and_another_takes_its_place():
    with opened(concurrency=1) as world:
        before = plant.where.delay().get(timeout=20)
        result = plant.nap.apply_async((60,), time_limit=1)
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, run.attempts[0].outcome) == ("FAILURE", "FAILURE")
        assert isinstance(run.error, TimeLimitExceeded)
        assert plant.where.delay().get(timeout=20) != before


def test_after_a_hard_limit_a_late_acknowledgement_is_made_by_the_main_process():
    with opened() as world:
        result = plant.late_nap.apply_async((60,), time_limit=1)
        world.settle()
        assert kinds(world, result.id)[:5] == ["publish", "deliver", "receive", "start", "finish"]
        assert world.timeline.run(result.id).acked


# -- pool processes that are replaced


def test_max_tasks_per_child_replaces_the_pool_process():
    with opened(concurrency=1, config={"worker_max_tasks_per_child": 2}):
        pids = [plant.where.delay().get(timeout=20) for _ in range(6)]
        assert pids[0::2] == pids[1::2]
        assert len(set(pids)) == 3


def test_max_memory_per_child_replaces_the_pool_process_that_has_grown():
    with opened(concurrency=1, config={"worker_max_memory_per_child": 200_000}):
        small = [plant.grow.delay(1).get(timeout=20) for _ in range(2)]
        large = [plant.grow.delay(300).get(timeout=20) for _ in range(2)]
        assert small[0] == small[1] == large[0]
        assert large[1] != large[0]


# -- pool processes that are lost


def test_a_lost_pool_process_is_a_failure_of_the_task_and_not_of_the_worker():
    with opened(concurrency=1) as world:
        result = plant.leave.delay(3)
        with pytest.raises(WorkerLostError, match="exitcode 3"):
            result.get(timeout=20)
        run = world.timeline.run(result.id)
        assert run.states == ["PENDING", "RECEIVED", "STARTED", "FAILURE"]
        assert [attempt.outcome for attempt in run.attempts] == ["LOST"]
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_reject_on_worker_lost_delivers_the_message_again(tmp_path):
    with opened() as world:
        result = plant.leave_once.delay(str(tmp_path / "marker"))
        assert result.get(timeout=20) == "survived"
        run = world.timeline.run(result.id)
        assert [attempt.outcome for attempt in run.attempts] == ["LOST", "SUCCESS"]
        assert [attempt.redelivered for attempt in run.attempts] == [False, True]
        assert [event.detail["requeue"] for event in run.timeline if event.kind == "reject"] == [True]
        assert world.timeline.tally.duplicated == []


def test_revoking_with_terminate_ends_what_runs():
    with opened() as world:
        result = plant.nap.delay(60)
        started(world, result)
        result.revoke(terminate=True, signal="SIGKILL")
        world.settle()
        assert world.timeline.run(result.id).state == "REVOKED"
        assert plant.add.delay(1, 2).get(timeout=20) == 3


# -- prefetching


def prefetched(world, results):
    """How many of these messages the worker has taken, once it will take no more."""
    started(world, results[0])
    world.quiescence.go_round(world.limit_of("the test", 20))
    world.quiescence.go_round(world.limit_of("the test", 20))
    return len([event for event in world.timeline if event.kind == "deliver"])


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_worker_takes_as_many_messages_as_it_may_prefetch(multiplier, gate):
    config = {"worker_prefetch_multiplier": multiplier, "task_acks_late": True}
    with opened(mill.app, concurrency=1, config=config) as world:
        results = [mill.wait_for.delay(gate.path) for _ in range(5)]
        until(world, lambda event: event.kind == "deliver" and event.id == results[multiplier - 1].id)
        assert prefetched(world, results) == multiplier
        gate.open()
        assert world.settle().counts == {"SUCCESS": 5}


# -- the same message twice


def started_again(world, result):
    """Wait until another body of the task runs; on a slow machine there may be a third soon."""
    until(world, lambda event: event.kind == "start" and event.id == result.id and event.detail["redelivered"])


def test_a_task_that_outlasts_the_visibility_timeout_runs_twice(gate):
    with opened(mill.app, visibility_timeout=1, concurrency=2) as world:
        result = mill.wait_for.delay(gate.path)
        started_again(world, result)
        gate.open()
        world.settle()
        run = world.timeline.run(result.id)
        first, *others = run.attempts
        assert not first.redelivered
        assert all(attempt.redelivered for attempt in others)
        assert {attempt.outcome for attempt in run.attempts} == {"SUCCESS"}
        assert world.timeline.tally.duplicated == [run]


def test_deduplication_skips_the_second_delivery_of_what_has_succeeded(gate):
    config = {"worker_deduplicate_successful_tasks": True}
    with opened(mill.app, visibility_timeout=1, concurrency=1, config=config) as world:
        result = mill.wait_for.delay(gate.path)
        until(world, lambda event: event.kind == "deliver" and event.detail["redelivered"])
        gate.open()
        world.settle()
        run = world.timeline.run(result.id)
        assert [attempt.outcome for attempt in run.attempts] == ["SUCCESS"]
        first, *others = [event.detail["outcome"] for event in run.timeline if event.kind == "finish"]
        assert (first, set(others)) == ("SUCCESS", {"SKIPPED"})
        assert world.timeline.tally.duplicated == []
