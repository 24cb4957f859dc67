"""What is written down of a publish, from the arguments of Celery's own `send_task_message`."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from celery import Celery
from kombu import Exchange, Queue

from pytest_taskharness.recorder.publishing import describe_publish, snapshot

ETA = datetime(2030, 1, 1, 1, tzinfo=timezone.utc)
app = Celery("shop", set_as_current=False)


def described(*, options=None, protocol=2, **message):
    make = app.amqp.as_task_v2 if protocol == 2 else app.amqp.as_task_v1
    arguments = {"args": (1,), "kwargs": {"a": 2}, **message}
    sent = make("id", "shop.add", **arguments)
    return describe_publish(sent, options=options or {}, amqp=app.amqp, root="")


def test_arguments_and_their_reprs():
    found = described()

    assert (found["args"], found["kwargs"]) == ((1,), {"a": 2})
    assert (found["argsrepr"], found["kwargsrepr"], found["hidden"]) == ("(1,)", "{'a': 2}", False)


def test_what_the_publisher_hid_is_marked():
    found = described(argsrepr="(***)", options={"argsrepr": "(***)"})

    assert (found["argsrepr"], found["hidden"]) == ("(***)", True)


def test_only_options_that_were_given_are_there():
    assert described()["options"] == {}


def test_options_have_the_names_that_apply_async_gives_them():
    found = described(
        time_limit=20, soft_time_limit=10, shadow="other", ignore_result=True,
        options={"priority": 3, "serializer": "pickle", "expiration": 60, "exchange": Exchange("jobs"), "retry": False},
    )  # fmt: skip

    assert found["options"] == {
        "priority": 3, "serializer": "pickle", "expires": 60, "exchange": "jobs", "time_limit": 20,
        "soft_time_limit": 10, "shadow": "other", "ignore_result": True, "retry": False,
    }  # fmt: skip


#: Celery chooses it by default, also where the routing key leads elsewhere.
TOPICS = Queue("orders", Exchange("jobs", type="topic"), routing_key="order.#")


@pytest.mark.parametrize(
    "options, queue",
    [
        ({}, "celery"),
        ({"queue": "mail"}, "mail"),
        ({"queue": Queue("mail")}, "mail"),
        ({"routing_key": "mail"}, "mail"),
        ({"exchange": "jobs", "routing_key": "a.b"}, "jobs/a.b"),
        ({"exchange": Exchange("jobs")}, "jobs/"),
        ({"queue": TOPICS}, "orders"),
        ({"queue": TOPICS, "routing_key": "order.new"}, "orders"),
        ({"queue": TOPICS, "exchange": "jobs", "routing_key": "order.new"}, "orders"),
        ({"queue": TOPICS, "exchange": "jobs", "routing_key": "hold.new"}, "jobs/hold.new"),
        ({"queue": TOPICS, "routing_key": "hold.new"}, "jobs/hold.new"),
        ({"queue": Queue("mail", Exchange("mail"), routing_key="mail"), "routing_key": "other"}, "mail"),
    ],
)
def test_where_it_was_routed_to(options, queue):
    assert described(options=options)["queue"] == queue


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_message_protocols_are_read(protocol):
    found = described(protocol=protocol, eta=ETA, retries=2)

    assert (found["args"], found["kwargs"], found["eta"], found["retries"]) == ((1,), {"a": 2}, ETA, 2)


def test_an_eta_in_another_zone_is_the_same_instant_in_utc():
    found = described(eta=ETA.astimezone(timezone(timedelta(hours=5))))

    assert (found["eta"], found["eta"].tzinfo) == (ETA, timezone.utc)


def test_the_family_is_written_down():
    found = described(parent_id="p", root_id="r", group_id="g")

    assert (found["parent_id"], found["root_id"], found["group_id"]) == ("p", "r", "g")


def test_callbacks_are_embedded():
    @app.task(name="shop.other")
    def other():
        """Never runs."""

    found = described(callbacks=[other.si()])

    assert found["embed"]["callbacks"] == [other.si()]
    assert found["options"]["link"] == [other.si()]


def test_what_is_published_is_not_changed_by_what_the_caller_does_later():
    numbers = [1, {"a": [2]}]
    found = described(args=(numbers,))
    numbers[1]["a"].append(3)
    numbers.append(4)

    assert found["args"] == ([1, {"a": [2]}],)


def test_a_snapshot_copies_containers_and_nothing_else():
    kept = object()
    value = {"a": [1, (2, [kept])]}

    copy = snapshot(value)

    assert copy == value
    assert copy["a"] is not value["a"]
    assert copy["a"][1][1][0] is kept
