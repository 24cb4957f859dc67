"""Dead letters, times to live and lengths of queues: RabbitMQ's, and memory's as RabbitMQ has them, in virtual time."""

from __future__ import annotations

from datetime import datetime

import pytest
from celery import Celery
from celery.exceptions import Reject
from kombu import Exchange, Queue
from redis_scenes import happened
from scenario import START, memory_only, passed

#: Queues that nobody consumes are what most of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore::pytest_taskharness.errors.UnconsumedMessage")

DEAD = Queue("dead", Exchange("dlx", type="direct"), routing_key="dead")


@pytest.fixture(params=["memory", "rabbitmq"])
def mode(request, served):
    return served(request.param)


@pytest.fixture
def app():
    return Celery("shop", broker="amqp://nobody@nowhere.invalid//", set_as_current=False)


@pytest.fixture
def refuse(app):
    @app.task(name="shop.refuse", acks_late=True, shared=False)
    def refuse(*args):
        raise Reject("no", requeue=False)

    return refuse


def queued(name="work", **arguments):
    """A queue whose dead letters go to ``dead``, beside what else it was declared with."""
    dead = {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead"}
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return Queue(name, routing_key=name, queue_arguments={**dead, **given})


@pytest.fixture
def opened(app, open_harness):
    """A harness whose one worker consumes ``work``; ``dead`` is there and nobody consumes it."""

    def open_(*queues, consume=("work",), **options):
        app.conf.task_queues = [*queues, DEAD]
        app.conf.task_default_queue = "work"
        harness = open_harness(**options)
        with app.connection_for_write() as connection:
            DEAD(connection.default_channel).declare()
        harness.worker("worker", queues=list(consume))
        return harness

    return open_


def deaths(harness, queue="dead"):
    return [message.headers["x-death"] for message in stored(harness, queue)]


def stored(harness, queue="dead"):
    return harness._open().broker.peek(queue)  # harness.broker.peek() shows what was published


def test_a_rejected_message_is_a_dead_letter(opened, refuse):
    harness = opened(queued())
    result = refuse.delay(1)
    harness.settle()
    assert [message.args for message in harness.broker.peek("dead")] == [(1,)]
    assert harness.broker.depth("work") == 0
    run = harness.run_of(result)
    [letter] = [event for event in run.timeline if event.kind == "dead letter"]
    assert letter.detail["note"] == "rejected in 'work', goes to 'dead'"
    assert harness.tally.lost == []
    assert "dead letter" in str(harness.timeline)


def test_a_dead_letter_says_what_it_died_of_as_rabbitmq_does(opened, refuse):
    harness = opened(queued())
    refuse.delay()
    harness.settle()
    assert deaths(harness) == [[{
        "reason": "rejected", "count": 1, "queue": "work", "time": datetime(2030, 1, 1),
        "exchange": "", "routing-keys": ["work"],
    }]]  # fmt: skip
    [message] = stored(harness)
    assert message.headers["x-first-death-reason"] == "rejected"
    assert message.headers["x-first-death-queue"] == "work"


def test_without_a_dead_letter_exchange_a_rejected_message_is_gone(opened, refuse):
    harness = opened(Queue("work", routing_key="work"))
    refuse.delay()
    harness.settle()
    assert (harness.broker.depth("dead"), [e for e in harness.timeline if e.kind == "dead letter"]) == (0, [])


def test_a_dead_letter_exchange_that_leads_nowhere_is_told(opened, refuse):
    harness = opened(Queue("work", routing_key="work", queue_arguments={"x-dead-letter-exchange": "nowhere"}))
    refuse.delay()
    harness.settle()
    assert "no queue: none is bound to its exchange 'nowhere'" in str(harness.timeline)


def test_a_worker_can_consume_the_dead_letters(opened, app, refuse):
    @app.task(name="shop.accept", bind=True, acks_late=True, shared=False)
    def accept(self):
        deaths = self.request.get("x-death") or (self.request.headers or {}).get("x-death")
        if deaths is None:
            raise Reject("no", requeue=False)
        return deaths[0]["reason"]

    harness = opened(queued())
    result = accept.delay()
    harness.settle()
    harness.worker("undertaker", queues=["dead"])
    harness.settle()
    assert [attempt.worker for attempt in harness.run_of(result).attempts] == ["worker", "undertaker"]


def test_a_message_that_nobody_takes_dies_at_the_very_instant(opened, tasks):
    harness = opened(queued(message_ttl=60_000), consume=["celery"])
    result = tasks.echo.delay(1)
    harness.settle()
    assert happened(harness.run_of(result), "expire", "dead letter") == [("expire", 60), ("dead letter", 60)]
    assert passed(harness) == 60
    assert harness.broker.depth("dead") == 1


def test_a_microsecond_before_it_lives(opened, tasks):
    harness = opened(queued(message_ttl=60_000), consume=["celery"])
    tasks.echo.delay(1)
    harness.clock.advance(seconds=59, milliseconds=999)
    assert (harness.broker.depth("work"), harness.broker.depth("dead")) == (1, 0)
    harness.clock.advance(milliseconds=1)
    assert (harness.broker.depth("work"), harness.broker.depth("dead")) == (0, 1)


def test_a_message_may_have_a_shorter_time_than_its_queue(opened, tasks):
    harness = opened(queued(message_ttl=60_000), consume=["celery"])
    result = tasks.echo.apply_async((1,), expires=10)
    harness.settle()
    assert happened(harness.run_of(result), "dead letter") == [("dead letter", 10)]
    assert deaths(harness)[0][0]["original-expiration"] == "10000"


def test_a_short_time_behind_a_long_one_is_looked_at_when_it_comes_to_the_head(opened, tasks):
    # The known trap of waiting queues whose messages have times of their own.
    harness = opened(queued(), consume=["celery"])
    tasks.echo.apply_async(("long",), expires=60)
    short = tasks.echo.apply_async(("short",), expires=10)
    harness.settle()
    assert happened(harness.run_of(short), "dead letter") == [("dead letter", 60)]


def test_a_waiting_queue_delays_retries_by_its_time_to_live(opened, app):
    # The pattern of delayed retries without Celery's countdown: work -> rejected -> wait -> expired -> work.
    @app.task(name="shop.third_time", bind=True, acks_late=True, shared=False)
    def third_time(self):
        seen.append(passed(harness))
        if len(seen) < 3:
            raise Reject("not yet", requeue=False)

    seen = []
    work = Queue("work", routing_key="work", queue_arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait",
    })  # fmt: skip
    wait = Queue("wait", routing_key="wait", queue_arguments={
        "x-message-ttl": 300_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work",
    })  # fmt: skip
    harness = opened(work, wait)
    with app.connection_for_write() as connection:
        wait(connection.default_channel).declare()
    third_time.delay()
    harness.settle()
    assert seen == [0, 300, 600]


def test_deaths_in_the_same_queue_for_the_same_reason_are_counted(opened, app):
    @app.task(name="shop.stubborn", bind=True, acks_late=True, shared=False)
    def stubborn(self):
        raise Reject("no", requeue=False)

    work = Queue("work", routing_key="work", queue_arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait",
    })  # fmt: skip
    wait = Queue("wait", routing_key="wait", queue_arguments={
        "x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work",
    })  # fmt: skip
    harness = opened(work, wait)
    with app.connection_for_write() as connection:
        wait(connection.default_channel).declare()
    stubborn.delay()
    harness.clock.advance(milliseconds=2500)
    [[last, before]] = deaths(harness, "wait")
    assert (last["queue"], last["reason"], last["count"]) == ("work", "rejected", 3)
    assert (before["queue"], before["reason"], before["count"]) == ("wait", "expired", 2)


def test_a_circle_in_which_no_consumer_decides_is_broken(opened, tasks):
    circle = Queue("work", routing_key="work", queue_arguments={
        "x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work",
    })  # fmt: skip
    harness = opened(circle, consume=["celery"])
    tasks.echo.delay()
    harness.settle()
    assert (passed(harness), harness.broker.depth("work")) == (1, 0)
    assert [run.task for run in harness.tally.lost] == ["shop.echo"]


# -- lengths


def test_a_full_queue_drops_its_head(opened, tasks):
    harness = opened(queued(max_length=2), consume=["celery"])
    for number in range(3):
        tasks.echo.delay(number)
    assert [message.args for message in harness.broker.peek("work")] == [(1,), (2,)]
    assert [message.args for message in harness.broker.peek("dead")] == [(0,)]
    assert deaths(harness)[0][0]["reason"] == "maxlen"


def test_what_a_full_queue_without_dead_letters_drops_is_lost(opened, tasks):
    harness = opened(
        Queue("work", routing_key="work", queue_arguments={"x-max-length": 1}), consume=["celery"]
    )  # fmt: skip
    first, _ = tasks.echo.delay(1), tasks.echo.delay(2)
    harness.settle()
    assert harness.tally.lost == [harness.run_of(first)]
    assert "maxlen in 'work'" in str(harness.timeline)


@pytest.mark.parametrize("overflow, dead", [("reject-publish", 0), ("reject-publish-dlx", 1)])
def test_a_full_queue_may_refuse_what_is_new(opened, tasks, overflow, dead):
    harness = opened(queued(max_length=1, overflow=overflow), consume=["celery"])
    first, second = tasks.echo.delay(1), tasks.echo.delay(2)
    harness.settle()
    assert [message.id for message in harness.broker.peek("work")] == [first.id]
    assert harness.broker.depth("dead") == dead
    assert [run.id for run in harness.tally.lost] == ([] if dead else [second.id])


def test_a_failure_says_that_the_queue_was_full(opened, tasks):
    harness = opened(queued(max_length=1, overflow="reject-publish"), consume=["celery"])
    tasks.echo.delay(1)
    second = tasks.echo.delay(2)
    with pytest.raises(AssertionError, match="dropped its message: queue 'work' is full"):
        harness.assert_succeeded(second)


# -- quorum queues


def test_a_quorum_queue_gives_up_after_its_delivery_limit(opened, app):
    @app.task(name="shop.again", acks_late=True, shared=False)
    def again():
        raise Reject("again", requeue=True)

    harness = opened(queued(queue_type="quorum", delivery_limit=2))
    result = again.delay()
    harness.settle()
    assert len(harness.run_of(result).attempts) == 3
    assert deaths(harness)[0][0]["reason"] == "delivery_limit"
    assert "x-delivery-count" not in stored(harness)[0].headers


@memory_only  # since RabbitMQ 4.0; before, there is none
def test_its_limit_is_twenty_where_nobody_says(opened, app):
    @app.task(name="shop.again", acks_late=True, shared=False)
    def again():
        raise Reject("again", requeue=True)

    harness = opened(queued(queue_type="quorum"))
    result = again.delay()
    harness.settle()
    assert len(harness.run_of(result).attempts) == 21


# -- other brokers


@memory_only
@pytest.mark.parametrize("url", ["redis://nowhere.invalid", "sqs://nowhere.invalid"])
def test_other_brokers_have_none_of_this(app, opened, refuse, url):
    app.conf.broker_url = url
    harness = opened(queued(max_length=1, message_ttl=1000), consume=["celery"])
    refuse.delay()
    refuse.delay()
    harness.settle()
    assert (harness.broker.depth("work"), harness.broker.depth("dead")) == (2, 0)
    harness.worker("other", queues=["work"])
    harness.settle()
    assert (harness.broker.depth("work"), harness.broker.depth("dead")) == (0, 0)


def test_the_settings_of_a_test_may_choose_the_broker_whose_rules_hold(app, opened, refuse):
    app.conf.broker_url = "redis://nowhere.invalid"
    harness = opened(queued(), config={"broker_url": "amqp://"})
    refuse.delay()
    harness.settle()
    assert harness.broker.depth("dead") == 1
    assert harness.timeline.start == START
