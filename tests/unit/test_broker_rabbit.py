"""Names, stamps and routes of the RabbitMQ broker, without a server."""

from __future__ import annotations

from datetime import datetime, timezone

import amqp
import pytest

from pytest_taskharness.broker.rabbit_later import Later
from pytest_taskharness.broker.rabbit_message import Stamp, message_of, payload_of
from pytest_taskharness.broker.rabbit_names import Names
from pytest_taskharness.broker.rabbit_routes import Routes

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def names():
    return Names("me-1-1")


# -- names


def test_the_default_exchange_keeps_its_name(names):
    assert (names.exchange(""), names.seen_exchange("")) == ("", "")


@pytest.mark.parametrize("name", ["celery", "a.b.c", "taskharness:", "~3~", "ü"])
def test_names_come_back(names, name):
    assert names.queue(name).startswith("taskharness:me-1-1.")
    assert names.seen_queue(names.queue(name)) == name


def test_the_prefix_is_one_word_of_a_topic(names):
    assert names.queue("media.image.#").split(".") == ["taskharness:me-1-1", "media", "image", "#"]


@pytest.mark.parametrize("exchange", ["", "media", "a~b", "3~x"])
def test_an_exchange_that_leads_back_is_seen_as_the_first_one(names, exchange):
    assert names.seen_exchange(names.back_to("the~queue", exchange)) == exchange


def test_names_of_others_stay(names):
    assert names.seen_queue("taskharness:me-1-10.celery") == "taskharness:me-1-10.celery"


def test_arguments_that_name_something(names):
    given = {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead", "x-max-priority": 3}
    assert names.arguments(given) == {
        "x-dead-letter-exchange": "taskharness:me-1-1.dlx",
        "x-dead-letter-routing-key": "taskharness:me-1-1.dead",
        "x-max-priority": 3,
    }
    assert names.arguments({"x-dead-letter-exchange": ""}) == {"x-dead-letter-exchange": ""}
    assert names.arguments(None) == {}


def test_deaths_are_told_by_the_users_names(names):
    death = {"queue": "work", "exchange": "", "routing-keys": ["work"], "reason": "rejected", "count": 1}
    headers = {"x-death": [death], "x-first-death-queue": "work", "x-first-death-exchange": "", "task": "shop.add"}
    told = names.headers(headers)
    assert told["x-death"][0]["queue"] == told["x-first-death-queue"] == "taskharness:me-1-1.work"
    assert told["x-first-death-exchange"] == ""
    assert names.seen_headers(told) == headers


def test_what_the_server_says(names):
    assert names.seen_text("no queue 'taskharness:me-1-1.work' in vhost '/'") == "no queue 'work' in vhost '/'"


# -- messages


def test_a_stamp_comes_back_and_hides_the_expiration():
    message = amqp.Message("hi", expiration="1500")
    stamp = Stamp("me-1-1", "7-1", NOW, "1500", 2)
    stamp.write(message)
    assert Stamp.read(message) == stamp
    assert "expiration" not in message.properties


@pytest.mark.parametrize("place", ["", "somebody's", "a|b"])
def test_a_message_of_somebody_elses_has_no_stamp(place):
    assert Stamp.read(amqp.Message("hi", cluster_id=place)) is None


def test_a_message_survives_its_payload():
    headers = {"task": "shop.add", "id": "1"}
    message = amqp.Message(
        "[]", application_headers=headers, content_type="application/json", content_encoding="utf-8", priority=3
    )
    Stamp("me-1-1", "7-1", NOW).write(message)
    payload = payload_of(message, "", "celery", harness="me-1-1")
    assert payload["properties"] == {"priority": 3, "delivery_info": {"exchange": "", "routing_key": "celery"}}
    again = message_of(payload)
    assert (again.body, again.headers, again.properties["priority"]) == ("[]", headers, 3)
    assert (again.properties["content_type"], Stamp.read(again)) == ("application/json", None)


# -- where exchanges lead to


@pytest.fixture
def routes():
    routes = Routes()
    for name in ("celery", "images", "all"):
        routes.declare_queue(name, None)
    routes.exchanges.update(direct="direct", topic="topic", fanout="fanout", odd="headers")
    routes.bind("images", "topic", "media.image", None)
    routes.bind("all", "topic", "media.*", None)
    routes.bind("celery", "direct", "task", None)
    routes.bind("celery", "fanout", "", None)
    routes.bind("celery", "odd", "", None)
    return routes


@pytest.mark.parametrize("exchange, key, queues", [
    ("", "celery", ["celery"]), ("", "nothing", []), ("direct", "task", ["celery"]), ("direct", "celery", []),
    ("topic", "media.image", ["all", "images"]), ("topic", "media", []), ("fanout", "anything", ["celery"]),
    ("odd", "", []), ("nothing", "task", []),
])  # fmt: skip
def test_where_an_exchange_leads_to(routes, exchange, key, queues):
    assert routes.targets(exchange, key) == queues


def test_a_deleted_queue_is_bound_no_more(routes):
    routes.delete_queue("celery")
    assert (routes.targets("", "celery"), routes.targets("direct", "task")) == ([], [])


def test_a_binding_that_ends(routes):
    routes.unbind("all", "topic", "media.*")
    assert routes.targets("topic", "media.image") == ["images"]


# -- later


@pytest.fixture
def done():
    return []


@pytest.fixture
def later(done):
    return Later(lambda: "the house")


def act(done, what):
    return lambda channel: done.append((what, channel))


def test_a_declaration_waits_until_somebody_could_notice(later, done):
    later.declare(("exchange", "x"), "direct", act(done, "x"), on="here")
    later.declare(("exchange", "x"), "direct", act(done, "x again"), on="here")
    assert (done, later.is_waiting("exchange", "x")) == ([], True)
    later.flush()
    later.declare(("exchange", "x"), "direct", act(done, "x again"), on="here")
    assert (done, later.is_waiting("exchange", "x")) == ([("x", "the house")], False)


def test_a_contradiction_is_said_at_once(later, done):
    later.declare(("exchange", "x"), "direct", act(done, "direct"), on="here")
    later.declare(("exchange", "x"), "topic", act(done, "topic"), on="here")
    assert done == [("direct", "the house"), ("topic", "here")]


def test_a_queue_that_is_deleted_takes_its_bindings_along(later, done):
    later.declare(("queue", "q"), "", act(done, "q"), on="here")
    later.declare(("binding", "q", "x", "key", "None"), "", act(done, "binding"), on="here")
    assert not later.forget("queue", "q")
    later.flush()
    assert done == []


def test_after_the_end_nothing_waits(later, done):
    later.declare(("exchange", "x"), "direct", act(done, "x"), on="here")
    later.end()
    later.declare(("exchange", "y"), "direct", act(done, "y"), on="here")
    assert done == [("x", "the house"), ("y", "here")]
