"""What is held for too long comes back as long as anything can come of it, or somebody asks for the time."""

from __future__ import annotations

import time

import pytest
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import allow_join_result
from redis_scenes import by_the_rules_of_redis, happened
from scenario import passed

from pytest_taskharness import Harness
from pytest_taskharness.errors import Deadlock

pytestmark = by_the_rules_of_redis

ONE_SLOT = {"worker_concurrency": 1}
TIMEOUT = 60


@pytest.fixture
def late(app):
    @app.task(name="shop.late", shared=False, acks_late=True)
    def late(seconds=0):
        time.sleep(seconds)

    return late


@pytest.fixture
def open_harness(mode, late, tasks, open_harness):
    def opened(**options):
        return open_harness(visibility_timeout=TIMEOUT, config=ONE_SLOT, **options)

    return opened


def restores(harness, result):
    """When the message was taken back, in virtual seconds."""
    return [at for _, at in happened(harness.run_of(result), "restore")]


# -- until nothing can happen any more


def test_settling_takes_back_once_what_waits_behind_a_body_that_is_held(open_harness, late):
    harness = open_harness()
    with harness.worker().hold_in(late):
        held, waiting = late.delay(), late.delay()
        harness.settle()
        assert (restores(harness, held), restores(harness, waiting)) == ([60], [60])
        assert passed(harness) == 60
        harness.settle()
        assert passed(harness) == 60


def test_what_was_delivered_later_is_taken_back_at_its_own_time(open_harness, late, tasks):
    harness = open_harness()
    with harness.worker().hold_in(late):
        first = late.delay()
        harness.clock.advance(seconds=30)
        second = tasks.noop.delay()
        harness.clock.advance(seconds=10)
        third = tasks.noop.delay()
        harness.settle()
        assert [restores(harness, each) for each in (first, second, third)] == [[60], [90], [100]]
    harness.drain()
    assert len(harness.run_of(third).attempts) == 2


def test_what_is_published_after_that_is_taken_back_too(open_harness, late, tasks):
    harness = open_harness()
    with harness.worker().hold_in(late):
        late.delay()
        harness.settle()
        result = tasks.noop.delay()
        harness.settle()
        assert restores(harness, result) == [120]
        assert passed(harness) == 120


def test_what_was_taken_back_once_is_taken_back_anew_after_a_body_has_run(open_harness, late, tasks):
    harness = open_harness()
    held = harness.worker().hold_in(late)
    late.delay()
    harness.settle()
    held.release()
    harness.drain()
    assert harness.tally.lost == []
    with harness.worker().hold_in(late):
        result = late.delay()
        harness.settle()
        assert restores(harness, result) == [120]


def test_a_worker_with_room_that_does_not_consume_its_queue_is_no_hope(open_harness, late):
    harness = open_harness()
    worker = harness.worker("first", queues=["celery"])
    harness.worker("second", queues=["other"])
    with worker.hold_in(late):
        result = late.delay()
        harness.settle()
        assert restores(harness, result) == [60]


def test_a_worker_with_room_runs_what_another_one_holds(open_harness, late):
    harness = open_harness(workers=2)
    with harness.worker("a").hold_in(late):
        harness.worker("b").pause()
        result = late.delay()
        harness.drain()
        harness.worker("b").resume()
        harness.settle()
        assert restores(harness, result) == [60]
        assert [attempt.worker for attempt in harness.run_of(result).attempts] == ["a", "b"]


def test_a_body_that_waits_in_vain_does_not_wait_for_its_own_message(open_harness, app, tasks):
    @app.task(name="shop.ask", shared=False, acks_late=True)
    def ask():
        with allow_join_result():
            tasks.noop.apply_async(queue="nobody").get()

    harness = open_harness()
    harness.worker("only", queues=["celery"], concurrency=4)
    result = ask.delay()
    with pytest.raises(Deadlock, match="waiting for"):
        result.get()
    assert restores(harness, result) == [60]


def test_a_beat_beside_them_brings_it_to_no_endless_end(open_harness, app, late, tasks):
    app.conf.beat_schedule = {"tick": {"task": tasks.noop.name, "schedule": 25}}
    app.conf.worker_prefetch_multiplier = 0
    harness = open_harness()
    with harness.worker().hold_in(late), harness.beat.start():
        late.delay()
        harness.clock.advance(seconds=30)
        harness.settle()
        # Two ticks were there at 60 s, when the first message came back, and those that have come since do not count.
        assert passed(harness) == 50 + TIMEOUT


@pytest.mark.parametrize("driven", ["its own", "the other"])
def test_each_of_two_apps_has_its_own(mode, driven):
    apps = [Celery(name, broker="redis://", backend="redis://") for name in ("one", "two")]

    @apps[0].task(name="one.late", shared=False, acks_late=True)
    def late():
        pass

    options = {"visibility_timeout": TIMEOUT, "config": ONE_SLOT}
    with (
        Harness.open(apps[0], mode, **options) as one, Harness.open(apps[1], mode, **options) as two,
        one.worker().hold_in(late),
    ):  # fmt: skip
        result = late.delay()
        (one if driven == "its own" else two).settle()
        assert [event.kind for event in one.run_of(result).timeline].count("restore") == 1


# -- to a given instant


def test_an_instant_that_is_asked_for_comes_after_all_that_happens_before_it(open_harness, late):
    harness = open_harness()
    with harness.worker().hold_in(late):
        result = late.delay()
        harness.clock.advance(seconds=200)
        assert restores(harness, result) == [60, 120, 180]


def test_a_sleep_of_the_test_is_one_too(open_harness, late):
    harness = open_harness()
    with harness.worker().hold_in(late):
        result = late.delay()
        harness.drain()
        time.sleep(130)
        assert restores(harness, result) == [60, 120]


def test_a_wait_with_a_timeout_is_one_too_and_says_that_it_is_in_vain(open_harness, late):
    harness = open_harness()
    with harness.worker().hold_in(late):
        result = late.delay()
        with pytest.raises(CeleryTimeoutError) as caught:
            result.get(timeout=130)
        assert isinstance(caught.value, Deadlock)
        assert restores(harness, result) == [60, 120]
        assert passed(harness) == 130


def test_each_copy_runs_when_there_is_room_again(open_harness, late):
    harness = open_harness()
    with harness.worker().hold_in(late):
        result = late.delay()
        harness.clock.advance(seconds=130)
    harness.settle()
    assert [attempt.redelivered for attempt in harness.run_of(result).attempts] == [False, True, True]
