"""The memory broker behind kombu's own API."""

from __future__ import annotations

import gc
from datetime import datetime, timedelta, timezone

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError

from pytest_taskharness.broker.memory import MemoryBroker
from pytest_taskharness.broker.transport import address, connect

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
JOBS = Queue("jobs", Exchange("jobs"), routing_key="jobs")


@pytest.fixture
def broker():
    return MemoryBroker(lambda: NOW)


@pytest.fixture
def channel(broker):
    with connect(broker) as connection:
        yield connection.default_channel


def publish(channel, *bodies, exchange="jobs", routing_key="jobs", **properties):
    producer = Producer(channel)
    for body in bodies:
        producer.publish(body, exchange=exchange, routing_key=routing_key, declare=[JOBS], **properties)


def bodies(channel, queue="jobs", **options):
    found = []
    while (message := channel.basic_get(queue, **options)) is not None:
        found.append(message.decode())
    return found


def test_what_is_published_through_kombu_is_got_through_kombu(broker, channel):
    publish(channel, {"n": 1}, {"n": 2})

    assert broker.depth("jobs") == 2
    assert bodies(channel, no_ack=True) == [{"n": 1}, {"n": 2}]
    assert broker.unacked == {}


def test_a_delivery_is_held_until_it_is_acknowledged(broker, channel):
    publish(channel, "a")
    message = channel.basic_get("jobs")

    assert list(broker.unacked) == [message.delivery_tag]
    message.ack()
    assert (broker.unacked, broker.depth("jobs")) == ({}, 0)


def test_a_rejected_delivery_is_dropped_or_put_back(broker, channel):
    publish(channel, "a", "b")

    channel.basic_get("jobs").reject()
    assert broker.depth("jobs") == 1
    channel.basic_get("jobs").requeue()
    again = channel.basic_get("jobs")

    assert (again.decode(), again.delivery_info["redelivered"]) == ("b", True)


def test_each_delivery_has_a_tag_of_its_own(channel):
    publish(channel, "a")
    first = channel.basic_get("jobs")
    first.requeue()

    assert channel.basic_get("jobs").delivery_tag != first.delivery_tag


def test_a_lost_connection_puts_everything_back_in_order(broker):
    with connect(broker) as connection:
        channel = connection.default_channel
        publish(channel, "a", "b", "c")
        for _ in range(2):
            channel.basic_get("jobs")
        assert broker.depth("jobs") == 1

    with connect(broker) as connection:
        messages = [connection.default_channel.basic_get("jobs") for _ in range(3)]
        assert [message.decode() for message in messages] == ["a", "b", "c"]
        assert [bool(message.delivery_info.get("redelivered")) for message in messages] == [True, True, False]


def test_the_prefetch_limit_counts_what_is_held(channel):
    publish(channel, "a", "b")
    channel.basic_qos(prefetch_count=1)
    held = channel.basic_get("jobs")

    assert not channel.qos.can_consume()
    held.ack()
    assert channel.qos.can_consume()


def test_bindings_belong_to_the_broker_and_not_to_the_connection(broker):
    with connect(broker) as first:
        JOBS(first.default_channel).declare()

    with connect(broker) as second:
        Producer(second.default_channel).publish("a", exchange="jobs", routing_key="jobs")

    assert broker.depth("jobs") == 1


def test_a_topic_reaches_each_queue_whose_pattern_matches(broker, channel):
    exchange = Exchange("logs", type="topic")
    for name, pattern in [("all", "#"), ("errors", "*.error"), ("other", "x.*")]:
        Queue(name, exchange, routing_key=pattern)(channel).declare()

    Producer(channel).publish("m", exchange="logs", routing_key="shop.error")

    assert [broker.depth(name) for name in ("all", "errors", "other")] == [1, 1, 0]


def test_a_fanout_reaches_every_queue(broker, channel):
    exchange = Exchange("news", type="fanout")
    for name in ("a", "b"):
        Queue(name, exchange)(channel).declare()

    Producer(channel).publish("m", exchange="news", routing_key="ignored")

    assert [broker.depth("a"), broker.depth("b")] == [1, 1]


def test_the_declared_maximum_priority_reaches_the_broker(broker, channel):
    Queue("p", queue_arguments={"x-max-priority": 3})(channel).declare()
    publish(channel, "low", exchange="", routing_key="p", priority=1)
    publish(channel, "high", exchange="", routing_key="p", priority=3)

    assert bodies(channel, "p", no_ack=True) == ["high", "low"]


def test_an_expiration_is_carried_in_milliseconds(broker, channel):
    publish(channel, "a", expiration=2)

    [message] = broker.peek("jobs")
    assert message.expires_at == NOW + timedelta(seconds=2)


def test_purge_and_delete_work_by_kombus_names(broker, channel):
    publish(channel, "a", "b")

    assert JOBS(channel).purge() == 2
    JOBS(channel).delete()
    assert not broker.has("jobs")


def test_a_passive_declaration_of_an_unknown_queue_fails(channel):
    with pytest.raises(channel.connection.client.channel_errors):
        channel.queue_declare("nowhere", passive=True)


def test_a_kombu_consumer_gets_its_messages(channel):
    publish(channel, "a")
    got = []

    with Consumer(channel, JOBS, callbacks=[lambda body, message: got.append(body)], no_ack=True):
        channel.connection.client.drain_events(timeout=1)

    assert got == ["a"]


def test_two_brokers_never_see_each_others_messages(broker, channel):
    other = MemoryBroker(lambda: NOW)
    publish(channel, "a")

    with connect(other) as connection:
        JOBS(connection.default_channel).declare()
        assert bodies(connection.default_channel) == []


def test_a_url_reaches_the_broker_it_names(broker):
    with Connection(address(broker)) as connection:
        publish(connection.default_channel, "a")

    assert broker.depth("jobs") == 1


def test_the_address_of_a_broker_stays_the_same(broker):
    assert address(broker) == address(broker)


def test_an_address_is_never_given_twice():
    """By memory address it was: a connection that outlived its test then met the next test's broker."""
    seen = set()
    for _ in range(50):
        seen.add(address(MemoryBroker(lambda: NOW)))
        gc.collect()

    assert len(seen) == 50


def test_the_broker_of_a_closed_harness_says_so():
    url = address(MemoryBroker(lambda: NOW))
    gc.collect()

    with pytest.raises((OperationalError, ConnectionError), match="this broker belonged to a harness that is closed"):
        Connection(url).ensure_connection(max_retries=1, interval_start=0)


def test_what_was_taken_for_lost_does_not_come_back_a_second_time(broker):
    with connect(broker) as connection:
        channel = connection.default_channel
        publish(channel, "a")
        held = channel.basic_get("jobs")
        channel.qos.restore_by_tag(held.delivery_tag)
        held.requeue()
        channel.qos.restore_unacked()

    assert broker.depth("jobs") == 1


def test_nobody_connects_during_an_outage(broker):
    broker.is_out = True
    with pytest.raises(OperationalError, match="Connection refused"):
        connect(broker).ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)


def test_an_open_channel_is_of_no_use_during_an_outage(broker, channel):
    publish(channel, "a")
    broker.is_out = True
    for verb in (
        lambda: channel.basic_get("jobs"),
        lambda: channel.queue_purge("jobs"),
        lambda: channel.queue_declare("jobs"),
        lambda: channel.basic_publish(channel.prepare_message("b"), exchange="jobs", routing_key="jobs"),
    ):
        with pytest.raises(ConnectionRefusedError):
            verb()
    broker.is_out = False
    assert channel.basic_get("jobs").decode() == "a"
