"""What the app says about its Redis holds in a test too; what only leads to another server does not."""

from __future__ import annotations

import pytest
import redis
from celery import Celery, chord
from kombu import Exchange, Queue
from kombu.common import Broadcast
from redis_scenes import HOUR, happened, holder, on_redis
from scenario import starts

from pytest_taskharness import Harness

pytestmark = on_redis


def keys(harness):
    """The keys on the server, without what all keys of this harness begin with."""
    broker = harness._world.broker
    names = [key.decode() for key in broker.access.client.keys(f"{broker.own_prefix}*")]
    return {name[len(broker.own_prefix) :] for name in names}


def queue_names(app, *names):
    app.conf.task_queues = [Queue(name, routing_key=name) for name in names]
    app.conf.task_default_queue = names[0]


def order_of(harness):
    """The first argument of each run, in the order of the starts."""
    args = {run.id: run.args[0] for run in harness.runs()}
    return [args[event.id] for event in harness.timeline if event.kind == "start"]


def test_the_apps_own_prefix_comes_after_ours(open_harness, app, tasks):
    app.conf.broker_transport_options = {"global_keyprefix": "shop-"}
    app.conf.result_backend_transport_options = {"global_keyprefix": "results-"}
    harness = open_harness()
    tasks.add.delay(1, 2).get()
    result = tasks.add.delay(3, 4)
    assert keys(harness) >= {"shop-celery"}
    assert any(key.startswith("results-") and "celery-task-meta-" in key for key in keys(harness))
    assert result.get() == 7


def test_the_names_of_kombus_own_keys_are_honoured(open_harness, app, tasks):
    app.conf.broker_transport_options = {"unacked_key": "mine", "unacked_index_key": "index_of_mine"}
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=1.5 * HOUR)
    harness.drain()
    assert {"mine", "index_of_mine"} <= keys(harness)
    assert [message.headers["task"] for message in harness._world.broker.unacked.values()] == ["shop.noop"]
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", HOUR)]


def test_the_mutex_is_given_back(open_harness, app, tasks):
    app.conf.broker_transport_options = {"unacked_mutex_key": "my_mutex"}
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=1.5 * HOUR)
    harness.settle()
    assert "my_mutex" not in keys(harness)


@pytest.mark.parametrize(
    "options, order",
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"priority_steps": [0, 5]}, [4, 3, 2, 1, 0, 9, 8, 7, 6, 5]),
        ({"priority_steps": list(range(10)), "sep": ":"}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
    ids=["kombu's own", "two", "ten"],
)
def test_priority_steps_are_honoured(open_harness, app, tasks, options, order):
    app.conf.broker_transport_options = options
    harness = open_harness()
    for priority in reversed(range(10)):
        tasks.echo.apply_async((priority,), priority=priority)
    harness.drain()
    steps = options.get("priority_steps", [0, 3, 6, 9])
    assert [max(step for step in steps if step <= number) for number in order_of(harness)] == [
        max(step for step in steps if step <= number) for number in order
    ]


def test_a_separator_of_the_apps_own_may_be_in_the_name_of_a_queue(open_harness, app, tasks):
    app.conf.broker_transport_options = {"sep": ":"}
    harness = open_harness()
    assert tasks.add.apply_async((1, 2), queue="a:b", priority=3).get() == 3
    assert harness.outbox[0].queue == "a:b"


def test_a_more_urgent_message_of_any_queue_goes_first(open_harness, app, tasks):
    queue_names(app, "first", "second")
    harness = open_harness()
    tasks.echo.apply_async(("slow",), queue="first", priority=9)
    tasks.echo.apply_async(("fast",), queue="second", priority=0)
    harness.drain()
    assert order_of(harness) == ["fast", "slow"]


@pytest.mark.parametrize(
    "strategy, order",
    [
        ("round_robin", ["b0", "a0", "c0", "b1", "a1", "c1"]),
        ("priority", ["b0", "b1", "a0", "a1", "c0", "c1"]),
        ("sorted", ["a0", "a1", "b0", "b1", "c0", "c1"]),
    ],
)
def test_the_order_of_queues_is_honoured(open_harness, app, tasks, strategy, order):
    app.conf.broker_transport_options = {"queue_order_strategy": strategy}
    queue_names(app, "b", "a", "c")
    harness = open_harness()
    for name in ("a", "b", "c"):
        for number in range(2):
            tasks.echo.apply_async((f"{name}{number}",), queue=name)
    harness.drain()
    assert order_of(harness) == order


@pytest.mark.parametrize(
    "options",
    [{}, {"fanout_prefix": False}, {"fanout_prefix": "/shop-{db}."}, {"fanout_patterns": False},
     {"fanout_prefix": False, "fanout_patterns": False}, {"global_keyprefix": "shop:"}],
    ids=str,
)  # fmt: skip
def test_remote_control_works_whatever_the_names_of_its_channels(open_harness, app, tasks, options):
    app.conf.broker_transport_options = options
    harness = open_harness(workers=2)
    assert sorted(app.control.inspect(timeout=1).ping()) == ["a@taskharness", "b@taskharness"]
    result = tasks.noop.apply_async(countdown=60)
    result.revoke()
    harness.settle()
    assert result.state == "REVOKED"


def test_inspecting_statistics_shows_the_broker(harness, app):
    stats = app.control.inspect(timeout=1).stats()["worker@taskharness"]
    assert stats["broker"]["transport"] == "taskharness-redis"


def test_a_worker_that_was_told_to_consume_nothing_takes_nothing(harness, app, tasks):
    app.control.cancel_consumer("celery")
    result = tasks.add.delay(1, 2)
    assert harness.settle().counts == {}
    app.control.add_consumer("celery")
    assert result.get() == 3


def test_every_worker_gets_a_broadcast(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    harness = open_harness(workers=3)
    tasks.echo.apply_async(("hi",), queue="everybody")
    harness.settle()
    assert sorted(attempt.worker for attempt in harness.run_of(tasks.echo).attempts) == ["a", "b", "c"]
    assert [event for event in harness.timeline if event.kind == "ack"] != []


def test_a_topic_exchange_delivers_by_its_pattern(open_harness, app, tasks):
    media = Exchange("media", type="topic")
    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("films", media, routing_key="media.film.#"),
        Queue("everything", media, routing_key="media.#"),
    ]
    harness = open_harness()
    tasks.echo.apply_async((1,), exchange=media, routing_key="media.film.short")
    tasks.echo.apply_async((2,), exchange=media, routing_key="media.song")
    harness.settle()
    queues = sorted((run.args[0], event.detail["queue"]) for run in harness.runs() for event in run.timeline
                    if event.kind == "deliver")  # fmt: skip
    assert queues == [(1, "everything"), (1, "films"), (2, "everything")]


def test_a_fanout_queue_of_one_test_is_a_plain_one_in_the_next(open_harness, app, tasks, mode):
    # kombu keeps the names of fanout queues, and the types of exchanges, for the whole process.
    app.conf.task_queues = [Queue("celery", Exchange("odd", type="fanout"))]
    with open_harness() as harness:
        tasks.add.delay(1, 2)
        assert harness.settle().counts == {"SUCCESS": 1}
    other = Celery("other", broker="redis://localhost:1/0", set_as_current=False)
    other.conf.task_queues = [Queue("celery", Exchange("odd", type="direct"), routing_key="celery")]

    @other.task(shared=False)
    def noop():
        pass

    with Harness.open(other, mode) as harness:
        noop.delay()
        assert len(harness._world.broker.peek("celery")) == 1
        assert harness.settle().counts == {"SUCCESS": 1}


def test_a_chord_keeps_its_order_or_not_as_the_app_says(open_harness, app, tasks):
    app.conf.result_backend_transport_options = {"result_chord_ordered": False}
    harness = open_harness()
    header = [tasks.add.s(1, 1).set(countdown=20), tasks.add.s(2, 2).set(countdown=10)]
    assert chord(header)(tasks.echo.s()).get() == [[[4, 2]], {}]
    assert starts(harness.runs(tasks.add)[0]) == [20]


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_use_ssl": True, "redis_backend_use_ssl": {"ssl_cert_reqs": "none"}},
        {"broker_transport_options": {"master_name": "mymaster", "socket_timeout": 0.001, "max_connections": 1}},
        {"broker_url": "sentinel://nowhere:26379", "broker_transport_options": {"master_name": "mymaster"}},
        {"redis_socket_timeout": 0.001, "redis_max_connections": 1, "redis_host": "nowhere", "redis_db": 7},
        {"broker_failover_strategy": "shuffle", "broker_url": ["redis://nowhere:1/0", "redis://elsewhere:1/0"]},
        {"broker_read_url": "redis://nowhere:1/0", "broker_write_url": "redis://elsewhere:1/0"},
        {"broker_pool_limit": 0, "broker_connection_timeout": 0.001, "broker_login_method": "PLAIN"},
        {"result_backend": "db+sqlite:///nowhere", "result_backend_always_retry": True},
    ],
    ids=str,
)
def test_settings_that_lead_to_another_server_lead_to_ours(open_harness, app, tasks, settings):
    app.conf.update(settings)
    open_harness()
    assert chord([tasks.add.s(1, 1)] * 3)(tasks.total.s()).get() == 6
    assert app.control.inspect(timeout=1).ping()


def test_a_queue_that_expires_does_not_do_so_by_the_servers_clock(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery", expires=0.001)]
    harness = open_harness()
    tasks.add.delay(1, 2)
    client = harness._world.broker.access.client
    assert [client.pttl(key) for key in client.keys(f"{harness._world.broker.own_prefix}*celery")] == [-1]
    assert harness.settle().counts == {"SUCCESS": 1}


def test_a_producer_that_is_kept_from_one_test_to_the_next_says_so(open_harness, app, tasks):
    with open_harness():
        kept = app.connection_for_write().Producer()
        kept.publish("hello", routing_key="celery")
    with open_harness(), pytest.raises(redis.ConnectionError, match="belonged to a harness that is closed"):
        kept.publish("hello", routing_key="celery")


def test_nothing_that_a_test_leaves_is_there_in_the_next(open_harness, app, tasks):
    with open_harness() as harness:
        tasks.add.delay(1, 2)
        tasks.noop.apply_async(countdown=60)
        harness.step()
        tasks.noop.apply_async(task_id="one").get()
    with open_harness() as harness:
        assert keys(harness) == set()
        assert harness.settle().counts == {}
        assert app.AsyncResult("one").state == "PENDING"


def test_without_ack_emulation_a_dead_worker_loses_what_it_held(open_harness, app, tasks):
    app.conf.broker_transport_options = {"ack_emulation": False}
    harness = open_harness(visibility_timeout=HOUR, workers=2)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    run = harness.run_of(tasks.noop)
    harness.worker(holder(run)).kill()
    harness.clock.advance(days=1)
    assert happened(run, "restore", "start") == []
