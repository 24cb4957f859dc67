"""A real worker on the test's own clock, by libfaketime: hours take milliseconds, and are exact to the microsecond."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import process_app as plant
import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import TimeoutError as CeleryTimeoutError
from process_worlds import kinds, opened

from pytest_taskharness import Harness
from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import ConfigurationError, Deadlock, RunBudgetExceeded
from pytest_taskharness.process import rig

START = datetime(2030, 1, 1, 12, 0, 0, 123457, tzinfo=timezone.utc)
POOLS = ["prefork", "threads", "solo"]


@pytest.fixture(autouse=True)
def tools(redis_server, libfaketime):
    """What every test here needs."""


@pytest.fixture(params=POOLS)
def pool(request):
    return request.param


def at(**delta):
    return START + timedelta(**delta)


def virtual(**options):
    return opened(**{"clock": None, "start": START, **options})


@pytest.fixture
def world():
    with virtual() as world:
        yield world


def starts(world, result):
    return [attempt.started_at - START for attempt in world.timeline.run(result.id).attempts]


def test_an_hour_passes_at_once_and_to_the_microsecond(pool):
    with virtual(pool=pool) as world:
        began = Real.perf_counter()
        result = plant.add.apply_async((1, 2), countdown=3600)
        report = world.settle()
        assert Real.perf_counter() - began < 20
        run = world.timeline.run(result.id)
        assert (run.state, run.started_at, run.eta) == ("SUCCESS", at(hours=1), at(hours=1))
        assert report.elapsed == timedelta(hours=1)


def test_every_event_has_the_instant_of_the_tests_clock(world):
    plant.add.delay(1, 2)
    plant.add.apply_async((1, 2), countdown=60)
    world.settle()
    assert {event.at for event in world.timeline} == {START, at(minutes=1)}


def test_time_passes_in_order_and_stops_where_it_was_asked_to(world):
    due = [plant.add.apply_async((1, minutes), countdown=60 * minutes) for minutes in (30, 10, 90)]
    report = world.run_until(at(hours=1))
    assert (world.time.now, report.counts) == (at(hours=1), {"SUCCESS": 2})
    assert starts(world, due[0]) == [timedelta(minutes=30)]
    assert starts(world, due[1]) == [timedelta(minutes=10)]
    assert starts(world, due[2]) == []


def test_retries_come_after_exactly_their_delays(pool):
    with virtual(pool=pool) as world:
        result = plant.flaky.delay(3, countdown=600)
        world.settle()
        assert starts(world, result) == [timedelta(minutes=10 * number) for number in range(4)]
        assert world.timeline.run(result.id).retry_delays == [600, 600, 600]


def test_a_body_that_sleeps_lets_virtual_time_pass(pool):
    with virtual(pool=pool, concurrency=2) as world:
        began = Real.perf_counter()
        first, second, third = (plant.nap.delay(seconds) for seconds in (300, 200, 100))
        world.settle()
        assert Real.perf_counter() - began < 20
        assert world.timeline.run(first.id).elapsed == timedelta(seconds=300)
        if pool == "solo":
            assert starts(world, third) == [timedelta(seconds=500)]
        else:
            assert starts(world, second) == [timedelta(0)]
            assert starts(world, third) == [timedelta(seconds=200)]


def test_all_clocks_of_a_body_agree(pool):
    with virtual(pool=pool) as world:
        wall, monotonic, before, after = plant.read_clocks.delay().get()
        assert wall == pytest.approx(90, abs=1e-6)
        assert monotonic == pytest.approx(90, abs=1e-6)
        assert (before, after) == (START.isoformat(), at(seconds=90).isoformat())
        assert world.time.now == at(seconds=90)


def test_what_a_body_starts_has_the_real_clock(world):
    assert plant.date_of_a_child_process.delay().get() != "2030"


def test_a_soft_limit_strikes_a_body_that_sleeps(world):
    result = plant.nap.apply_async((3600,), soft_time_limit=60)
    world.settle()
    run = world.timeline.run(result.id)
    assert isinstance(run.error, SoftTimeLimitExceeded)
    assert run.elapsed == timedelta(minutes=1)


def test_a_hard_limit_kills_it(world):
    result = plant.nap.apply_async((3600,), soft_time_limit=60, time_limit=90)
    caught = plant.nap_and_clean_up.apply_async((3600, os.devnull), soft_time_limit=60, time_limit=90)
    world.settle()
    assert isinstance(world.timeline.run(result.id).error, SoftTimeLimitExceeded)
    assert caught.get() == "SoftTimeLimitExceeded"
    result = plant.nap.apply_async((3600,), time_limit=90)
    world.settle()
    run = world.timeline.run(result.id)
    assert isinstance(run.error, TimeLimitExceeded)
    assert run.elapsed == timedelta(seconds=90)


def test_a_rate_limit_counts_virtual_seconds(world):
    plant.app.control.rate_limit(plant.add.name, "1/m", reply=True, timeout=1)
    asked = world.time.now
    results = [plant.add.delay(1, number) for number in range(4)]
    world.settle()
    passed = [world.timeline.run(result.id).started_at - asked for result in results]
    assert [round(each.total_seconds(), 3) for each in passed] == [0, 60, 120, 180]


def test_a_message_that_is_held_for_longer_than_the_visibility_timeout_is_delivered_again():
    """kombu#337: a countdown of two hours under a visibility timeout of one."""
    with virtual(visibility_timeout=3600) as world:
        result = plant.add.apply_async((1, 2), countdown=7200)
        world.settle()
        run = world.timeline.run(result.id)
        assert len(run.attempts) > 1
        assert {attempt.started_at for attempt in run.attempts} == {at(hours=2)}
        restores = [event.at for event in run.timeline if event.kind == "restore"]
        assert restores[0] == at(hours=1)
        assert world.timeline.tally.duplicated == [run]


def test_with_a_longer_visibility_timeout_it_runs_once():
    with virtual(visibility_timeout=3 * 3600) as world:
        result = plant.add.apply_async((1, 2), countdown=7200)
        world.settle()
        assert starts(world, result) == [timedelta(hours=2)]


def test_a_late_acknowledged_body_that_outlasts_the_visibility_timeout_runs_twice():
    with virtual(visibility_timeout=3600, concurrency=2) as world:
        result = plant.late_nap.delay(5400)
        world.settle()
        assert starts(world, result) == [timedelta(0), timedelta(hours=1)]


def test_a_killed_worker_loses_nothing():
    with virtual(config={"task_acks_late": True}, visibility_timeout=3600) as world:
        result = plant.nap.delay(600)
        world.drain()
        world.kill(world.nodes[0])
        world.add_node("other", concurrency=1)
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, run.worker, run.redelivered) == ("SUCCESS", "other", True)
        assert run.started_at == at(hours=1)


def test_a_result_is_waited_for_in_virtual_time(world):
    with pytest.raises(CeleryTimeoutError, match="timed out after 60 virtual seconds; the next thing that can happen"):
        plant.add.apply_async((1, 2), countdown=3600).get(timeout=60)
    assert world.time.now == at(seconds=60)
    assert plant.add.apply_async((1, 2), countdown=3600).get() == 3
    assert world.time.now == at(seconds=3660)


def test_a_result_that_can_never_come_is_a_deadlock(world):
    with pytest.raises(Deadlock, match="nothing was published under this id"):
        plant.add.AsyncResult("no-such-id").get()


def test_the_tests_own_sleep_and_its_loops_move_the_clock(world):
    result = plant.add.apply_async((1, 2), countdown=60)
    time.sleep(30)
    assert (world.time.now, result.state) == (at(seconds=30), "PENDING")
    while not result.ready():
        pass
    assert (world.time.now, result.get()) == (at(seconds=60), 3)


@pytest.mark.parametrize("pool", ["prefork", "threads"])  # a solo worker that waits for itself waits for ever
def test_a_body_that_waits_for_another_task_does_not_stop_the_clock(pool):
    with virtual(pool=pool) as world:
        result = plant.ask.delay(1, 2, countdown=3600)
        world.settle()
        assert (result.get(), world.time.now) == (3, at(hours=1))


def test_a_body_that_waits_for_several_gets_them_all():
    with virtual(concurrency=4) as world:
        result = plant.ask_many.delay([30, 10, 20])
        world.settle()
        assert (sorted(result.get()), world.time.now) == ([20, 40, 60], at(seconds=30))


def test_the_timeout_of_a_body_that_waits_counts_virtual_seconds(world):
    result = plant.ask.delay(1, 2, countdown=3600, timeout=60)
    world.run_until(at(minutes=30))
    run = world.timeline.run(result.id)
    assert (run.state, round(run.elapsed.total_seconds(), 3)) == ("FAILURE", 60)
    assert "timed out" in str(run.error)


def test_a_body_that_waits_for_what_never_comes_is_a_deadlock():
    with virtual(workers=()) as world:
        world.add_node("worker", queues=["celery"], concurrency=2)
        plant.ask.delay(1, 2, queue="nobody")
        with pytest.raises(Deadlock, match=r"process_app\.ask .{8}  waits for .{8} on worker"):
            world.settle()


def test_settle_gives_up_after_the_virtual_time_that_it_was_given(world):
    plant.add.apply_async((1, 2), countdown=3600)
    with pytest.raises(RunBudgetExceeded, match=r"still has work: the next item is due at t\+3600"):
        world.settle(max_time=timedelta(minutes=10))


def test_results_expire_by_the_tests_clock():
    with virtual(config={"result_expires": 3600}) as world:
        result = plant.add.delay(1, 2)
        world.settle()
        world.run_until(at(minutes=59))
        assert result.state == "SUCCESS"
        world.run_until(at(minutes=61))
        assert plant.add.AsyncResult(result.id).state == "PENDING"


def test_a_message_that_expires_while_it_is_held_is_revoked(world):
    result = plant.add.apply_async((1, 2), countdown=3600, expires=60)
    world.settle()
    assert world.timeline.run(result.id).state == "REVOKED"


def test_a_paused_worker_wakes_up_in_the_present(world):
    [node] = world.nodes
    result = plant.add.apply_async((1, 2), countdown=60)
    world.drain()
    node.pause()
    world.run_until(at(hours=1))
    assert kinds(world, result.id)[-1] == "receive"
    node.resume()
    world.settle()
    assert starts(world, result) == [timedelta(hours=1)]


def test_recycled_pool_processes_keep_the_clock():
    with virtual(concurrency=1, config={"worker_max_tasks_per_child": 1}) as world:
        results = [plant.where.apply_async(countdown=60 * number) for number in range(4)]
        world.settle()
        assert len({result.get() for result in results}) == 4
        assert [starts(world, result) for result in results] == [[timedelta(minutes=number)] for number in range(4)]


def test_a_worker_that_starts_later_starts_in_the_present(world):
    world.run_until(at(days=30))
    world.add_node("second", queues=["second"], concurrency=1)
    result = plant.add.apply_async((1, 2), queue="second")
    world.settle()
    assert starts(world, result) == [timedelta(days=30)]


def test_a_library_that_cannot_be_loaded_is_said_to_be_so(monkeypatch, tmp_path):
    library = tmp_path / "libfaketime.so.1"
    library.write_bytes(b"no library")
    monkeypatch.setattr(rig, "find_library", lambda: library)
    with pytest.raises(ConfigurationError, match=r"libfaketime was not loaded from .*libfaketime\.so\.1"), virtual():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="libfaketime's shared memory is in /dev/shm on Linux")
def test_nothing_is_left_in_shared_memory():
    with virtual(pool="prefork", concurrency=2) as world:
        plant.add.delay(1, 2).get()
        [node] = world.nodes
        theirs = [node.pid, plant.where.delay().get()]
        assert not [path for path in Path("/dev/shm").iterdir() for pid in theirs if path.name.endswith(f"_{pid}")]


# -- remote control


def test_a_control_that_somebody_has_kept_waits_for_answers_like_the_apps_own(monkeypatch):
    kept = plant.app.control
    with virtual() as world:
        [node] = world.nodes
        os.kill(node.pid, signal.SIGSTOP)  # a busy machine: the answer is late
        hear = world.quiescence.hear

        def hear_at_last(limit):
            os.kill(node.pid, signal.SIGCONT)
            return hear(limit)

        monkeypatch.setattr(world.quiescence, "hear", hear_at_last)
        assert kept is not plant.app.control
        assert kept.ping(limit=1) == [{"worker@taskharness": {"ok": "pong"}}]


def test_a_command_in_a_harness_inside_this_one_is_not_expected_of_these_workers():
    with virtual() as world:
        with Harness.open(plant.app):
            assert plant.app.control.ping() == [{"worker@taskharness": {"ok": "pong"}}]
            plant.app.control.revoke("nobody")
        assert not any(node.is_about_to_change for node in world.nodes)
        assert plant.app.control.ping(limit=1) == [{"worker@taskharness": {"ok": "pong"}}]
