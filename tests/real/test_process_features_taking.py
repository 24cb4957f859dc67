"""How many messages a real worker takes, how long its pool processes live, and what it does with a message twice."""

from __future__ import annotations

import process_features_app as mill
import pytest
from process_worlds import opened, started, until

pytestmark = pytest.mark.usefixtures("redis_server")


def outcomes(run):
    return [attempt.outcome for attempt in run.attempts]


# -- pool processes that are replaced


def test_pool_processes_that_are_replaced_lose_nothing():
    with opened(mill.app, concurrency=2, config={"worker_max_tasks_per_child": 1}) as world:
        results = [mill.where.delay() for _ in range(6)]
        assert world.settle().counts == {"SUCCESS": 6}
        assert len({result.get(timeout=20) for result in results}) == 6
        assert not any(run.redelivered for run in world.timeline.runs())


@pytest.mark.parametrize("pool", ["threads", "solo"])
@pytest.mark.parametrize("config", [{"worker_max_tasks_per_child": 1}, {"worker_max_memory_per_child": 1}])
def test_only_pool_processes_are_replaced(pool, config):
    with opened(mill.app, pool=pool, config=config) as world:
        pids = {mill.where.delay().get(timeout=20) for _ in range(3)}
        assert pids == {world.nodes[0].pid}


def test_a_memory_limit_below_what_a_worker_needs_makes_each_task_the_last_of_its_process():
    with opened(mill.app, concurrency=1, config={"worker_max_memory_per_child": 1}):
        pids = [mill.where.delay().get(timeout=20) for _ in range(3)]
        assert len(set(pids)) == 3


# -- prefetching


def taken_while_first_runs(world, results):
    """The ids that the worker has taken, once it will take no more."""
    started(world, results[0])
    for _ in range(3):
        world.quiescence.go_round(world.limit_of("the test", 20))
    return [event.id for event in world.timeline if event.kind == "deliver"]


def test_a_multiplier_of_zero_takes_everything(gate):
    config = {"worker_prefetch_multiplier": 0, "task_acks_late": True}
    with opened(mill.app, concurrency=1, config=config) as world:
        results = [mill.wait_for.delay(gate.path), *(mill.nap.delay(0) for _ in range(20))]
        until(world, lambda event: event.kind == "deliver" and event.id == results[-1].id)
        assert world.timeline.run(results[0].id).states[-1] in {"RECEIVED", "STARTED"}
        gate.open()
        assert world.settle().counts == {"SUCCESS": 21}


def test_what_is_held_for_later_does_not_count_as_prefetched(libfaketime):
    config = {"worker_prefetch_multiplier": 1, "task_acks_late": True}
    with opened(mill.app, concurrency=1, config=config, clock=None) as world:
        later = [mill.nap.apply_async((0,), countdown=60) for _ in range(4)]
        for each in later:
            until(world, lambda event, each=each: event.kind == "receive" and event.id == each.id)
        now = mill.nap.delay(0)
        world.settle()
        order = sorted([now, *later], key=lambda result: world.timeline.run(result.id).started_at)
        assert order[0] == now
        assert world.timeline.tally.duplicated == []


def test_a_worker_without_prefetching_takes_what_it_has_a_free_process_for(gate):
    if "worker_disable_prefetch" not in mill.app.conf:
        pytest.skip("needs Celery 5.6 or later: worker_disable_prefetch")
    with opened(mill.app, concurrency=1, config={"worker_disable_prefetch": True}) as world:
        results = [mill.wait_for.delay(gate.path), mill.nap.delay(0)]
        assert taken_while_first_runs(world, results) == [results[0].id]
        gate.open()
        assert world.settle().counts == {"SUCCESS": 2}


def test_a_second_worker_takes_what_the_first_has_no_room_for():
    config = {"worker_prefetch_multiplier": 1, "task_acks_late": True}
    with opened(mill.app, concurrency=1, config=config) as world:
        started(world, mill.nap.delay(60))
        world.add_node("second", concurrency=1)
        results = [mill.where.delay() for _ in range(3)]
        assert len({result.get(timeout=20) for result in results}) == 1
        assert {world.timeline.run(result.id).worker for result in results} == {"second"}


# -- the same message twice

DEDUPLICATE = {"worker_deduplicate_successful_tasks": True}


# On the test's own clock: it depends on how long a body takes how often it runs.


def test_what_still_runs_is_no_success_yet_and_runs_twice(libfaketime):
    with opened(mill.app, visibility_timeout=1, concurrency=2, config=DEDUPLICATE, clock=None) as world:
        result = mill.late_nap.delay(1.5)
        world.settle()
        run = world.timeline.run(result.id)
        assert outcomes(run) == ["SUCCESS", "SUCCESS"]
        assert world.timeline.tally.duplicated == [run]


def test_what_has_failed_is_not_skipped(libfaketime):
    with opened(mill.app, visibility_timeout=1, concurrency=1, config=DEDUPLICATE, clock=None) as world:
        result = mill.fail_late.delay(1.5)
        world.settle()
        run = world.timeline.run(result.id)
        assert [(attempt.outcome, str(attempt.error)) for attempt in run.attempts] == [
            ("FAILURE", "first"), ("FAILURE", "again"),
        ]  # fmt: skip


def test_a_success_is_skipped(libfaketime):
    with opened(mill.app, visibility_timeout=1, concurrency=1, config=DEDUPLICATE, clock=None) as world:
        result = mill.late_nap.delay(1.5)
        world.settle()
        run = world.timeline.run(result.id)
        assert outcomes(run) == ["SUCCESS"]
        assert [event.detail["outcome"] for event in run.timeline if event.kind == "finish"] == ["SUCCESS", "SKIPPED"]
        assert world.timeline.tally.duplicated == []


# -- where messages go


def test_a_function_that_routes_may_be_a_setting():
    with opened(mill.app, config={"task_routes": [mill.by_name]}) as world:
        result = mill.where.delay()
        assert world.settle().counts == {"SUCCESS": 1}
        assert world.timeline.run(result.id).messages[0].queue == "for process_features_app.where"
