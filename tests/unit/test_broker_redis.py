"""The redis transport for somebody who steps, on a server of fakeredis and a clock of the test's own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import redis
from kombu import Consumer, Exchange, Producer, Queue
from kombu.transport import redis as kombu_redis

from pytest_taskharness.broker.redis_access import PrefixingRedis, fake_access
from pytest_taskharness.broker.redis_broker import RedisBroker, broker_named
from pytest_taskharness.broker.redis_transport import connect
from pytest_taskharness.errors import ConfigurationError

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Clock:
    """Stands still, also for kombu, until it is told to move."""

    def __init__(self):
        self.now = START

    def read(self):
        return self.now

    def timestamp(self):
        return self.now.timestamp()

    def advance(self, **delta):
        self.now += timedelta(**delta)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(kombu_redis, "time", clock.timestamp)
    return clock


@pytest.fixture
def make_broker(clock):
    made = []

    def make(**options):
        made.append(RedisBroker(fake_access(), clock.read, options=options))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def channel(broker):
    with connect(broker) as connection:
        yield connection.default_channel


def publish(channel, *bodies, queue="celery", **options):
    for body in bodies:
        Producer(channel).publish(body, routing_key=queue, **options)


def bodies(channel, *queues):
    """Everything in these queues, taken in the order of delivery and acknowledged."""
    taken = []
    while (found := channel.take_any(list(queues))) is not None:
        taken.append(found[0].payload)
        found[0].ack()
    return taken


def test_what_was_published_first_comes_first(channel):
    publish(channel, 1, 2, 3)
    assert bodies(channel, "celery") == [1, 2, 3]


def test_an_empty_queue_has_nothing(channel):
    assert channel.take_any(["celery"]) is None
    assert channel.basic_get("celery") is None


def test_nobody_has_a_message_for_whoever_consumes_nothing(channel):
    publish(channel, "hi")
    assert channel.take_any([]) is None


def test_a_delivery_is_held_until_it_is_acknowledged(broker, channel):
    publish(channel, "hi")
    message, queue = channel.take_any(["celery"])
    assert (queue, list(broker.held), list(broker.unacked)) == (
        "celery",
        [message.delivery_tag],
        [message.delivery_tag],
    )
    message.ack()
    assert (broker.held, broker.unacked) == ({}, {})


def test_a_rejected_message_is_not_held(broker, channel):
    publish(channel, "hi")
    channel.take_any(["celery"])[0].reject()
    assert (broker.held, broker.unacked, broker.peek("celery")) == ({}, {}, [])


def test_a_requeued_message_is_not_held_and_says_that_it_comes_again(broker, channel):
    publish(channel, "hi")
    channel.take_any(["celery"])[0].requeue()
    assert broker.held == {}
    again, _ = channel.take_any(["celery"])
    assert again.delivery_info["redelivered"] is True


def test_nothing_is_due_where_nothing_is_held(broker):
    assert broker.restore_due() is None


def test_the_oldest_delivery_is_due_first(broker, channel, clock):
    publish(channel, 1, 2)
    channel.take_any(["celery"])
    clock.advance(minutes=10)
    channel.take_any(["celery"])
    assert broker.restore_due() == START + timedelta(hours=1)


@pytest.mark.parametrize("micros", [0, 1, 123_457, 499_999, 999_999])
@pytest.mark.parametrize("timeout", [3600, 0.1, 1 / 3, 86_400.000001])
def test_at_the_instant_that_is_due_kombu_restores_and_a_microsecond_before_it_does_not(
    make_broker, clock, micros, timeout
):
    clock.advance(microseconds=micros)
    broker = make_broker(visibility_timeout=timeout)
    with connect(broker) as connection:
        channel = connection.default_channel
        publish(channel, "hi")
        message, _ = channel.take_any(["celery"])
        due = broker.restore_due()
        clock.now = due - timedelta(microseconds=1)
        assert channel.qos.restore_now() == []
        assert list(broker.held) == [message.delivery_tag]
        clock.now = due
        assert len(channel.qos.restore_now()) == 1
        assert (broker.held, len(broker.peek("celery"))) == ({}, 1)


def test_of_what_is_lost_at_one_instant_the_first_comes_first(channel, clock):
    publish(channel, *range(20))
    for _ in range(20):
        channel.take_any(["celery"])
    clock.advance(hours=1)
    channel.qos.restore_now()
    assert bodies(channel, "celery") == list(range(20))


def test_a_lost_connection_leaves_what_it_held_where_it_is(broker, clock):
    with connect(broker) as survivor:
        connection = connect(broker)
        publish(connection.default_channel, "hi")
        connection.default_channel.take_any(["celery"])
        broker.lose(connection)
        assert (len(broker.held), broker.peek("celery")) == (1, [])
        clock.advance(hours=1)
        assert len(survivor.default_channel.qos.restore_now()) == 1


def test_a_closed_connection_gives_back_what_it_held(broker):
    with connect(broker) as connection:
        publish(connection.default_channel, "hi")
        connection.default_channel.take_any(["celery"])
    assert (broker.held, [message.payload["headers"]["redelivered"] for message in broker.peek("celery")]) == (
        {},
        [True],
    )


def test_a_peek_shows_the_order_of_delivery(broker, channel):
    for priority in (9, 0, 3, 0):
        publish(channel, priority, priority=priority)
    seen = [message.payload["properties"]["priority"] for message in broker.peek("celery")]
    assert seen == bodies(channel, "celery") == [0, 0, 3, 9]


def test_the_most_urgent_of_several_queues_comes_first(channel):
    publish(channel, "later", queue="first", priority=6)
    publish(channel, "now", queue="second", priority=0)
    assert bodies(channel, "first", "second") == ["now", "later"]


def test_queues_take_turns(channel):
    publish(channel, 1, 2, queue="a")
    publish(channel, 3, 4, queue="b")
    assert bodies(channel, "a", "b") == [1, 3, 2, 4]


def test_a_consumer_of_the_users_own_drains_its_queue(broker):
    got = []
    with connect(broker) as connection:
        publish(connection.default_channel, "hi", queue="mine")
        with Consumer(connection, [Queue("mine")], callbacks=[lambda body, message: got.append(body)], no_ack=True):
            connection.drain_events(timeout=1)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0)
    assert got == ["hi"]


def test_a_subscriber_hears_what_is_published_after_it_has_begun(broker):
    got = []
    news = Exchange("news", type="fanout")
    with connect(broker) as first, connect(broker) as second:
        publisher = Producer(first.default_channel, exchange=news)
        publisher.publish("too early")
        with Consumer(second, [Queue("mine", news)], callbacks=[lambda body, message: got.append(body)], no_ack=True):
            publisher.publish("in time")
            second.drain_events(timeout=1)
    assert got == ["in time"]


def test_bindings_are_written_when_somebody_reads_them(broker, channel):
    bound = Queue("films", Exchange("media", type="topic"), routing_key="media.#")(channel)
    bound.declare()
    assert broker.client.keys("_kombu*") == []
    Producer(channel).publish("hi", exchange="media", routing_key="media.film")
    assert b"_kombu.binding.media" in broker.client.keys("_kombu*")
    assert bodies(channel, "films") == ["hi"]


def test_a_deleted_queue_is_bound_no_more(channel):
    bound = Queue("films", Exchange("media", type="topic"), routing_key="media.#")(channel)
    bound.declare()
    bound.delete()
    assert channel.get_table("media") == []


def test_the_type_of_an_exchange_is_known_to_its_own_broker_only(make_broker):
    for kind in ("fanout", "topic"):
        with connect(make_broker()) as connection:
            exchange = Exchange("odd", type=kind)(connection.default_channel)
            exchange.declare()
            assert connection.default_channel.typeof("odd").type == kind


def test_a_broker_is_found_by_its_name_as_long_as_it_lives(make_broker):
    broker = make_broker()
    assert broker_named(broker.name) is broker
    assert broker_named("no such name") is None


def test_a_closed_broker_refuses_whoever_has_kept_a_connection(broker):
    with connect(broker) as connection:
        channel = connection.default_channel
        broker.close()
        with pytest.raises(redis.ConnectionError, match="belonged to a harness that is closed"):
            channel._put("celery", {})
        with pytest.raises(redis.ConnectionError, match="belonged to a harness that is closed"):
            connect(broker).connect()


@pytest.mark.parametrize("timeout", [0, -1, None, "3600", True, float("nan")])
def test_a_visibility_timeout_is_a_number_above_zero(make_broker, timeout):
    with pytest.raises(ConfigurationError, match=r"broker_transport_options\['visibility_timeout'\]"):
        make_broker(visibility_timeout=timeout)


COMMANDS = [
    ("lpush", "key", "value"), ("llen", "key"), ("exists", "key"), ("pexpire", "key", 10), ("lrange", "key", 0, -1),
    ("zadd", "z", {"a": 1}), ("zrange", "z", 0, -1), ("sadd", "s", 1), ("smembers", "s"), ("hset", "h", "f", 1),
    ("hget", "h", "f"), ("expire", "key", 10), ("set", "k", 1), ("delete", "k"), ("srem", "s", 1),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("piped", [False, True], ids=["alone", "piped"])
def test_each_command_of_kombu_keeps_to_the_prefix(command, piped):
    access = fake_access()
    client = access.prefixing("ours:")
    assert isinstance(client, PrefixingRedis)
    name, key, *rest = command
    for target in (access.client, client):
        target.lpush("key", 1)
        target.set("k", 1)
    others = {each: access.client.dump(each) for each in access.client.keys("*") if not each.startswith(b"ours:")}
    if piped:
        with client.pipeline() as pipe:
            getattr(pipe, name)(key, *rest)
            pipe.execute()
    else:
        getattr(client, name)(key, *rest)
    after = {each: access.client.dump(each) for each in access.client.keys("*") if not each.startswith(b"ours:")}
    assert after == others
    assert all(access.client.ttl(each) == -1 for each in others)


# -- what a test does to it


def names(broker, queue="jobs"):
    return [message.payload["headers"]["name"] for message in broker.peek(queue)]


def send(channel, *names, **properties):
    for name in names:
        Producer(channel).publish("", routing_key="jobs", headers={"name": name}, correlation_id=name, **properties)


@pytest.fixture
def jobs(broker):
    with connect(broker) as connection:
        Queue("jobs", Exchange(""), "jobs")(connection.default_channel).declare()
        yield connection.default_channel


def test_what_was_published_can_be_put_there_again(broker, jobs):
    send(jobs, "a", "b")
    [sent] = broker.sent["a"]
    broker.add(sent.queue, sent.payload)
    broker.add(sent.queue, sent.payload, redelivered=True)

    assert names(broker) == ["a", "a", "b", "a"]
    messages = [jobs.basic_get("jobs") for _ in range(4)]
    assert [bool(message.delivery_info.get("redelivered")) for message in messages] == [True, False, False, False]
    assert len({message.delivery_tag for message in messages}) == 4
    assert list(broker.unacked) == [message.delivery_tag for message in messages]


def test_only_one_of_two_copies_is_taken_out(broker, jobs):
    send(jobs, "a", "a", "b")
    first = broker.peek("jobs")[0]

    assert broker.take_out(first)
    assert not broker.take_out(first)
    assert names(broker) == ["a", "b"]


def test_each_priority_is_arranged_for_itself(broker, jobs):
    send(jobs, "a", "b", priority=0)
    send(jobs, "c", "d", priority=4)
    broker.arrange("jobs", lambda messages: list(reversed(messages)))

    assert names(broker) == ["b", "a", "d", "c"]


def test_a_held_queue_gives_nothing(broker, jobs):
    send(jobs, "a")
    broker.on_hold.add("jobs")

    assert jobs.basic_get("jobs") is None
    assert jobs.take_any(["jobs"]) is None


def test_nobody_reaches_it_during_an_outage(broker, jobs):
    broker.is_out = True
    with pytest.raises(redis.ConnectionError, match="Connection refused"):
        jobs.basic_get("jobs")
    broker.is_out = False
    send(jobs, "a")

    assert names(broker) == ["a"]


def test_the_bindings_of_a_channel_outlive_it(broker):
    exchange = Exchange("orders", type="topic")
    with connect(broker) as connection:
        Queue("new", exchange, "order.#")(connection.default_channel).declare()
    with connect(broker) as connection:
        Producer(connection.default_channel).publish("", exchange=exchange, routing_key="order.1")

    assert len(broker.peek("new")) == 1
