"""Routing: which queue a message goes to, who consumes it, and what is said where nobody does."""

from __future__ import annotations

import re
import warnings

import celery
import pytest
from celery import chain, group
from celery.exceptions import QueueNotFound
from kombu import Exchange, Queue
from kombu.common import Broadcast
from rabbit_scenes import not_on_rabbitmq
from scenario import memory_only

from pytest_taskharness.errors import ConfigurationError, Deadlock, LeftoverWork, UnconsumedMessage

with_workers = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
VERSION = tuple(map(int, celery.__version__.split(".")[:2]))


def by_name(name, args, kwargs, options, task=None, **_):
    return {"queue": "math"} if name == "shop.add" else None


class Router:
    def route_for_task(self, task, args=None, kwargs=None):
        return "math" if task == "shop.add" else None


def queues_of(harness):
    return [message.queue for message in harness.outbox]


def delivered(harness):
    """Each delivery: the first argument, the queue and the worker."""
    return [
        (harness.run_of(event.id).args[0], event.detail["queue"], event.worker)
        for event in harness.timeline
        if event.kind == "deliver"
    ]


# -- task_routes


@pytest.mark.parametrize("routes", [
    {"shop.add": {"queue": "math"}},
    {"shop.add": "math"},
    {"shop.a*": {"queue": "math"}},
    ([(re.compile(r"shop\.(add|mul)"), {"queue": "math"})],),
    ([("shop.nothing", "other"), ("shop.a*", "math")],),
    by_name,
    [by_name, {"shop.*": "late"}],
    Router(),
    f"{__name__}.by_name",
    f"{__name__}.Router",
], ids=["dict", "name", "glob", "regex", "pairs", "function", "list", "class", "path", "path of a class"])  # fmt: skip
def test_a_route_says_the_queue(app, open_harness, tasks, routes):
    app.conf.task_routes = routes
    harness = open_harness()
    assert tasks.add.delay(1, 2).get() == 3
    assert queues_of(harness) == ["math"]
    harness.assert_enqueued(tasks.add.s(1, 2).set(queue="math"))


def test_a_call_wins_over_a_route(app, open_harness, tasks):
    app.conf.task_routes = {"shop.add": "by_route"}
    harness = open_harness()
    tasks.add.apply_async((1, 2), queue="by_call")
    tasks.add.delay(1, 2)
    assert queues_of(harness) == ["by_call", "by_route"]


def test_the_default_queue_is_the_apps(app, open_harness, tasks):
    app.conf.task_default_queue = "everything"
    harness = open_harness()
    assert tasks.add.delay(1, 2).get() == 3
    assert queues_of(harness) == ["everything"]


def test_the_default_exchange_and_routing_key(app, open_harness, tasks):
    app.conf.update(
        task_default_queue="everything", task_default_exchange="work", task_default_exchange_type="topic",
        task_default_routing_key="work.default",
    )  # fmt: skip
    harness = open_harness()
    assert tasks.add.delay(1, 2).get() == 3
    assert queues_of(harness) == ["everything"]


def test_signatures_retries_and_the_parts_of_a_canvas_keep_their_queues(app, open_harness, tasks):
    app.conf.task_routes = {"shop.total": "sums"}

    @app.task(name="shop.flaky", bind=True, shared=False)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    harness = open_harness()
    flaky.apply_async(queue="fragile")
    chain(tasks.add.s(1, 2).set(queue="first"), tasks.add.s(3).set(queue="second"))()
    (group(tasks.add.s(1, 1).set(queue="third"), tasks.add.s(2, 2)) | tasks.total.s())()
    harness.settle()
    sent = sorted((message.task.rpartition(".")[2], message.queue) for message in harness.outbox)
    assert sent == [
        ("add", "celery"), ("add", "first"), ("add", "second"), ("add", "third"), ("flaky", "fragile"),
        ("flaky", "fragile"), ("total", "sums"),
    ]  # fmt: skip


def test_a_retry_may_go_to_another_queue(app, open_harness):
    @app.task(name="shop.flaky", bind=True, shared=False)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(queue="slow", countdown=1)

    harness = open_harness()
    flaky.delay()
    harness.settle()
    assert queues_of(harness) == ["celery", "slow"]


# -- exchanges


@with_workers
def test_a_topic_exchange_delivers_by_pattern(app, open_harness, tasks):
    media = Exchange("media", type="topic")
    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("pictures", media, routing_key="media.*.jpg"),
        Queue("all", media, routing_key="media.#"),
    ]
    harness = open_harness()
    tasks.echo.apply_async(("jpg",), exchange="media", routing_key="media.cat.jpg")
    tasks.echo.apply_async(("mp3",), exchange="media", routing_key="media.dog.mp3")
    harness.settle()
    assert sorted(delivered(harness)) == [
        ("jpg", "all", "worker"), ("jpg", "pictures", "worker"), ("mp3", "all", "worker"),
    ]  # fmt: skip


@with_workers
def test_the_outbox_says_where_an_exchange_leads(app, open_harness, tasks):
    direct, media = Exchange("direct", type="direct"), Exchange("media", type="topic")
    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("one", direct, routing_key="one"),
        Queue("pictures", media, routing_key="media.*.jpg"),
        Queue("all", media, routing_key="media.#"),
    ]
    harness = open_harness()
    tasks.echo.apply_async((1,), exchange="direct", routing_key="one")
    tasks.echo.apply_async((2,), exchange="media", routing_key="media.dog.mp3")
    tasks.echo.apply_async((3,), exchange="media", routing_key="media.cat.jpg")
    assert queues_of(harness) == ["one", "all", "media/media.cat.jpg"]


@with_workers
def test_several_bindings_of_one_queue(app, open_harness, tasks):
    exchange = Exchange("direct", type="direct")
    from kombu import binding

    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("both", [binding(exchange, routing_key=key) for key in ("one", "two")]),
    ]
    harness = open_harness()
    for key in ("one", "two"):
        tasks.echo.apply_async((key,), exchange="direct", routing_key=key)
    harness.settle()
    assert delivered(harness) == [("one", "both", "worker"), ("two", "both", "worker")]


@memory_only
def test_on_rabbitmq_what_no_queue_is_bound_for_is_lost(app, open_harness, tasks):
    app.conf.broker_url = "amqp://"
    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("films", Exchange("media", type="topic"), routing_key="media.film.#"),
    ]
    harness = open_harness()
    result = tasks.echo.apply_async(("song",), exchange="media", routing_key="media.song")
    unknown = tasks.echo.apply_async(("song",), exchange="meida", routing_key="media.song")
    harness.settle()
    assert harness.tally.lost == [harness.run_of(result), harness.run_of(unknown)]
    assert "no queue is bound to exchange 'media' for routing key 'media.song'" in str(harness.timeline)
    with pytest.raises(AssertionError, match="hint: the broker has dropped its message: there is no exchange 'meida'"):
        harness.assert_succeeded(unknown)
    with pytest.raises(Deadlock, match="dropped by the broker: no queue is bound to exchange 'media'"):
        result.get()


# -- broadcasts


@with_workers
@pytest.mark.parametrize("url", ["redis://", "amqp://"])
def test_each_worker_gets_one_copy_of_a_broadcast(app, open_harness, tasks, url):
    app.conf.broker_url = url
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    harness = open_harness(workers=3)
    result = tasks.echo.apply_async(("hi",), queue="everybody")
    harness.settle()
    assert sorted(attempt.worker for attempt in harness.run_of(result).attempts) == ["a", "b", "c"]
    assert harness.broker.unacked == []


@with_workers
def test_only_workers_that_consume_a_broadcast_get_it(app, open_harness, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    harness = open_harness()
    harness.worker("one", queues=["celery", "everybody"])
    harness.worker("two", queues=["celery"])
    harness.worker("three", queues=["everybody"])
    result = tasks.echo.apply_async(("hi",), queue="everybody")
    harness.settle()
    assert sorted(attempt.worker for attempt in harness.run_of(result).attempts) == ["one", "three"]


@with_workers
def test_a_worker_that_comes_later_has_missed_it(app, open_harness, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    harness = open_harness()
    harness.worker("early")
    result = tasks.echo.apply_async(("hi",), queue="everybody")
    harness.worker("late")
    harness.settle()
    assert [attempt.worker for attempt in harness.run_of(result).attempts] == ["early"]


@memory_only
def test_a_dead_worker_takes_its_copy_with_it(app, open_harness, tasks):
    app.conf.broker_url = "amqp://"
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    harness = open_harness(workers=2)
    result = tasks.echo.apply_async(("hi",), queue="everybody")
    harness.worker("a").kill()
    harness.settle()
    assert [attempt.worker for attempt in harness.run_of(result).attempts] == ["b"]


# -- missing queues


def test_a_queue_that_must_not_be_made_is_an_error_of_celerys(app, open_harness, tasks):
    app.conf.update(task_create_missing_queues=False, task_queues=[Queue("celery", routing_key="celery")])
    harness = open_harness()
    with pytest.raises(QueueNotFound, match="'mail' missing from task_queues"):
        tasks.add.apply_async((1, 2), queue="mail")
    assert harness.outbox == []


@memory_only
@pytest.mark.skipif(VERSION < (5, 6), reason="the setting is new in Celery 5.6")
def test_missing_queues_may_be_quorum_queues(app, open_harness, tasks):
    app.conf.update(broker_url="amqp://", task_create_missing_queue_type="quorum")
    harness = open_harness()
    tasks.add.apply_async((1, 2), queue="mail")
    assert harness.app.amqp.queues["mail"].queue_arguments == {"x-queue-type": "quorum"}
    assert harness._open().broker.arguments_of("mail").is_quorum


@with_workers
def test_depth_and_peek_know_each_queue_by_itself(app, open_harness, tasks):
    app.conf.task_routes = {"shop.add": "math"}
    harness = open_harness()
    tasks.add.delay(1, 2)
    tasks.echo.apply_async(("hi",), queue="mail")
    assert {queue: harness.broker.depth(queue) for queue in ("math", "mail", "celery")} == {
        "math": 1, "mail": 1, "celery": 0,
    }  # fmt: skip
    assert [message.args for message in harness.broker.peek("mail")] == [("hi",)]
    with pytest.raises(ConfigurationError, match=r"no queue 'mial'. Did you mean 'mail'\?"):
        harness.broker.depth("mial")


# -- priorities


@memory_only
def test_the_greatest_priority_of_all_queues_and_that_of_all_tasks(app, open_harness, tasks):
    app.conf.update(broker_url="amqp://", task_queue_max_priority=10, task_default_priority=5)
    harness = open_harness()
    for number, options in enumerate([{}, {"priority": 9}, {"priority": 1}]):
        tasks.echo.apply_async((number,), **options)
    harness.settle()
    assert [number for number, _, _ in delivered(harness)] == [1, 0, 2]


def test_a_child_inherits_the_priority_of_its_parent(app, open_harness, tasks):
    app.conf.task_inherit_parent_priority = True

    @app.task(name="shop.parent", shared=False)
    def parent():
        tasks.noop.delay()

    harness = open_harness()
    parent.apply_async(priority=6)
    harness.settle()
    assert [message.priority for message in harness.outbox] == [6, 6]


# -- several workers


@with_workers
def test_workers_take_what_is_in_their_queues(app, open_harness, tasks):
    app.conf.task_routes = {"shop.add": "math"}
    harness = open_harness()
    harness.worker("mathematician", queues=["math"])
    harness.worker("other", queues=["celery", "mail"])
    tasks.add.delay(1, 2)
    tasks.echo.delay(3)
    tasks.echo.apply_async((4,), queue="mail")
    harness.settle()
    assert sorted(delivered(harness)) == [
        (1, "math", "mathematician"), (3, "celery", "other"), (4, "mail", "other"),
    ]  # fmt: skip


# -- a message that nobody consumes


@pytest.fixture
def misspelt(open_harness, tasks):
    """A harness in which a message lies in ``mail`` while the worker consumes ``mails``."""
    harness = open_harness()
    harness.worker("mailer", queues=["mails"])
    tasks.echo.apply_async(("hi",), queue="mail")
    harness.settle()
    return harness


@with_workers
def test_a_test_that_ends_so_is_warned(misspelt):
    with pytest.warns(UnconsumedMessage) as caught:
        misspelt.close()
    assert str(caught[0].message) == (
        "the test ended with 1 message (shop.echo) in queue 'mail', which no worker consumes (mailer: mails). Did you "
        "mean 'mails'? To fix this, let a worker consume it: harness.worker(…, queues=['mail'])."
    )


@with_workers
def test_an_assertion_says_so(misspelt, tasks):
    with pytest.raises(AssertionError, match=r"hint: its message is in queue 'mail', which no worker consumes"):
        misspelt.assert_succeeded(tasks.echo)


@with_workers
def test_so_does_a_deadlock(misspelt, tasks):
    result = misspelt.app.AsyncResult(misspelt.run_of(tasks.echo).id)
    with pytest.raises(Deadlock, match=r"no worker consumes 'mail' \(mailer: mails\). Did you mean 'mails'\?"):
        result.get()


@with_workers
def test_so_do_strict_leftovers(open_harness, tasks):
    harness = open_harness(strict_leftovers=True)
    harness.worker("mailer", queues=["mails"])
    tasks.echo.apply_async(("hi",), queue="mail")
    with pytest.raises(LeftoverWork, match="in queue 'mail': shop.echo, which no worker consumes"):
        harness.close()


@with_workers
@pytest.mark.parametrize("how", ["everything is consumed", "the task of another service", "told to", "all are dead"])
def test_what_is_meant_so_is_not_worth_a_warning(app, open_harness, tasks, how):
    harness = open_harness()
    if how != "everything is consumed":
        harness.worker("mailer", queues=["mails"])
    if how == "the task of another service":
        app.send_task("theirs.add", queue="theirs")
    elif how == "told to":
        app.control.cancel_consumer("mails")
        tasks.echo.apply_async(("hi",), queue="mails")
    else:
        tasks.echo.apply_async(("hi",), queue="mail")
    if how == "all are dead":
        harness.worker("mailer").kill()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        harness.close()


@not_on_rabbitmq("priorities")
@with_workers
def test_on_redis_the_more_urgent_message_of_any_queue_goes_first(harness, tasks):
    harness.worker("w", queues=["a", "b"], concurrency=1)
    for queue, priority in [("a", 9), ("a", 6), ("b", 3), ("b", 0), ("a", 0)]:
        tasks.echo.apply_async((queue, priority), queue=queue, priority=priority)
    started = [tuple(run.args) for run in harness.settle().runs]
    assert started == [("a", 0), ("b", 0), ("b", 3), ("a", 6), ("a", 9)]


@with_workers
def test_the_queue_that_was_served_last_waits_longest(harness, tasks):
    harness.worker("w", queues=["a", "b", "c"], concurrency=1)
    for queue in "baab":
        tasks.echo.apply_async((queue,), queue=queue)
    harness.step()
    harness.step()
    tasks.echo.apply_async(("c",), queue="c")
    order = []
    while run := harness.step():
        order.append(run.args[0])
    assert order == ["c", "a", "b"]


@pytest.mark.parametrize("mode", ["fakeredis", "redis"], indirect=True)
def test_two_queues_of_one_fanout_exchange(app, tasks, open_harness):
    exchange = Exchange("news", type="fanout")
    app.conf.task_queues = [Queue("celery"), *(Queue(name, exchange) for name in ("first", "second"))]
    with open_harness(workers=2) as harness:
        run = harness.run_of(tasks.noop.apply_async(queue="first"))
        harness.settle()
        assert sorted(attempt.worker for attempt in run.attempts) == ["a", "b"]
