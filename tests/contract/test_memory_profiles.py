"""Mode memory follows the broker that the app names: what Redis, RabbitMQ and others do with what is not acknowledged.

What Redis does has its tests in test_redis_visibility.py, for all modes; dead letters have test_dead_letters.py.
"""

from __future__ import annotations

import time

import pytest
from kombu import Queue
from redis_scenes import HOUR, happened, redelivered
from scenario import by_the_rules_of_rabbitmq, eager_only, memory_only, passed, starts

from pytest_taskharness.errors import ConfigurationError, FidelityError, RunBudgetExceeded

MINUTE = 60


@pytest.fixture
def rabbit(app, open_harness):
    """A harness of an app on RabbitMQ."""

    def open_(**options):
        app.conf.broker_url = "amqp://nobody@nowhere.invalid//"
        return open_harness(**options)

    return open_


# -- which rules hold


@memory_only
@pytest.mark.parametrize("url, seconds", [
    ("redis://", 3600), ("rediss://", 3600), ("sentinel://", 3600), ("valkey://", 3600),
    ("amqp://", None), ("sqs://", None), ("memory://", None), (None, None),
])  # fmt: skip
def test_only_clients_of_redis_have_a_visibility_timeout(app, open_harness, url, seconds):
    app.conf.broker_url = url
    assert open_harness().broker.visibility_timeout == seconds


@memory_only
def test_the_settings_of_a_test_win(app, open_harness, tasks):
    harness = open_harness(config={"broker_url": "amqp://"})
    assert harness.broker.visibility_timeout is None


@memory_only
def test_the_settings_of_a_test_may_set_the_timeout(app, open_harness, tasks):
    harness = open_harness(config={"broker_transport_options": {"visibility_timeout": 60}})
    tasks.noop.apply_async(countdown=90)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", 60)]


@memory_only
def test_a_visibility_timeout_where_there_is_none_names_the_modes_that_have_one(rabbit):
    with pytest.raises(FidelityError, match=r"follows the app's broker_url, which is 'amqp://…'.*fakeredis"):
        rabbit(visibility_timeout=60)


@pytest.mark.parametrize("mode", ["rabbitmq"], indirect=True)
def test_so_it_does_on_a_real_rabbitmq(rabbit):
    with pytest.raises(FidelityError, match=r"RabbitMQ has consumer_timeout= instead.*'redis' or 'redis\+process'"):
        rabbit(visibility_timeout=60)


@eager_only
def test_in_eager_mode_there_is_nothing_to_be_redelivered(open_harness, tasks):
    with pytest.raises(FidelityError, match="visibility_timeout=60 .* eager mode .* mode='memory'"):
        open_harness(visibility_timeout=60)
    harness = open_harness()
    result = tasks.noop.apply_async(countdown=2 * HOUR)
    harness.clock.advance(hours=3)
    assert len(harness.run_of(result).attempts) == 1


# -- RabbitMQ


@by_the_rules_of_rabbitmq
def test_on_rabbitmq_a_lost_connection_is_noticed_at_once(rabbit, tasks):
    harness = rabbit(workers=2)
    tasks.noop.apply_async(countdown=MINUTE)
    harness.drain()
    held_by = next(event.worker for event in harness.timeline if event.kind == "receive")
    harness.worker(held_by).kill()
    harness.settle()
    assert starts(harness.run_of(tasks.noop)) == [MINUTE]


@by_the_rules_of_rabbitmq
def test_a_countdown_within_the_consumer_timeout_is_delivered_once(rabbit, tasks):
    harness = rabbit()
    tasks.noop.apply_async(countdown=30 * MINUTE)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "deliver", "restore", "start") == [("deliver", 0), ("start", 1800)]


@by_the_rules_of_rabbitmq
def test_a_countdown_beyond_the_consumer_timeout_ends_the_worker_again_and_again(rabbit, tasks):
    harness = rabbit()
    result = tasks.noop.apply_async(countdown=75 * MINUTE)
    harness.settle()
    run = harness.run_of(result)
    assert happened(run, "deliver", "restore", "start") == [
        ("deliver", 0), ("restore", 1800), ("deliver", 1800), ("restore", 3600), ("deliver", 3600), ("start", 4500),
    ]  # fmt: skip
    assert redelivered(run) == [False, True, True]
    assert (run.state, harness.tally.duplicated) == ("SUCCESS", [])
    assert "PreconditionFailed(406" in str(harness.timeline)
    assert "used: 1800000 ms" in str(harness.timeline)


@by_the_rules_of_rabbitmq
def test_everything_else_that_the_worker_held_comes_again_too(rabbit, tasks):
    harness = rabbit()
    first = tasks.noop.apply_async(countdown=40 * MINUTE)
    harness.clock.advance(minutes=20)
    second = tasks.noop.apply_async(countdown=15 * MINUTE)
    harness.settle()
    assert redelivered(harness.run_of(second)) == [False, True]
    assert (starts(harness.run_of(second)), starts(harness.run_of(first))) == ([35 * MINUTE], [40 * MINUTE])


@by_the_rules_of_rabbitmq
def test_a_late_body_beyond_the_consumer_timeout_runs_to_its_end_and_then_once_more(rabbit, app):
    harness = rabbit()

    @app.task(name="shop.late", bind=True, acks_late=True, shared=False)
    def late(self):
        time.sleep(0 if self.request.delivery_info["redelivered"] else 40 * MINUTE)

    result = late.delay()
    harness.settle()
    run = harness.run_of(result)
    assert starts(run) == [0, 40 * MINUTE]
    assert happened(run, "restore", "finish", "ack") == [
        ("restore", 30 * MINUTE), ("finish", 40 * MINUTE), ("finish", 40 * MINUTE), ("ack", 40 * MINUTE),
    ]  # fmt: skip


@by_the_rules_of_rabbitmq
def test_a_late_body_that_is_always_too_slow_never_ends(rabbit, app):
    harness = rabbit()

    @app.task(name="shop.late", acks_late=True, shared=False)
    def late():
        time.sleep(40 * MINUTE)

    late.delay()
    with pytest.raises(RunBudgetExceeded, match=r"shop\.late") as caught:
        harness.settle(max_runs=5)
    text = str(caught.value)
    assert "2. t+2400.000s  SUCCESS (redelivered)" in text
    assert "delivered again 6 times: not acknowledged for 1800 s: RabbitMQ closes the channel" in text
    assert "let the body end within that time" in text
    assert "end the retries" not in text


@by_the_rules_of_rabbitmq
def test_after_an_outage_rabbitmq_redelivers_at_once(rabbit, tasks):
    harness = rabbit()
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.outage():
        harness.clock.advance(minutes=5)
    harness.settle()
    assert happened(harness.run_of(result), "start") == [("start", 300)]


@by_the_rules_of_rabbitmq
def test_an_early_body_may_take_as_long_as_it_likes(rabbit, app):
    harness = rabbit()

    @app.task(name="shop.early", shared=False)
    def early():
        time.sleep(3 * HOUR)

    result = early.delay()
    harness.settle()
    assert starts(harness.run_of(result)) == [0]
    assert happened(harness.run_of(result), "restore") == []


@by_the_rules_of_rabbitmq
def test_a_worker_that_retries_on_channel_errors_connects_again(rabbit, app, tasks):
    harness = rabbit(config={"broker_channel_error_retry": True})
    result = tasks.noop.apply_async(countdown=45 * MINUTE)
    harness.settle()
    run = harness.run_of(result)
    assert happened(run, "deliver", "start") == [("deliver", 0), ("deliver", 1800), ("start", 2700)]
    assert "Unrecoverable" not in str(harness.timeline)


@by_the_rules_of_rabbitmq
def test_a_queue_may_have_a_consumer_timeout_of_its_own(rabbit, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery", queue_arguments={"x-consumer-timeout": 120_000})]
    harness = rabbit()
    result = tasks.noop.apply_async(countdown=3 * MINUTE)
    harness.settle()
    assert happened(harness.run_of(result), "restore") == [("restore", 120)]


@by_the_rules_of_rabbitmq
def test_a_rabbitmq_that_has_no_consumer_timeout(rabbit, tasks):
    harness = rabbit(consumer_timeout=float("inf"))
    result = tasks.noop.apply_async(countdown=30 * 24 * HOUR)
    harness.settle()
    assert happened(harness.run_of(result), "deliver", "restore", "start") == [("deliver", 0), ("start", 720 * HOUR)]


@by_the_rules_of_rabbitmq
def test_a_rabbitmq_that_has_another_one_is_shown_how_to_say_so(rabbit, tasks):
    harness = rabbit(consumer_timeout=3 * HOUR)
    result = tasks.noop.apply_async(countdown=4 * HOUR)
    harness.settle()
    assert happened(harness.run_of(result), "restore") == [("restore", 3 * HOUR)]
    assert "float('inf') in the marker" in str(harness.timeline)


@by_the_rules_of_rabbitmq
@pytest.mark.parametrize("wrong", [0, -1, True, "60", float("nan")])
def test_a_consumer_timeout_is_a_number_of_seconds(rabbit, wrong):
    with pytest.raises(ConfigurationError, match="consumer_timeout= takes seconds, more than 0"):
        rabbit(consumer_timeout=wrong)


@memory_only
def test_a_consumer_timeout_where_there_is_none_says_whose_it_is(app, open_harness):
    app.conf.broker_url = "redis://"
    with pytest.raises(FidelityError, match=r"belongs to RabbitMQ.*'redis://…'.*config=.*amqp://"):
        open_harness(consumer_timeout=60)


@pytest.mark.parametrize("mode", ["eager", "fakeredis"], indirect=True)
def test_a_consumer_timeout_in_another_mode_names_memory(open_harness):
    with pytest.raises(FidelityError, match="consumer_timeout=60 .*mode='memory'"):
        open_harness(consumer_timeout=60)


@by_the_rules_of_rabbitmq
def test_an_eta_in_a_quorum_queue_waits_in_rabbitmq(rabbit, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery", queue_arguments={"x-queue-type": "quorum"})]
    harness = rabbit()
    result = tasks.noop.apply_async(countdown=2 * HOUR)
    harness.settle()
    assert happened(harness.run_of(result), "restore", "start") == [("start", 2 * HOUR)]


@by_the_rules_of_rabbitmq
def test_what_a_test_took_off_a_queue_has_no_consumer(rabbit, app):
    harness = rabbit()
    with app.connection_for_write() as connection, connection.SimpleQueue("aside") as queue:
        queue.put({"hello": "world"})
        message = queue.get()
        harness.clock.advance(hours=5)
        message.ack()
    assert passed(harness) == 5 * HOUR


# -- neither


@memory_only
def test_on_another_broker_nothing_is_taken_for_lost(app, open_harness, tasks):
    app.conf.broker_url = "sqs://nobody.invalid"
    harness = open_harness()
    result = tasks.noop.apply_async(countdown=48 * HOUR)
    harness.settle()
    assert happened(harness.run_of(result), "deliver", "start") == [("deliver", 0), ("start", 48 * HOUR)]
