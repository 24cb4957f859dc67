"""Messages that no task will run: what the worker did with them is in the timeline, and later failures tell of it."""

from __future__ import annotations

import json

import pytest
from celery.exceptions import NotRegistered
from kombu.exceptions import ContentDisallowed
from scenario import kinds

from pytest_taskharness.errors import NoSuchRun, WorkerDied

pytestmark = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def publish(app):
    """Puts any message into the queue."""

    def publish(body="[[1, 2], {}, {}]", *, content_type="application/json", content_encoding="utf-8", **headers):
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                body, exchange="", routing_key="celery", content_type=content_type,
                content_encoding=content_encoding, headers=headers,
            )  # fmt: skip

    return publish


def done_with(harness):
    """What the worker did with its messages, and what it says of them."""
    harness.settle()
    events = [event for event in harness.timeline if event.kind not in {"publish", "clock jump", "store"}]
    return [(event.kind, event.detail.get("note")) if event.kind == "poison" else event.kind for event in events]


def test_no_task_is_thrown_away(harness, publish):
    publish('{"hello": "world"}')
    assert done_with(harness) == ["deliver", ("poison", "not a task message"), "reject"]


@pytest.mark.parametrize(
    "body, message",
    [
        ("{not json", {}),
        (b"[[\xff], {}, {}]", {}),
        ("[[1, 2], {}, {}]", {"compression": "application/x-klingon"}),
        ("[[1, 2], {}, {}]", {"compression": "application/x-gzip"}),
    ],
    ids=["no json", "no utf-8", "unknown compression", "not compressed"],
)
def test_what_cannot_be_decoded_is_acknowledged(harness, publish, body, message):
    publish(body, task="shop.add", id=ID, lang="py", **message)
    [deliver, (poison, note), ack] = done_with(harness)
    assert (deliver, poison, ack) == ("deliver", "poison", "ack")
    assert note.startswith("cannot be decoded: ")
    assert harness.run_of(ID).error is not None


def test_an_unknown_task_and_the_one_that_was_meant(harness, app):
    result = app.send_task("shop.ad", (1, 2))
    [_, (_, note), _] = done_with(harness)
    assert note == "no task 'shop.ad' is registered on app 'shop'; did you mean 'shop.add'?"
    assert isinstance(result.result, NotRegistered)
    assert kinds(harness.run_of(result)) == ["publish", "deliver", "poison", "reject", "store"]


def test_a_forbidden_content_type(harness, app, tasks):
    result = tasks.add.apply_async((1, 2), serializer="pickle")
    [_, (_, note), reject] = done_with(harness)
    assert "Refusing to deserialize" in note
    assert reject == "reject"
    run = harness.run_of(result)
    assert isinstance(run.error, ContentDisallowed)
    assert (run.attempts, run.acked) == ([], False)


@pytest.mark.parametrize("header", ["expires", "eta"])
def test_a_time_that_cannot_be_read(harness, publish, header):
    publish(task="shop.add", id=ID, lang="py", **{header: "soon"})
    [_, (_, note), reject] = done_with(harness)
    assert note.startswith("refused: ")
    assert reject == "reject"


def test_the_worker_goes_on(harness, publish, tasks):
    publish("{not json", task="shop.add", id=ID, lang="py")
    assert tasks.add.delay(1, 2).get() == 3


def test_it_is_not_lost_but_unexpected(harness, publish, app):
    refused = app.send_task("shop.ad", (1, 2))
    publish("{not json", task="shop.add", id=ID, lang="py")
    harness.settle()
    assert harness.tally.lost == []
    assert harness.tally.unexpected == [harness.run_of(ID)]
    assert harness.run_of(refused).finished


def test_wrong_arguments_are_the_failure_of_the_task(harness, publish):
    publish(json.dumps([[1, 2, 3], {}, {}]), task="shop.add", id=ID, lang="py")
    harness.settle()
    harness.assert_failed(ID, TypeError, match="3 were given")


# -- what later failures say


def test_a_failed_assertion_tells_of_it(harness, app):
    result = app.send_task("shop.ad", (1, 2))
    harness.settle()
    with pytest.raises(AssertionError, match="hint: .*did you mean 'shop.add'"):
        harness.assert_succeeded(result)


def test_so_does_one_about_the_task_that_was_meant(harness, app):
    app.send_task("shop.ad", (1, 2))
    harness.settle()
    with pytest.raises(NoSuchRun, match=r"hint: a worker has refused a message: .*did you mean 'shop.add'"):
        harness.assert_succeeded("shop.add")


# -- what Celery itself stumbles over


def test_a_message_that_ends_a_worker(harness, publish):
    publish(task="shop.add", lang="py")
    with pytest.raises(WorkerDied, match=r"handling a message of shop.add raised KeyError: 'id'") as raised:
        harness.settle()
    assert isinstance(raised.value.__cause__, KeyError)
    assert "poison" in str(harness.timeline)


def test_it_ends_the_next_worker_too(open_harness, publish, tasks):
    harness = open_harness()
    harness.worker("first"), harness.worker("second")
    publish(task="shop.add", lang="py")
    for name in ("first", "second"):
        with pytest.raises(WorkerDied, match=name):
            harness.settle()
    result = tasks.add.delay(1, 2)
    harness.settle()
    assert result.state == "PENDING"


def test_a_strategy_that_raises_ends_the_worker(app, open_harness):
    def strategy(task, app, consumer):
        def handle(message, body, ack, reject, callbacks, **kwargs):
            raise ZeroDivisionError("by hand")

        return handle

    @app.task(Strategy=staticmethod(strategy), name="shop.broken", shared=False)
    def broken():
        pass

    harness = open_harness()
    broken.delay()
    with pytest.raises(WorkerDied, match=r"shop.broken raised ZeroDivisionError: by hand"):
        harness.settle()


def test_an_empty_body_ends_a_worker(harness, publish):
    publish("", task="shop.add", id=ID, lang="py")
    with pytest.raises(WorkerDied, match=r"handling a message of shop.add raised (TypeError|ValueError)"):
        harness.settle()
