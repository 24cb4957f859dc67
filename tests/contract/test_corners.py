"""Corners that real projects have."""

from __future__ import annotations

import datetime
import decimal
import threading
import time
import uuid
import warnings
from unittest import mock

import pytest
from celery import chain, chord, current_task, group
from celery.result import ResultSet, result_from_tuple
from scenario import after, both_clocks, kinds, memory_only, passed

from pytest_taskharness.errors import LossyRoundTrip


class Declined(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


@both_clocks
def test_a_polling_loop_by_the_monotonic_clock_meets_its_deadline(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=3600)
    deadline = time.monotonic() + 30
    while not result.ready() and time.monotonic() < deadline:
        time.sleep(1)
    assert passed(harness) == 30


@both_clocks
def test_elapsed_time_by_the_monotonic_clock_is_virtual_in_a_body(harness, app):
    @app.task
    def slow():
        before = time.monotonic(), time.perf_counter()
        time.sleep(10)
        return [round(time.monotonic() - before[0], 3), round(time.perf_counter() - before[1], 3)]

    assert slow.delay().get() == [10, 10]


@both_clocks
@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc),
        datetime.date(2030, 1, 1),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        None,
        1.5,
        "ü",
        {"a": [1, {"b": None}]},
        float("inf"),
    ],
    ids=str,
)
def test_values_that_the_serializer_keeps_are_not_called_lossy(harness, app, value):
    seen = []

    @app.task
    def keep(given):
        seen.append(given)
        return given

    assert keep.delay(value).get() == value
    assert seen == [value]


@both_clocks
def test_now_as_an_argument_is_not_called_lossy(harness, app):
    @app.task
    def keep(given):
        return given

    now = datetime.datetime.now(datetime.timezone.utc)
    assert keep.delay(now).get() == now


def test_not_a_number_is_not_called_lossy(harness, app):
    @app.task
    def keep(given):
        return given

    assert str(keep.delay(float("nan")).get()) == "nan"


@both_clocks
def test_date_done_is_virtual(harness, tasks):
    result = tasks.noop.apply_async(countdown=60)
    harness.settle()
    assert result.date_done.replace(tzinfo=datetime.timezone.utc) == after(seconds=60)


def test_extended_results_know_their_call(open_harness, tasks):
    open_harness(config={"result_extended": True})
    result = tasks.add.delay(1, y=2)
    result.get()
    assert (result.name, result.args, result.kwargs, result.queue) == ("shop.add", [1], {"y": 2}, "celery")


def test_track_started_is_seen_by_the_body(app, open_harness):
    seen = []

    @app.task(bind=True, track_started=True, shared=False)
    def started(self):
        seen.append(app.AsyncResult(self.request.id).state)

    harness = open_harness()
    started.delay().get()
    assert seen == ["STARTED"]
    assert harness.run_of(started).states == ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]


def test_result_set_and_tuples_of_results(harness, app, tasks):
    results = ResultSet([tasks.add.delay(1, 1), tasks.add.delay(2, 2)], app=app)
    assert results.join() == [2, 4]
    chained = chain(tasks.add.s(1, 1), tasks.add.s(1)).delay()
    assert result_from_tuple(chained.as_tuple(), app=app).get() == 3
    assert result_from_tuple(chained.as_tuple(), app=app).parent.get() == 2


def test_exceptions_of_the_users_come_back_as_they_are(harness, app):
    @app.task
    def pay():
        raise Declined(51)

    with pytest.raises(Declined, match="51") as caught:
        pay.delay().get()
    assert caught.value.code == 51


def test_an_exception_that_cannot_be_rebuilt_still_fails_the_task(harness, app):
    class Awkward(Exception):
        def __init__(self, one, *, two):
            super().__init__(f"{one} {two}")

    @app.task
    def pay():
        raise Awkward(1, two=object())

    result = pay.delay()
    assert result.get(propagate=False) is not None
    assert result.state == "FAILURE"
    assert "Awkward" in repr(harness.run_of(pay).error)


def test_current_task_is_the_task_in_its_body_and_nothing_outside(harness, app):
    @app.task
    def which():
        return current_task.name

    assert which.delay().get() == which.name
    assert not current_task


def test_message_protocol_one_works(open_harness, tasks):
    harness = open_harness(config={"task_protocol": 1})
    assert tasks.add.apply_async((1,), {"y": 2}, countdown=5).get() == 3
    run = harness.run_of(tasks.add)
    assert (run.args, run.kwargs, passed(harness)) == ((1,), {"y": 2}, 5)


def test_retry_in_the_middle_of_a_chain_goes_on_with_the_chain(harness, app, tasks):
    @app.task(bind=True)
    def flaky(self, number):
        if not self.request.retries:
            raise self.retry(countdown=30)
        return number * 10

    assert (tasks.add.s(1, 1) | flaky.s() | tasks.add.s(1)).delay().get() == 21
    assert passed(harness) == 30


def test_a_chord_inside_a_body(harness, app, tasks):
    @app.task
    def fan_out():
        return chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s()).id

    body = fan_out.delay().get()
    assert app.AsyncResult(body).get(timeout=5) == 6


def test_a_group_inside_a_body_descends_from_it(harness, app, tasks):
    @app.task
    def fan_out():
        group(tasks.add.s(1, 1), tasks.add.s(2, 2)).delay()

    fan_out.delay()
    harness.settle()
    assert [run.parent for run in harness.runs(tasks.add)] == [harness.run_of(fan_out)] * 2


def test_ignored_part_of_a_chord_leaves_the_body_waiting(harness, app, tasks):
    from celery.exceptions import Ignore

    @app.task
    def skipped():
        raise Ignore

    chord([tasks.add.s(1, 1), skipped.s()])(tasks.total.s())
    harness.settle()
    assert harness.runs(tasks.total) == []


def test_publishing_from_a_signal_handler_is_seen(harness, app, tasks):
    from celery.signals import task_success

    def follow(sender, **_):
        if sender.name == "shop.add":
            tasks.noop.delay()

    task_success.connect(follow)
    try:
        tasks.add.delay(1, 2).get()
        harness.settle()
    finally:
        task_success.disconnect(follow)
    assert harness.run_of(tasks.noop).state == "SUCCESS"


def test_a_mock_of_sleep_wins_over_the_harness(open_harness):
    with mock.patch("time.sleep") as fake:
        with open_harness() as harness:
            time.sleep(60)
            assert passed(harness) == 0
        assert time.sleep is fake
    fake.assert_called_once_with(60)


def test_a_mock_of_sleep_inside_the_harness_is_taken_off_again(harness):
    virtual = time.sleep
    with mock.patch("time.sleep") as fake:
        time.sleep(60)
    fake.assert_called_once_with(60)
    assert time.sleep is virtual
    time.sleep(1)
    assert passed(harness) == 1


def test_waiting_in_a_thread_of_the_users(harness, tasks):
    values = []
    thread = threading.Thread(target=lambda: values.append(tasks.add.delay(1, 2).get(timeout=5)))
    thread.start()
    thread.join(timeout=30)
    assert values == [3]


@memory_only
def test_purging_drops_what_waits(harness, app, tasks):
    tasks.noop.delay()
    tasks.noop.delay()
    assert app.control.purge() == 2
    assert harness.settle().counts == {}


@memory_only
def test_inspect_knows_what_is_scheduled(harness, app, tasks):
    result = tasks.noop.apply_async(countdown=60)
    harness.drain()
    [scheduled] = app.control.inspect(timeout=1).scheduled().values()
    assert [entry["request"]["id"] for entry in scheduled] == [result.id]
    assert passed(harness) <= 1


@memory_only
def test_inspect_knows_what_is_registered(harness, app, tasks):
    [registered] = app.control.inspect(timeout=1).registered().values()
    assert "shop.add" in registered


@memory_only
def test_a_worker_told_to_stop_consuming_a_queue_stops(harness, app, tasks):
    app.control.cancel_consumer("celery")
    result = tasks.noop.delay()
    harness.settle()
    assert result.state == "PENDING"


@memory_only
def test_a_worker_told_to_consume_a_queue_does(harness, app, tasks):
    harness.worker("mailer", queues=["mail"])
    app.control.add_consumer("celery")
    result = tasks.noop.delay()
    harness.settle()
    assert result.state == "SUCCESS"


@memory_only
def test_the_result_of_a_body_whose_node_died_is_not_stored(open_harness, app):
    harness = open_harness(workers=2)

    @app.task(bind=True, acks_late=True, name="shop.fatal")
    def fatal(self):
        if self.request.delivery_info["redelivered"]:
            return "second"
        harness.worker(self.request.hostname.partition("@")[0]).kill()
        return "first"

    result = fatal.delay()
    harness.settle()
    assert result.get() == "second"


@memory_only
def test_a_late_task_whose_child_is_killed_by_its_limit_is_acknowledged(harness, app):
    @app.task(acks_late=True, time_limit=5)
    def slow():
        time.sleep(60)

    slow.delay()
    harness.settle()
    run = harness.run_of(slow)
    assert (run.state, run.acked, len(run.attempts)) == ("FAILURE", True, 1)
    assert kinds(run).count("ack") == 1


def test_errbacks_of_a_task_killed_by_its_limit_are_called(harness, app):
    seen = []

    @app.task
    def alert(request, exc, traceback):
        seen.append(type(exc).__name__)

    @app.task(time_limit=5)
    def slow():
        time.sleep(60)

    slow.apply_async(link_error=alert.s())
    harness.settle()
    assert set(seen) == {"TimeLimitExceeded"}


def test_links_of_a_retried_task_run_once(harness, app, tasks):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)
        return 1

    flaky.apply_async(link=tasks.add.s(1))
    harness.settle()
    assert [run.result for run in harness.runs(tasks.add)] == [2]


def test_a_task_that_calls_itself_by_apply_runs_inline(harness, app):
    @app.task
    def outer():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossyRoundTrip)
            return inner.apply((2,)).get(disable_sync_subtasks=False)

    @app.task
    def inner(number):
        return number + 1

    assert outer.delay().get() == 3


def test_get_with_timeout_zero_of_something_done(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    assert result.get(timeout=0) == 3


def test_a_second_get_takes_no_step(harness, tasks):
    result = tasks.add.delay(1, 2)
    result.get()
    events = len(harness.timeline)
    assert result.get() == 3
    assert len(harness.timeline) == events


def test_stamps_reach_the_body(harness, app):
    @app.task(bind=True)
    def stamped(self):
        return self.request.stamps

    from celery.canvas import StampingVisitor

    class Monitor(StampingVisitor):
        def on_signature(self, sig, **headers):
            return {"monitor": "m-1"}

    signature = stamped.s()
    signature.stamp(Monitor())
    assert signature.delay().get() in ({"monitor": ["m-1"]}, {"monitor": "m-1"})


def test_a_generator_of_signatures_is_a_group(harness, tasks):
    assert group(tasks.add.s(i, i) for i in range(2))().get() == [0, 2]


def test_a_connection_of_the_apps_is_the_harness_broker(harness, app):
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("plain")
        queue.put({"hello": "world"})
        assert queue.get(timeout=1).payload == {"hello": "world"}
        queue.close()


def test_before_task_publish_may_change_headers(open_harness, app):
    from celery.signals import before_task_publish

    def add_tenant(headers=None, **_):
        headers["tenant"] = "acme"

    @app.task(bind=True, shared=False)
    def tenant(self):
        return self.request.tenant

    # Before Celery 5.7 an app may overlook a receiver that comes after its first message.
    before_task_publish.connect(add_tenant)
    try:
        open_harness()
        assert tenant.delay().get() == "acme"
    finally:
        before_task_publish.disconnect(add_tenant)
