"""Strategies of the user's own that collect messages: one of ours, and that of celery-batches where it is installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from celery import VERSION, Task
from celery.worker.request import Request, create_request_cls
from scenario import kinds, passed, starts

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


def call_all(task, requests):
    """What runs in the pool."""
    return task([request.args for request in requests])


class Parcel:
    """A request as it travels to the pool."""

    def __init__(self, request):
        self.id, self.name, self.args = request.id, request.name, request.args
        self.delivery_info, self.request_dict = request.delivery_info, request.request_dict


class Collecting(Task):
    """Collects messages, and calls its body once for all of them: when there are three, or after a minute."""

    abstract = True
    most, seconds = 3, 60
    typing = False

    def Strategy(self, task, app, consumer):  # noqa: N802 - Celery's name
        request_class = create_request_cls(Request, task, consumer.pool, consumer.hostname, None, app=app)
        self.collected, self.timer = [], None

        def flush():
            self.timer.cancel()
            self.timer = None
            requests, self.collected = self.collected, []
            parcels = [Parcel(request) for request in requests]

            def done(_):
                for request in requests:
                    request.acknowledge()

            consumer.pool.apply_async(call_all, (task, parcels), callback=done, error_callback=done)

        def task_message_handler(message, body, ack, reject, callbacks, **kwargs):
            self.collected.append(request_class(
                message, on_ack=ack, on_reject=reject, app=app, hostname=consumer.hostname, task=task,
                body=message.body, headers=message.headers, decoded=False, utc=True, eventer=None,
                connection_errors=consumer.connection_errors,
            ))  # fmt: skip
            self.timer = self.timer or consumer.timer.call_after(self.seconds, flush)
            if len(self.collected) >= self.most:
                flush()

        return task_message_handler


@pytest.fixture
def collect(app):
    bodies = []

    @app.task(base=Collecting, name="shop.collect", shared=False)
    def collect(calls):
        if calls[0] == ["bad"]:
            raise ValueError("a bad batch")
        bodies.append(calls)

    collect.bodies = bodies
    return collect


@STEPPED
def test_one_body_for_three_messages(collect, harness):
    for number in range(3):
        collect.delay(number)
    report = harness.drain()
    assert collect.bodies == [[[0], [1], [2]]]
    assert report.counts == {"SUCCESS": 3}
    assert [kinds(run) for run in harness.runs(collect)] == [["publish", "deliver", "start", "finish", "ack"]] * 3


@STEPPED
def test_too_few_wait_for_the_timer(collect, harness):
    collect.delay(1)
    harness.clock.advance(seconds=59)
    assert collect.bodies == []
    collect.delay(2)
    harness.settle()
    assert collect.bodies == [[[1], [2]]]
    assert [starts(run) for run in harness.runs(collect)] == [[60], [60]]


@STEPPED
def test_an_error_is_that_of_each_message(collect, harness):
    collect.delay("bad")
    harness.settle()
    run = harness.assert_failed(collect, ValueError, match="a bad batch")
    assert run.acked


@STEPPED
def test_a_worker_that_dies_gives_back_what_it_has_collected(collect, open_harness):
    harness = open_harness()
    first, second = harness.worker("first"), harness.worker("second")
    second.pause()
    collect.delay(1)
    harness.drain()
    first.kill()
    second.resume()
    harness.settle()
    run = harness.assert_succeeded(collect)
    assert (run.worker, run.redelivered, collect.bodies) == ("second", True, [[[1]]])


@pytest.mark.parametrize("mode", ["eager"], indirect=True)
def test_in_eager_mode_a_batch_is_flushed_at_the_call(collect, harness):
    collect.delay(1)
    assert collect.bodies == [[[1]]]
    assert passed(harness) == 60


# -- celery-batches


@pytest.fixture
def batches(app):
    if not find_spec("celery_batches"):
        assert VERSION >= (5, 7) or not os.environ.get("CI"), "CI must have celery-batches where there is one"
        pytest.skip("celery-batches is not installed: it wants a Celery before 5.7")
    from celery_batches import Batches

    bodies = []

    @app.task(base=Batches, flush_every=3, flush_interval=30, name="shop.batch", shared=False)
    def batch(requests):
        bodies.append([request.args[0] for request in requests])
        if bodies[-1] == ["bad"]:
            raise ValueError("a bad batch")
        for request in requests:
            app.backend.mark_as_done(request.id, request.args[0] * 2, request=request)

    batch.bodies = bodies
    return batch


@STEPPED
def test_flush_every(batches, harness):
    results = [batches.delay(number) for number in range(3)]
    harness.drain()
    assert batches.bodies == [[0, 1, 2]]
    assert [result.get() for result in results] == [0, 2, 4]
    assert [run.states for run in harness.runs(batches)] == [["PENDING", "RECEIVED", "STARTED", "SUCCESS"]] * 3


@STEPPED
def test_flush_interval(batches, harness):
    batches.delay(1)
    harness.clock.advance(seconds=29)
    assert batches.bodies == []
    harness.clock.advance(seconds=1)
    assert batches.bodies == [[1]]
    batches.delay(2)
    harness.settle()
    assert batches.bodies == [[1], [2]]
    assert starts(harness.runs(batches)[1]) == [60]


@STEPPED
def test_a_result_drives_its_batch(batches, harness):
    assert batches.delay(21).get(timeout=60) == 42
    assert passed(harness) == 30


@STEPPED
def test_a_batch_that_fails(batches, harness):
    result = batches.delay("bad")
    harness.settle()
    harness.assert_failed(batches, ValueError, match="a bad batch")
    assert result.state == "PENDING", "celery-batches stores nothing by itself"


@STEPPED
def test_an_eta_waits_for_the_first_flush_after_it(batches, harness):
    batches.apply_async((1,), countdown=45)
    harness.settle()
    assert starts(harness.run_of(batches)) == [60]


@pytest.mark.parametrize("mode", ["eager"], indirect=True)
def test_celery_batches_in_eager_mode(batches, harness):
    assert batches.delay(3).get() == 6
