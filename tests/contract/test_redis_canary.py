"""A message of another test raises the alarm, wherever it comes from."""

from __future__ import annotations

import json

import pytest
from celery import Celery
from redis_scenes import on_redis
from scenario import START

from pytest_taskharness import Harness
from pytest_taskharness.broker.rabbit_message import Stamp, message_of
from pytest_taskharness.errors import ForeignMessage


@pytest.fixture(autouse=True)
def seen():
    """The alarms of this test, which were raised on purpose: they must not end this session."""
    before = list(ForeignMessage.seen)
    yield ForeignMessage.seen
    ForeignMessage.seen[:] = before


@pytest.fixture
def foreign(open_harness, tasks):
    """A message that another app has published in a harness of its own."""
    other = Celery("other", broker="redis://localhost:1/0", set_as_current=False)

    @other.task(name="shop.noop", shared=False)
    def noop():
        pass

    harness = open_harness(other)
    noop.delay()
    return stored(harness)


def broker_of(harness):
    return harness._world.broker


def stored(harness):
    [message] = broker_of(harness).peek("celery")
    return message.payload


def smuggle(payload, harness):
    """Put a message into a queue past our transport, as somebody with a client of his own would."""
    broker = broker_of(harness)
    if harness.mode == "rabbitmq":
        message = message_of(payload)
        if "taskharness" in payload:
            Stamp(payload["taskharness"], "1", START).write(message)
        broker.house.put_back("celery", message, "", "celery")
    elif hasattr(broker, "access"):
        broker.access.client.lpush(f"{broker.prefix}celery", json.dumps(payload))
    else:
        broker.put("celery", payload)


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_message_of_another_harness_is_an_alarm(foreign, open_harness, tasks, seen):
    harness = open_harness()
    smuggle(foreign, harness)
    with pytest.raises(ForeignMessage, match=r"(?s)'celery': shop\.noop .*expected a message of harness"):
        harness.drain()
    assert len(seen) == 1
    assert "it ends here" in seen[0]


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_the_alarm_is_heard_though_a_body_catches_it(foreign, open_harness, app, tasks, seen):
    harness = open_harness()

    @app.task(shared=False)
    def careless():
        smuggle(foreign, harness)
        try:
            tasks.noop.delay().get(timeout=60, disable_sync_subtasks=False)
        except Exception:
            return "all is well"

    careless.delay()
    harness.settle()
    assert len(seen) == 1


@on_redis
def test_a_foreign_message_in_a_queue_that_the_test_reads_is_an_alarm(foreign, open_harness, app, tasks):
    harness = open_harness()
    smuggle(foreign, harness)
    with app.connection_for_read() as connection, pytest.raises(ForeignMessage):
        connection.default_channel.basic_get("celery")


@on_redis
def test_a_foreign_remote_control_command_is_an_alarm(foreign, open_harness, app, tasks):
    harness = open_harness()
    app.control.rate_limit("shop.noop", "10/s")
    harness.drain()
    broker = broker_of(harness)
    payload = {**foreign, "headers": {}}
    broker.access.client.publish(f"{broker.prefix}/0.celery.pidbox", json.dumps(payload))
    broker.fanned_out += 1
    with pytest.raises(ForeignMessage, match="no task"):
        harness.drain()


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_message_that_no_harness_has_published_is_delivered(harness, tasks, mode):
    tasks.add.delay(1, 2)
    payload = {name: value for name, value in stored(harness).items() if name != "taskharness"}
    smuggle(payload, harness)
    assert harness.settle().counts == {"SUCCESS": 2}


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_task_sees_nothing_of_the_stamp(harness, app):
    @app.task(bind=True, shared=False)
    def look(self):
        return sorted({*vars(self.request), *(self.request.headers or {}), *(self.request.properties or {})})

    assert "taskharness" not in look.delay().get()
    assert "taskharness" not in harness.outbox[0].headers


def test_no_two_harnesses_have_one_name(app):
    names = set()
    for kind in ("memory", "fakeredis", "memory"):
        with Harness.open(app, kind) as harness:
            names.add(broker_of(harness).name)
    assert len(names) == 3
