"""Mode rabbitmq: what it writes on a server, what it leaves there, and what becomes of it where the server dies."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from amqp.exceptions import NotFound
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.common import Broadcast
from kombu.transport import pyamqp

from pytest_taskharness import Harness
from pytest_taskharness.broker import rabbit_access
from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import ServerError
from pytest_taskharness.servers.given_rabbitmq import GivenRabbitMQ
from pytest_taskharness.servers.rabbitmq import the_rabbitmq
from pytest_taskharness.worker.supplies import rabbit_supply

#: What a dead server may cost, in real seconds.
AT_ONCE = 20.0

pytestmark = pytest.mark.usefixtures("rabbitmq_binary")


@pytest.fixture
def app():
    app = Celery("shop", broker="amqp://nobody@nowhere.invalid//", set_as_current=False)
    app.conf.task_queues = [
        Queue("celery", Exchange("tasks", type="direct"), routing_key="celery"),
        Queue("media", Exchange("media", type="topic"), routing_key="media.#"),
        Queue("short", routing_key="short", expires=60, queue_arguments={"x-dead-letter-exchange": ""}),
        Broadcast("everybody"),
    ]
    return app


@pytest.fixture
def tasks(app):
    @app.task(name="shop.add", shared=False)
    def add(x, y):
        return x + y

    @app.task(name="shop.fatal", shared=False)
    def fatal():
        os.kill(the_rabbitmq().process.pid, signal.SIGKILL)

    return app.tasks


@pytest.fixture
def server(rabbitmq_binary):
    """The one of this process; tests that give it to a harness do so by its URL."""
    return the_rabbitmq()


@pytest.fixture
def given(server):
    return GivenRabbitMQ(server.url, "a test")


@pytest.fixture
def channel(server):
    """Somebody else on that server."""
    with Connection(server.url, transport="pyamqp") as connection:
        yield connection.default_channel


def work(app, tasks, harness):
    tasks["shop.add"].delay(1, 2)
    tasks["shop.add"].apply_async((1, 2), queue="media", routing_key="media.image")
    tasks["shop.add"].apply_async((1, 2), queue="short", expires=30)
    tasks["shop.add"].apply_async((1, 2), countdown=60)
    app.control.inspect().ping()
    harness.broker.reorder()
    harness.settle()


def await_server(access):
    """Return when it has done what it was told at the end of a harness: nobody else waits for that."""
    for connection in access._idle:
        channels = [connection.channel_of(pyamqp.Channel) for _ in list(connection.spare)]
        for channel in channels:
            channel.exchange_declare("amq.direct", "direct", passive=True)
            connection.put_aside(channel)


# -- what is where


def test_each_name_on_the_server_is_our_own(app, tasks, channel):
    with Harness.open(app, "rabbitmq") as harness:
        work(app, tasks, harness)
        broker = harness._world.broker
        there = [broker.names.queue(queue) for queue in broker.queues]
        assert {"celery", "media", "short"} <= set(broker.queues)
        assert all(name.startswith(f"taskharness:{broker.name}.") for name in there)
        for name in there:
            channel.queue_declare(name, passive=True)
        exchanges = [broker.names.exchange(exchange) for exchange in broker.routes.exchanges if exchange]
    await_server(broker.access)
    for name in there:
        with pytest.raises(NotFound):
            channel.queue_declare(name, passive=True)
    for name in exchanges:
        with pytest.raises(NotFound):
            channel.exchange_declare(name, "direct", passive=True)


def test_what_others_have_is_left_alone(app, tasks, given, channel):
    channel.queue_declare("celery", durable=False, auto_delete=False)
    channel.basic_publish(channel.prepare_message(b"somebody's"), "", "celery")
    try:
        with Harness.open(app, "rabbitmq", rabbitmq_url=given) as harness:
            work(app, tasks, harness)
            assert len(harness.runs("shop.add")) == 4
        assert channel.queue_declare("celery", passive=True).message_count == 1
    finally:
        channel.queue_delete("celery")


def test_two_harnesses_see_nothing_of_each_other(app, tasks):
    other = Celery("other", broker="amqp://", set_as_current=False)

    @other.task(name="shop.add", shared=False)
    def add(x, y):
        return "another"

    with Harness.open(app, "rabbitmq") as first, Harness.open(other, "rabbitmq") as second:
        theirs, ours = add.delay(1, 2), tasks["shop.add"].delay(1, 2)
        assert (first.broker.depth("celery"), second.broker.depth("celery")) == (1, 1)
        assert (theirs.get(), ours.get()) == ("another", 3)


def test_queues_that_a_killed_run_leaves_go_away_by_themselves(app, tasks, given):
    with Harness.open(app, "rabbitmq", rabbitmq_url=given) as harness:
        assert harness._world.broker.told({"x-expires": 1000, "x-max-priority": 3}) == {
            "x-max-priority": 3, "x-expires": 6 * 3600 * 1000,
        }  # fmt: skip


def test_exchanges_that_a_killed_run_leaves_go_away_with_the_queue_that_has_a_time(app, tasks, given, channel):
    with Harness.open(app, "rabbitmq", rabbitmq_url=given) as harness:
        work(app, tasks, harness)
        broker = harness._world.broker
        exchanges = [broker.names.exchange(name) for name in broker._known("exchange", broker.routes.exchanges)]
        assert exchanges
        timed = {"durable": True, "auto_delete": False, "arguments": {"x-expires": 6 * 3600 * 1000}}
        channel.queue_declare(broker.lease.queue, **timed)  # else the server refuses
        for queue in broker.queues:
            channel.queue_delete(broker.names.queue(queue))
        for name in exchanges:
            channel.exchange_declare(name, "direct", passive=True)
        channel.queue_delete(broker.lease.queue)  # as the server does when its time is over
        for name in exchanges:
            with pytest.raises(NotFound):
                channel.exchange_declare(name, "direct", passive=True)


def test_what_no_queue_takes_is_returned_also_by_an_exchange_that_goes_away(app, tasks, given):
    with Harness.open(app, "rabbitmq", rabbitmq_url=given) as harness:
        for kind in ("fanout", "topic", "direct"):
            with app.connection_for_write() as connection:
                Exchange(f"no-{kind}", kind, channel=connection).declare()
            tasks["shop.add"].apply_async((1, 2), exchange=Exchange(f"no-{kind}", kind), routing_key="nobody")
        assert len(harness.tally.lost) == 3


def test_nothing_is_left_on_a_server_that_was_named(app, tasks, given, channel):
    with Harness.open(app, "rabbitmq", rabbitmq_url=given) as harness:
        work(app, tasks, harness)
        broker = harness._world.broker
        exchanges = [broker.names.exchange(name) for name in broker.routes.exchanges if name]
    for name in [*exchanges, broker.lease.queue]:
        with pytest.raises(NotFound):
            channel.exchange_declare(name, "direct", passive=True)
    with pytest.raises(NotFound):
        channel.queue_declare(broker.lease.queue, passive=True)


# -- connections


def test_connections_are_used_again(app, tasks):
    def once():
        with Harness.open(app, "rabbitmq"):
            assert tasks["shop.add"].delay(1, 2).get() == 3

    once()
    access = rabbit_supply._servers[the_rabbitmq().url, True]
    before = len(access._idle)
    for _ in range(5):
        once()
    assert (len(access._idle), access._lent) == (before, [])


def test_threads_of_the_test_may_publish(app, tasks):
    with Harness.open(app, "rabbitmq") as harness:
        threads = [threading.Thread(target=tasks["shop.add"].delay, args=(number, 1)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert harness.broker.depth("celery") == 8
        assert harness.settle().counts == {"SUCCESS": 8}


def test_a_connection_that_is_kept_from_one_test_to_the_next_says_so(app, tasks):
    with Harness.open(app, "rabbitmq"):
        kept = app.connection_for_write()
        kept.connect()
    with pytest.raises(ConnectionRefusedError, match="kept from one test to the next"):
        _ = kept.clone().transport


# -- the server dies


def drive(harness, tasks, die):
    tasks["shop.add"].delay(1, 2)
    die()
    harness.settle()


def run_fatal(harness, tasks, die):
    tasks["shop.fatal"].delay()
    harness.settle()
    tasks["shop.add"].delay(1, 2)


@pytest.mark.parametrize("act", [drive, run_fatal])
def test_a_server_that_dies_is_told_at_once(app, tasks, act):
    server = the_rabbitmq()  # which takes its time to start
    began = Real.monotonic()
    said = pytest.raises(ServerError, match=r"(?s)expected the RabbitMQ of this test run to live.* SIGKILL")
    with said, Harness.open(app, "rabbitmq") as harness:
        act(harness, tasks, lambda: os.kill(server.process.pid, signal.SIGKILL))
    assert Real.monotonic() - began < AT_ONCE
    if act is run_fatal:  # the next test gets another one
        with Harness.open(app, "rabbitmq"):
            assert tasks["shop.add"].delay(1, 2).get() == 3


def test_a_server_that_hangs_is_told(app, tasks, monkeypatch):
    forget_connections()
    with Harness.open(app, "rabbitmq"):
        broker = app.amqp.Connection().transport.broker
        broker.house.channel.connection.sock.settimeout(0.5)
        os.kill(the_rabbitmq().process.pid, signal.SIGSTOP)
        said = r"expected an answer of the RabbitMQ of this test run within 0\.5 s"
        try:
            with monkeypatch.context() as patch, pytest.raises(ServerError, match=said):
                patch.setattr(rabbit_access, "PATIENCE", 0.5)
                tasks["shop.add"].delay(1, 2)
        finally:
            os.kill(the_rabbitmq().process.pid, signal.SIGCONT)
    forget_connections()


def forget_connections():
    access = rabbit_supply._servers.pop((the_rabbitmq().url, True), None)
    if access is not None:
        access.drop()
