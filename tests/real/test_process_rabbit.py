"""Real workers on a real RabbitMQ: the same words, counted by journals, and what only RabbitMQ does."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import amqp
import process_rabbit_app as yard
import pytest
from amqp.exceptions import NotFound
from celery import VERSION, chord
from kombu import Connection, Exchange, Queue
from process_worlds import started

from pytest_taskharness import Harness
from pytest_taskharness.broker.rabbit_lease import LEASE
from pytest_taskharness.errors import ConfigurationError, Deadlock, FidelityError, ServerError
from pytest_taskharness.servers.given_rabbitmq import GivenRabbitMQ
from pytest_taskharness.servers.rabbitmq import the_rabbitmq

MODE = "rabbitmq+process"
FOR_EVER = 1000
needs_faketime = pytest.mark.usefixtures("libfaketime")


@pytest.fixture(autouse=True)
def _servers(redis_server, rabbitmq_binary):
    """What every test here needs."""


def opened(**options):
    return Harness.open(yard.app, MODE, **options)


@contextmanager
def closed(harness, queue):
    """While entered, nobody consumes a queue."""
    harness.app.control.cancel_consumer(queue, reply=True)
    yield
    harness.app.control.add_consumer(queue, reply=True)


@pytest.fixture
def harness():
    with opened() as harness:
        yield harness


def kinds(harness, result):
    return [event.kind for event in harness.run_of(result).timeline]


# -- what it does like any mode


def test_a_task_and_a_chord_run_in_another_process(harness):
    result = yard.add.delay(1, 2)
    whole = chord([yard.add.s(number, number) for number in range(5)])(yard.total.s())

    assert (result.get(), whole.get()) == (3, 20)
    assert kinds(harness, result) == ["publish", "deliver", "receive", "ack", "start", "store", "finish"]
    assert harness.run_of(result).worker == "worker"
    assert harness.settle().counts == {"SUCCESS": 7}


@needs_faketime
def test_retries_and_expiry_cost_no_time(harness):
    result = yard.flaky.delay(2)
    late = yard.add.apply_async((1, 2), countdown=3600, expires=60)
    before = harness.clock.now

    assert harness.settle().counts == {"RETRY": 2, "SUCCESS": 1, "REVOKED": 1}
    assert (harness.clock.now - before).total_seconds() == 3600
    assert (result.get(), late.state) == ("at last", "REVOKED")


QUORUM = Queue("jobs", Exchange("jobs", type="topic"), routing_key="jobs", queue_arguments={"x-queue-type": "quorum"})


@needs_faketime
@pytest.mark.skipif(VERSION < (5, 5), reason="until Celery 5.5, a worker asks for what a quorum queue refuses")
def test_with_a_quorum_queue_etas_are_held_by_the_worker_and_counted():
    with opened(config={"task_queues": [QUORUM], "task_default_queue": "jobs"}) as harness:
        later = yard.add.apply_async((1, 2), countdown=3600, exchange="jobs", routing_key="jobs")
        harness.bring_to(later, "held_for_eta")
        flaky = yard.flaky.apply_async((2,), exchange="jobs", routing_key="jobs")

        assert harness.settle().counts == {"RETRY": 2, "SUCCESS": 2}
        assert harness.run_of(flaky).retry_delays == [60, 60]
        harness.assert_ran_at(later, timedelta(hours=1))


def test_remote_control_is_answered_and_obeyed(harness):
    assert harness.app.control.inspect().ping() == {"worker@taskharness": {"ok": "pong"}}

    with closed(harness, "celery"):
        result = yard.add.delay(1, 2)
        assert harness.settle().runs == []
        assert harness.broker.depth("celery") == 1

    assert result.get() == 3


def test_each_worker_has_a_copy_of_a_broadcast():
    with opened(workers=2) as harness:
        yard.add.apply_async((1, 2), queue="all")
        harness.settle()

        assert sorted(event.worker for event in harness.timeline if event.kind == "finish") == ["a", "b"]


def test_the_most_urgent_goes_first_where_the_queue_has_priorities(harness):
    with closed(harness, "urgent"):
        for priority in (1, 9, 5):
            yard.add.apply_async((priority, 0), queue="urgent", priority=priority)
    harness.settle()

    delivered = [event.detail["argsrepr"] for event in harness.timeline if event.kind == "deliver"]
    assert delivered == ["(9, 0)", "(5, 0)", "(1, 0)"]


# -- workers that go


def test_what_a_killed_worker_held_comes_again_at_once():
    with opened(workers=2, config={"task_acks_late": True}) as harness:
        result = yard.nap_once.delay(FOR_EVER)
        waiting = [yard.add.delay(number, 0) for number in range(3)]
        holder = started(harness._world, result).worker
        harness.worker(holder).kill()

        harness.settle()

        run = harness.run_of(result)
        assert (run.result, run.redelivered) == ("again", True)
        assert {event.worker for event in run.timeline if event.kind == "deliver"} == {"a", "b"}
        assert [each.get() for each in waiting] == [0, 1, 2]
        assert harness.tally.lost == []


def test_what_was_acknowledged_before_its_worker_was_killed_is_gone(harness):
    result = yard.nap.delay(FOR_EVER)
    started(harness._world, result)
    harness.worker().kill()
    harness.worker("another")

    with pytest.raises(Deadlock, match=r"process_rabbit_app\.nap \w+  STARTED, died on worker"):
        result.get()


def test_the_last_worker_to_go_leaves_its_messages_in_the_queue():
    with opened() as harness:
        result = yard.nap_once.delay(FOR_EVER)
        yard.nap_once.delay(FOR_EVER)  # acks_late: no early ack can win against the kill
        started(harness._world, result)
        harness.worker().kill()

        assert harness.broker.depth("celery") == 2
        harness.worker("late")
        assert harness.settle().counts == {"SUCCESS": 2}


def test_a_worker_that_stops_gives_back_what_it_held_for_later():
    with opened() as harness:
        result = yard.add.apply_async((1, 2), countdown=3600)
        harness.drain()
        assert [message.id for message in harness.broker.unacked] == [result.id]
        harness.worker().shutdown()

        assert [message.id for message in harness.broker.peek("celery")] == [result.id]
        assert harness.broker.unacked == []


# -- the broker


def test_what_waits_can_be_seen_and_sent_again(harness):
    with closed(harness, "celery"):
        result = yard.add.delay(1, 2)
        harness.broker.duplicate(result)
        assert [message.id for message in harness.broker.peek("celery")] == [result.id] * 2
    harness.settle()

    assert len(harness.run_of(result).attempts) == 2


def test_what_nobody_can_do_to_it_is_refused(harness):
    result = yard.add.delay(1, 2)
    harness.settle()

    for verb in (harness.broker.redeliver, harness.broker.drop):
        with pytest.raises(FidelityError, match="mode='rabbitmq'"):
            verb(result)
    with pytest.raises(FidelityError, match="mode='rabbitmq'"):
        harness.broker.reorder()
    with pytest.raises(FidelityError, match="real workers talk to a real server"):
        harness.broker.outage()


def test_nothing_is_left_on_the_server():
    with opened() as harness:
        yard.add.delay(1, 2).get()
        broker = harness._world.broker
        names = {kind: list(found) for kind, found in broker.declared.items()}
        prefixed = broker.names
    parts = urlsplit(the_rabbitmq().url)
    login = {"userid": parts.username, "password": parts.password}
    assert {"celery", "urgent"} <= set(names["queue"])

    with amqp.Connection(f"127.0.0.1:{parts.port}", **login) as connection:
        for queue in names["queue"]:
            with pytest.raises(amqp.NotFound):
                connection.channel().queue_declare(prefixed.queue(queue), passive=True)
        for exchange in names["exchange"]:
            with pytest.raises(amqp.NotFound):
                connection.channel().exchange_declare(prefixed.exchange(exchange), "direct", passive=True)


def test_what_is_kept_from_one_test_to_the_next_publishes_nothing():
    with opened() as harness:
        producer = harness.app.amqp.Producer(harness.app.connection_for_write())
        producer.publish({}, routing_key="celery")

    with pytest.raises(ConnectionRefusedError, match="belonged to a harness that is closed"):
        producer.publish({}, routing_key="celery")
    producer.connection.release()


def test_what_a_killed_run_leaves_on_a_server_that_is_given_goes_away_by_itself():
    timed = {"durable": True, "auto_delete": False, "arguments": {"x-expires": LEASE}}
    given = GivenRabbitMQ(the_rabbitmq().url, "this test")
    with Connection(given.url, transport="pyamqp") as connection, opened(rabbitmq_url=given) as harness:
        channel, broker = connection.default_channel, harness._world.broker
        assert yard.add.delay(1, 2).get() == 3
        exchanges = [broker.names.exchange(name) for name in broker.declared["exchange"]]
        assert exchanges
        channel.queue_declare(broker.names.queue("celery"), **timed)  # else the server refuses
        channel.queue_declare(broker.names.queue("~lease"), **timed)
        harness.worker().kill()
        for queue in [*broker.declared["queue"], "~lease"]:  # as the server does when their time is over
            channel.queue_delete(broker.names.queue(queue))
        for name in exchanges:
            with pytest.raises(NotFound):
                channel.exchange_declare(name, "direct", passive=True)


def test_a_server_that_is_given_is_used():
    given = GivenRabbitMQ(the_rabbitmq().url, "this test")
    with opened(rabbitmq_url=given):
        assert yard.add.delay(1, 2).get() == 3


# -- what never comes


@needs_faketime
def test_what_waits_for_a_time_to_live_is_told_where_it_passes(harness):
    with closed(harness, "delayed"):
        result = yard.add.apply_async((1, 2), queue="delayed")
        with pytest.raises(Deadlock, match="no worker consumes 'delayed'") as caught:
            result.get(timeout=60)
    assert "an x-message-ttl does not pass on a virtual clock here (delayed)" in str(caught.value)


def test_what_no_queue_was_bound_for_is_held_by_nobody(harness):
    result = yard.add.apply_async((1, 2), exchange="celery", routing_key="nowhere")
    with pytest.raises(Deadlock, match="with no worker and in no queue that is known"):
        result.get(timeout=60)


# -- what it cannot be


@pytest.mark.parametrize(
    "options, text",
    [
        ({"visibility_timeout": 60}, "belongs to Redis; RabbitMQ has consumer_timeout="),
        ({"consumer_timeout": 60}, "passes by the clock of the RabbitMQ"),
        ({"config": {"result_backend": "rpc://"}}, "sends results by the broker"),
    ],
)
def test_what_the_mode_cannot_be_is_said_with_one_that_can(options, text):
    with pytest.raises(FidelityError, match=text), opened(**options):
        pass


def test_a_pool_that_no_worker_has_is_refused():
    with pytest.raises(ConfigurationError, match="pool= takes one of prefork, threads, solo"), opened(pool="gevent"):
        pass


def test_the_test_whose_server_dies_says_so_at_once():
    with pytest.raises(ServerError, match=r"(?s)was ended by SIGKILL.*The end of its log"), opened() as harness:
        result = yard.nap_once.delay(FOR_EVER)
        started(harness._world, result)
        os.kill(the_rabbitmq().process.pid, signal.SIGKILL)
        harness.settle()
