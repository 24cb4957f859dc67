"""Messages that no task will run: what the worker does with each of them, and that it goes on."""

from __future__ import annotations

import json

from celery.exceptions import MaxRetriesExceededError
from parity_app import add, app, task
from parity_scenario import outcome, scenario

#: What a worker does with a message.
DONE = ("deliver", "receive", "poison", "ack", "reject", "start", "finish")
ID = "00000000-0000-0000-0000-00000000000{}"
UTF8_JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


def publish(body, **properties):
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(body, exchange="", routing_key="celery", **{**UTF8_JSON, **properties})


def task_message(body=None, *, number=1, **headers):
    """A message of ``add(1, 2)`` in protocol 2, with something about it changed."""
    content = json.dumps([[1, 2], {}, {}]) if body is None else body
    publish(content, headers={"task": add.name, "id": ID.format(number), "lang": "py", **headers})


def done(harness):
    """What the worker did with each message, and what it has said of the wrong ones."""
    harness.settle()
    assert add.delay(1, 2).get(timeout=10) == 3, "the worker goes on"
    events = [event for event in harness.timeline if event.kind in DONE]
    return [_told(event) for event in events if event.kind in {"poison", "reject"} or event.detail.get("error")]


def _told(event):
    detail = event.detail
    what = {name: detail[name] for name in ("note", "requeue", "outcome", "error") if name in detail}
    return [event.kind, str(event.task), what]


def state_of(number=1):
    return outcome(app.AsyncResult(ID.format(number)))


@scenario()
def a_json_that_is_no_task(harness):
    """A message without a task header whose body has no task, either."""
    publish('{"hello": "world"}')
    return done(harness)


@scenario()
def a_list_that_is_no_task(harness):
    """The same, and the body is a list."""
    publish("[1, 2]")
    return done(harness)


@scenario()
def a_number_that_is_no_task(harness):
    """The same, and the body is a number."""
    publish("7")
    return done(harness)


@scenario()
def no_json_without_a_header(harness):
    """The body of a message without a task header cannot be decoded."""
    publish("{not json")
    return done(harness)


@scenario()
def no_json(harness):
    """The body of a task's message cannot be decoded."""
    task_message("{not json")
    return done(harness), state_of()


@scenario()
def no_utf8(harness):
    """The body is not in the encoding that the message names."""
    task_message(b"[[\xff], {}, {}]")
    return done(harness), state_of()


@scenario()
def an_unknown_encoding(harness):
    """The message names an encoding that nobody knows."""
    publish(
        b"[[1, 2], {}, {}]", content_encoding="klingon",
        headers={"task": add.name, "id": ID.format(1), "lang": "py"},
    )  # fmt: skip
    return done(harness), state_of()


@scenario()
def an_unknown_compression(harness):
    """The message says that it is compressed by something that nobody knows."""
    task_message(compression="application/x-klingon")
    return done(harness), state_of()


@scenario()
def not_compressed_at_all(harness):
    """The message says that it is compressed, and is not."""
    task_message(compression="application/x-gzip")
    return done(harness), state_of()


@scenario()
def an_unknown_content_type(harness):
    """The message names a content type that nobody knows."""
    publish(
        "[[1, 2], {}, {}]", content_type="application/x-klingon",
        headers={"task": add.name, "id": ID.format(1), "lang": "py"},
    )  # fmt: skip
    return done(harness), state_of()


@scenario()
def a_forbidden_content_type(harness):
    """A content type that accept_content does not name."""
    result = add.apply_async((1, 2), serializer="pickle")
    return done(harness), outcome(result), [run.task for run in harness.tally.lost]


@scenario()
def an_unknown_task(harness):
    """Nobody has registered it."""
    result = app.send_task("parity_app.addd", (1, 2))
    return done(harness), outcome(result)


@scenario()
def an_unknown_task_in_the_old_protocol(harness):
    """The same in message protocol 1."""
    publish(json.dumps({"task": "parity_app.addd", "id": ID.format(1), "args": [1, 2], "kwargs": {}}))
    return done(harness)


@scenario()
def the_old_protocol(harness):
    """A message of protocol 1 as another program may write it."""
    publish(json.dumps({"task": add.name, "id": ID.format(1), "args": [1, 2], "kwargs": {}}))
    return done(harness), state_of()


@scenario()
def wrong_kwargs_in_the_old_protocol(harness):
    """Keyword arguments that are none, in protocol 1."""
    publish(json.dumps({"task": add.name, "id": ID.format(1), "args": [1, 2], "kwargs": "none"}))
    return done(harness), state_of()


@scenario()
def wrong_arguments(harness):
    """Arguments that do not fit the task's signature."""
    task_message(json.dumps([[1, 2, 3], {}, {}]))
    return done(harness), state_of()


@scenario()
def three_of_a_wrong_kind(harness):
    """A body of three, and none of the three is what it should be."""
    task_message(json.dumps([7, 8, 9]))
    return done(harness), state_of()


@scenario()
def no_time_to_expire_at(harness):
    """An expiry that cannot be read."""
    task_message(expires="soon")
    return done(harness), state_of()


@scenario()
def no_eta(harness):
    """An eta that cannot be read."""
    task_message(eta="tomorrow")
    return done(harness), state_of()


@scenario()
def a_huge_number_of_retries(harness):
    """More retries than the task allows: the body runs, and cannot be retried."""
    headers = {"task": try_again.name, "id": ID.format(1), "lang": "py", "retries": 10**9}
    publish("[[], {}, {}]", headers=headers)
    return done(harness), state_of()


@task(bind=True, max_retries=3)
def try_again(self):
    try:
        raise self.retry(countdown=0)
    except MaxRetriesExceededError:
        return self.request.retries


@scenario()
def two_of_them(harness):
    """Each message is dealt with by itself."""
    publish("[1, 2]")
    app.send_task("parity_app.addd", (1, 2))
    return done(harness)
