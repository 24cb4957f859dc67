"""Time limits and lost pool processes on a real worker: which attempt ended how, and what became of its message."""

from __future__ import annotations

import os
import signal

import process_features_app as mill
import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from process_worlds import opened, started

pytestmark = pytest.mark.usefixtures("redis_server")


def outcomes(run):
    return [attempt.outcome for attempt in run.attempts]


def redelivered(run):
    return [attempt.redelivered for attempt in run.attempts]


def requeued(run):
    """Whether each rejected delivery went back to its queue."""
    return [event.detail["requeue"] for event in run.timeline if event.kind == "reject"]


# -- time limits


def test_a_body_that_goes_on_after_its_soft_limit_meets_the_hard_one(clock, tmp_path):
    marker = tmp_path / "soft limit"
    with opened(mill.app, clock=clock) as world:
        result = mill.stubborn.apply_async((60, str(marker)), soft_time_limit=0.3, time_limit=2)
        world.settle()
        run = world.timeline.run(result.id)
        assert marker.exists()
        assert (run.states, outcomes(run)) == (["PENDING", "RECEIVED", "STARTED", "FAILURE"], ["FAILURE"])
        assert isinstance(run.error, TimeLimitExceeded)


def test_the_limits_of_a_call_win_over_those_of_the_configuration(clock):
    config = {"task_time_limit": 50, "task_soft_time_limit": 40}
    with opened(mill.app, clock=clock, config=config) as world:
        result = mill.nap.apply_async((60,), soft_time_limit=0.3)
        world.settle()
        assert isinstance(world.timeline.run(result.id).error, SoftTimeLimitExceeded)


def test_a_soft_limit_may_be_a_reason_to_retry(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.impatient.apply_async((60,), soft_time_limit=1.5)
        world.settle()
        run = world.timeline.run(result.id)
        assert outcomes(run) == ["RETRY", "SUCCESS"]
        assert isinstance(run.attempts[0].error, SoftTimeLimitExceeded)
        assert run.result == "second try"


def test_a_hard_limit_calls_the_errback(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.nap.apply_async((60,), time_limit=0.5, link_error=mill.on_error.s())
        world.settle()
        errbacks = world.timeline.runs(mill.on_error.name)
        assert errbacks
        assert {errback.parent.id for errback in errbacks} == {result.id}


def test_a_hard_limit_delivers_again_what_is_not_to_be_acknowledged_on_timeout(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.nap_once.apply_async((60,), time_limit=1.5)
        world.settle()
        run = world.timeline.run(result.id)
        assert (outcomes(run), redelivered(run)) == (["FAILURE", "SUCCESS"], [False, True])
        assert (requeued(run), run.acked) == ([True], True)


def test_a_soft_limit_drops_what_is_not_to_be_acknowledged_on_failure(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.nap_once.apply_async((60,), soft_time_limit=0.3)
        world.settle()
        run = world.timeline.run(result.id)
        assert (outcomes(run), requeued(run), run.acked) == (["FAILURE"], [False], False)
        assert world.timeline.tally.lost == []


@pytest.mark.parametrize("pool", ["threads", "solo"])
@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_only_a_pool_of_processes_has_time_limits(pool, limit):
    with opened(mill.app, pool=pool) as world:
        result = mill.nap.apply_async((0.4,), **{limit: 0.1})
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, run.result, outcomes(run)) == ("SUCCESS", 0.4, ["SUCCESS"])


# -- lost pool processes


def test_what_was_acknowledged_early_is_lost_with_its_pool_process(clock):
    """``reject_on_worker_lost`` has no message to reject any more."""
    with opened(mill.app, clock=clock) as world:
        result = mill.crash.delay()
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, outcomes(run), requeued(run)) == ("FAILURE", ["LOST"], [])
        assert isinstance(run.error, WorkerLostError)
        assert run.acked


def test_a_late_acknowledgement_is_made_also_for_what_its_pool_process_died_of(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.crash_late.delay()
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, outcomes(run), requeued(run), run.acked) == ("FAILURE", ["LOST"], [], True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_pool_process_that_is_killed_from_outside_costs_one_attempt(number):
    """As the kernel does where memory runs out."""
    with opened(mill.app, concurrency=1) as world:
        pid = mill.where.delay().get(timeout=20)
        result = mill.nap_unless_again.delay(60)
        started(world, result)
        os.kill(pid, number)
        assert result.get(timeout=20) == "again"
        run = world.timeline.run(result.id)
        assert (outcomes(run), redelivered(run)) == (["LOST", "SUCCESS"], [False, True])
        assert number.name in str(run.attempts[0].error)
        assert mill.where.delay().get(timeout=20) != pid


def test_what_waits_behind_a_lost_pool_process_runs_on_the_next_one():
    with opened(mill.app, concurrency=1) as world:
        pid = mill.where.delay().get(timeout=20)
        first = mill.nap.delay(60)
        started(world, first)
        others = [mill.where.delay() for _ in range(3)]
        os.kill(pid, signal.SIGKILL)
        assert pid not in {other.get(timeout=20) for other in others}
        world.settle()
        assert outcomes(world.timeline.run(first.id)) == ["LOST"]


def test_a_body_that_exits_is_a_lost_pool_process(clock):
    with opened(mill.app, clock=clock) as world:
        result = mill.leave.delay()
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, outcomes(run)) == ("FAILURE", ["LOST"])
        assert "exitcode 3" in str(run.error)
        assert world.nodes[0].alive


def test_a_body_that_exits_in_a_thread_leaves_its_run_without_an_end():
    with opened(mill.app, pool="threads") as world:
        result = mill.leave.delay()
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.states[-1], outcomes(run)) == ("STARTED", [None])
        assert world.timeline.tally.lost == [run]
        assert mill.where.delay().get(timeout=20) == world.nodes[0].pid
