"""The memory broker's delivery semantics, without kombu."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pytest_taskharness.broker.memory import MemoryBroker
from pytest_taskharness.broker.profiles import AMQP, RABBITMQ, REDIS, profile_for

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Clock:
    """A clock that a test moves."""

    now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(clock):
    return MemoryBroker(clock)


def payload(name="m", **properties):
    return {"body": name, "headers": {"task": name}, "properties": properties}


def taken(broker, queue="q"):
    """Everything in a queue, in the order of delivery."""
    bodies = []
    while (message := broker.get(queue)) is not None:
        bodies.append(message.payload["body"])
    return bodies


def test_messages_of_one_priority_leave_in_the_order_of_arrival(broker):
    for name in "abc":
        broker.put("q", payload(name))

    assert taken(broker) == ["a", "b", "c"]


def test_an_unknown_queue_is_empty(broker):
    assert (broker.get("q"), broker.peek("q"), broker.depth("q"), broker.purge("q")) == (None, [], 0, 0)
    assert not broker.has("q")


def test_publishing_makes_the_queue(broker):
    broker.put("q", payload())

    assert (broker.has("q"), broker.queues, broker.depth("q")) == (True, ["q"], 1)


def test_declaring_twice_keeps_what_is_there(broker):
    broker.declare("q", {"x-max-priority": 5})
    broker.put("q", payload())
    broker.declare("q")

    assert broker.depth("q") == 1


def test_a_message_shares_nothing_with_its_sender(broker):
    sent = payload("a")
    broker.put("q", sent)
    sent["headers"]["task"] = "changed"
    sent["properties"]["priority"] = 9

    message = broker.get("q")

    assert (message.headers["task"], message.payload["properties"]) == ("a", {})


def test_a_message_that_is_put_back_is_redelivered_first(broker):
    broker.put("q", payload("a"))
    broker.put("q", payload("b"))
    message = broker.get("q")

    broker.put_back(message)

    assert broker.peek("q")[0].payload["redelivered"] is True
    assert broker.peek("q")[0].payload["properties"]["delivery_info"]["redelivered"] is True
    assert taken(broker) == ["a", "b"]


def test_peeking_takes_nothing(broker):
    broker.put("q", payload("a"))

    assert [message.payload["body"] for message in broker.peek("q")] == ["a"]
    assert broker.depth("q") == 1


def test_purging_says_how_much_was_there(broker):
    broker.put("q", payload())
    broker.put("q", payload(priority=3))

    assert (broker.purge("q"), broker.depth("q"), broker.has("q")) == (2, 0, True)


def test_a_deleted_queue_is_gone(broker):
    broker.put("q", payload())
    broker.delete("q")
    broker.delete("q")

    assert broker.queues == []


def test_delivery_tags_are_counted_from_one(broker):
    assert [broker.next_tag(), broker.next_tag()] == ["1", "2"]


# -- priorities


def prioritised(broker, *priorities):
    for priority in priorities:
        broker.put("q", payload(priority, **({} if priority is None else {"priority": priority})))
    return taken(broker)


def test_amqp_delivers_the_greatest_priority_first(broker):
    assert prioritised(broker, 1, 9, None, 5) == [9, 5, 1, None]


def test_redis_delivers_the_smallest_priority_first_in_steps_of_three(clock):
    assert prioritised(MemoryBroker(clock, profile=REDIS), 9, 5, 4, 3, None, 2, 1) == [None, 2, 1, 5, 4, 3, 9]


def test_rabbitmq_ignores_priorities_unless_the_queue_declares_a_maximum(clock):
    assert prioritised(MemoryBroker(clock, profile=RABBITMQ), 1, 9, 5) == [1, 9, 5]


def test_rabbitmq_caps_priorities_at_the_declared_maximum(clock):
    broker = MemoryBroker(clock, profile=RABBITMQ)
    broker.declare("q", {"x-max-priority": 5})

    assert prioritised(broker, 1, 7, 9, 5) == [7, 9, 5, 1]


def test_a_redelivered_message_keeps_its_priority(broker):
    broker.put("q", payload("low", priority=1))
    low = broker.get("q")
    broker.put("q", payload("high", priority=9))

    broker.put_back(low)

    assert taken(broker) == ["high", "low"]


@pytest.mark.parametrize(
    "url, profile",
    [
        ("redis://localhost/0", REDIS),
        ("rediss://localhost", REDIS),
        ("redis+socket:///tmp/redis.sock", REDIS),
        ("sentinel://a:26379;sentinel://b:26379", REDIS),
        ("amqp://guest@localhost//", RABBITMQ),
        ("pyamqp://", RABBITMQ),
        ("sqs://", AMQP),
        ("memory://", AMQP),
        ("", AMQP),
        (None, AMQP),
    ],
)
def test_the_rules_are_those_of_the_broker_that_the_app_names(url, profile):
    assert profile_for(url) is profile


# -- expiry


def test_an_expired_message_is_never_delivered_and_is_told(broker, clock):
    gone = []
    broker.on_expired = lambda message: gone.append(message.payload["body"])
    broker.put("q", payload("a", expiration="1000"))
    broker.put("q", payload("b"))

    clock.now = START + timedelta(seconds=1, microseconds=1)

    assert (broker.depth("q"), gone) == (1, [])
    assert taken(broker) == ["b"]
    assert gone == ["a"]


def test_a_message_lives_to_its_last_instant(broker, clock):
    broker.put("q", payload("a", expiration="1000"))

    clock.now = START + timedelta(seconds=1)

    assert taken(broker) == ["a"]


def test_an_expiry_may_be_a_number_or_a_fraction(broker, clock):
    broker.put("q", payload("a", expiration=0.5))
    clock.now = START + timedelta(milliseconds=1)

    assert taken(broker) == []


def test_redis_does_not_look_at_the_expiry(clock):
    broker = MemoryBroker(clock, profile=REDIS)
    broker.put("q", payload("a", expiration="1000"))

    clock.now = START + timedelta(days=1)

    assert taken(broker) == ["a"]


# -- what a test does to it


def test_a_held_queue_gives_nothing_and_keeps_what_it_has(broker):
    broker.put("q", payload())
    broker.on_hold.add("q")
    assert (broker.get("q"), broker.depth("q")) == (None, 1)

    broker.on_hold.clear()
    assert taken(broker) == ["m"]


def test_what_was_published_can_be_put_there_again(broker):
    broker.publish("q", {**payload("a"), "headers": {"id": "1"}})
    taken(broker)
    [sent] = broker.sent["1"]
    broker.add(sent.queue, sent.payload)
    broker.add(sent.queue, sent.payload, redelivered=True)

    first, second = broker.get("q"), broker.get("q")
    assert first.payload["redelivered"]
    assert "redelivered" not in second.payload
    assert "redelivered" not in sent.payload


def test_only_one_of_two_equal_messages_is_taken_out(broker):
    broker.put("q", payload("a"))
    broker.put("q", payload("a"))
    first = broker.peek("q")[0]

    assert broker.take_out(first)
    assert not broker.take_out(first)
    assert taken(broker) == ["a"]


def test_each_priority_is_arranged_for_itself(broker):
    for name, priority in [("a", 9), ("b", 9), ("c", 0), ("d", 0)]:
        broker.put("q", payload(name, priority=priority))
    broker.arrange("q", lambda messages: list(reversed(messages)))
    broker.arrange("elsewhere", lambda messages: messages)

    assert taken(broker) == ["b", "a", "d", "c"]


def test_a_delivery_that_is_taken_for_lost_is_put_back_once(broker):
    broker.put("q", payload("a"))
    broker.unacked["1"] = broker.get("q")
    broker.take_for_lost("1")
    broker.take_for_lost("1")

    assert broker.unacked == {}
    assert taken(broker) == ["a"]
