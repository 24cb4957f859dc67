"""``harness.broker``: queues that deliver nothing for a while, and a broker that nobody can reach."""

from __future__ import annotations

import pytest
from broker_scenes import deliveries, faults, started, with_broker
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import OperationalError
from rabbit_scenes import not_on_rabbitmq
from redis_scenes import HOUR, happened
from scenario import both_clocks, passed

from pytest_taskharness.errors import ConfigurationError, Deadlock, FidelityError

pytestmark = with_broker

RETRIES = 0.6  # what task_publish_retry_policy spends by default: 0 + 0.2 + 0.4


@pytest.fixture
def harness(tasks, open_harness):
    """Somebody has published already: to connect at all is tried again for longer."""
    harness = open_harness()
    tasks.noop.delay().get()
    return harness


# -- hold and release


def test_a_held_queue_delivers_nothing(harness, tasks):
    with harness.broker.hold("celery"):
        result = tasks.add.delay(1, 2)
        assert harness.settle().runs == []
        assert harness.broker.depth("celery") == 1
    assert harness.settle().counts == {"SUCCESS": 1}
    assert result.get() == 3
    assert faults(harness) == ["queue 'celery' is held", "queue 'celery' is released"]


def test_other_queues_go_on(harness, tasks):
    tasks.echo.apply_async((1,), queue="mail")
    tasks.echo.delay(2)
    with harness.broker.hold("mail"):
        harness.settle()
        assert started(harness) == [2]
    harness.settle()
    assert started(harness) == [2, 1]


def test_hold_and_release_without_a_block(harness, tasks):
    harness.broker.hold("celery")
    result = tasks.add.delay(1, 2)
    assert harness.step() is None
    harness.broker.release("celery")
    assert result.get() == 3


def test_what_was_delivered_before_goes_on(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.hold("celery"):
        assert result.get() == 3


def test_a_retry_waits_in_a_held_queue(harness, app):
    @app.task(name="shop.flaky", shared=False, bind=True)
    def flaky(self):
        if not self.request.retries:
            harness.broker.hold("celery")
            raise self.retry(countdown=0)

    result = flaky.delay()
    harness.settle()
    assert result.state == "RETRY"
    harness.broker.release("celery")
    harness.settle()
    assert result.state == "SUCCESS"


def test_somebody_elses_consumer_gets_nothing_either(harness, app):
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("orders")
        queue.put("hello")
        with harness.broker.hold("orders"), pytest.raises(queue.Empty):
            queue.get(block=False)
        assert queue.get(block=False).payload == "hello"


def test_who_waits_for_a_held_queue_is_told(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.hold("celery")
    with pytest.raises(Deadlock) as raised:
        result.get()
    assert str(raised.value) == (
        "nothing can happen any more, but 1 run is not finished\n"
        f"  shop.add {result.id[:8]}  PENDING in queue 'celery'\n"
        "    queue 'celery' is held: call harness.broker.release('celery')"
    )


def test_a_queue_that_was_released_inside_the_block_stays_released(harness, tasks):
    with harness.broker.hold("celery"):
        harness.broker.release("celery")
        assert tasks.add.delay(1, 2).get() == 3
    assert tasks.add.delay(1, 2).get() == 3


def test_a_held_queue_cannot_be_held(harness):
    harness.broker.hold("celery")
    with pytest.raises(ConfigurationError, match=r"hold\('celery'\) contradicts an earlier one: the queue is held"):
        harness.broker.hold("celery")


def test_a_queue_that_is_not_held_cannot_be_released(harness, tasks):
    tasks.add.apply_async((1, 2), queue="mail")
    harness.broker.hold("mail")
    with pytest.raises(ConfigurationError, match=r"contradicts the script: the queue is not held\. Held: 'mail'\."):
        harness.broker.release("celery")


def test_closing_releases_everything(open_harness, app, tasks):
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    harness.broker.hold("celery")
    harness.broker.outage()
    harness.close()
    assert open_harness().broker.peek("celery") == []
    assert result.id


def test_what_outlasts_the_harness_has_ended_with_it(open_harness):
    harness = open_harness()
    with harness.broker.hold("celery"), harness.broker.outage():
        harness.close()


# -- outages


def test_publishing_raises_what_a_real_outage_raises(harness, tasks):
    with harness.broker.outage():
        with pytest.raises(OperationalError, match="Connection refused"):
            tasks.add.delay(1, 2)
        assert passed(harness) == pytest.approx(RETRIES)
    assert [run.task for run in harness.tally.unknown] == ["shop.add"]
    assert harness.broker.depth("celery") == 0


@both_clocks
def test_the_publishers_own_retry_policy_counts(open_harness, tasks):
    harness = open_harness()
    tasks.noop.delay().get()
    policy = {"max_retries": 4, "interval_start": 10, "interval_step": 0, "interval_max": 10}
    with harness.broker.outage(), pytest.raises(OperationalError):
        tasks.add.apply_async((1, 2), retry_policy=policy)
    assert passed(harness) == 40


def test_a_publisher_that_does_not_retry(harness, tasks):
    with harness.broker.outage(), pytest.raises(OperationalError):
        tasks.add.apply_async((1, 2), retry=False)
    assert passed(harness) == 0


def test_a_publisher_that_never_gives_up(harness, tasks):
    policy = {"max_retries": None, "interval_start": 1, "interval_max": 1}
    with harness.broker.outage(), pytest.raises(Deadlock, match=r"tried 1000 times to reach the broker during an"):
        tasks.add.apply_async((1, 2), retry_policy=policy)
    assert tasks.add.delay(1, 2).get() == 3


def test_publishing_works_again_afterwards(harness, tasks):
    with harness.broker.outage(), pytest.raises(OperationalError):
        tasks.add.delay(1, 2)
    assert tasks.add.delay(1, 2).get() == 3


def test_workers_get_nothing_meanwhile(harness, tasks):
    result = tasks.add.delay(1, 2)
    with harness.broker.outage():
        assert harness.settle().runs == []
        harness.clock.advance(hours=2)
        assert result.state == "PENDING"
    assert result.get() == 3
    assert faults(harness) == [
        "outage: nobody can reach the broker", "its connection is lost", "the outage has ended",
    ]  # fmt: skip


def test_results_can_still_be_read(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    with harness.broker.outage():
        assert result.get() == 3


@not_on_rabbitmq("lost")
def test_what_a_worker_held_is_redelivered(open_harness, tasks):
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), countdown=2 * HOUR)
    harness.drain()
    with harness.broker.outage():
        harness.clock.advance(seconds=10)
    harness.settle()
    run = harness.run_of(result)
    assert happened(run, "deliver", "start") == [("deliver", 0), ("deliver", HOUR), ("start", 2 * HOUR)]
    assert deliveries(run) == [False, True]
    assert len(run.attempts) == 1


@not_on_rabbitmq("lost")
def test_an_eta_that_passes_during_the_outage(open_harness, tasks):
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.outage():
        harness.clock.advance(minutes=5)
        assert result.state == "PENDING"
    harness.settle()
    assert happened(harness.run_of(result), "start") == [("start", HOUR)]


def test_an_outage_that_is_longer_than_the_visibility_timeout(open_harness, tasks):
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.outage():
        harness.clock.advance(hours=3)
    harness.settle()
    assert happened(harness.run_of(result), "start") == [("start", 3 * HOUR)]


def test_a_rate_limit_goes_on_after_it(harness, app):
    @app.task(name="shop.polite", shared=False, rate_limit="1/m")
    def polite(x):
        return x

    for number in range(3):
        polite.delay(number)
    harness.drain()
    with harness.broker.outage():
        harness.clock.advance(seconds=5)
    harness.settle()
    assert sorted(started(harness)) == [0, 1, 2]


def test_remote_control_finds_nobody_and_works_again(harness, app):
    with harness.broker.outage(), pytest.raises((OperationalError, ConnectionError, Deadlock)):
        app.control.ping(timeout=1)  # kombu itself would try for ever
    assert app.control.ping(timeout=1) == [{"worker@taskharness": {"ok": "pong"}}]


def test_a_worker_with_queues_of_its_own_keeps_them(open_harness, tasks, app):
    harness = open_harness()
    harness.worker("mailer", queues=["mail"])
    with harness.broker.outage():
        pass
    result = tasks.add.delay(1, 2)
    other = tasks.add.apply_async((1, 2), queue="mail")
    harness.settle()
    assert (result.state, other.state) == ("PENDING", "SUCCESS")
    assert app.control.purge() == 1


def test_a_consumer_that_was_added_by_remote_control_stays(open_harness, tasks, app):
    harness = open_harness()
    harness.worker("mailer", queues=["mail"])
    app.control.add_consumer("orders", reply=True, limit=1)
    with harness.broker.outage():
        pass
    assert tasks.add.apply_async((1, 2), queue="orders").get() == 3


def test_two_outages(harness, tasks):
    for number in range(2):
        with harness.broker.outage(), pytest.raises(OperationalError):
            tasks.add.delay(1, 2)
        assert tasks.add.delay(number, 1).get() == number + 1


def test_a_body_that_runs_when_the_connection_breaks(harness, app, tasks):
    @app.task(name="shop.early", shared=False)
    def early():
        with harness.broker.outage():
            try:
                tasks.add.delay(1, 2)
            except OperationalError as error:
                return type(error).__name__

    assert early.delay().get() == "OperationalError"
    assert tasks.add.delay(1, 2).get() == 3


def test_a_late_body_that_runs_when_the_connection_breaks_is_terminated_and_comes_again(open_harness, app):
    @app.task(name="shop.late", shared=False, acks_late=True, bind=True)
    def late(self):
        seen.append(bool(self.request.delivery_info["redelivered"]))
        if len(seen) == 1:
            with harness.broker.outage():
                pass
        self.update_state(state="PROGRESS")
        seen.append("done")

    seen = []
    harness = open_harness()
    result = late.delay()
    harness.settle()
    assert seen == [False, True, "done"]
    assert result.state == "SUCCESS"
    assert harness.broker.unacked == []


def test_a_body_that_waits_for_another_one_in_vain(harness, app, tasks):
    result = tasks.add.delay(1, 2)
    with harness.broker.outage():
        with pytest.raises(CeleryTimeoutError):
            result.get(timeout=10)
        with pytest.raises(Deadlock, match=r"nobody can reach the broker: end the outage \(leave its with block\)"):
            result.get()


def test_a_worker_that_is_killed_meanwhile_stays_dead(harness, tasks):
    result = tasks.add.delay(1, 2)
    with harness.broker.outage():
        harness.worker().kill()
    harness.settle()
    assert result.state == "PENDING"


def test_a_worker_that_is_shut_down_meanwhile(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.outage():
        harness.worker().shutdown()
    harness.settle()
    assert result.state == "PENDING"


def test_a_worker_that_is_paused_meanwhile_stays_paused(harness, tasks):
    harness.worker().pause()
    with harness.broker.outage():
        pass
    result = tasks.add.delay(1, 2)
    assert harness.settle().runs == []
    harness.worker().resume()
    assert result.get() == 3


def test_a_worker_cannot_start_during_an_outage(harness):
    with harness.broker.outage(), pytest.raises(ConfigurationError, match="worker 'a' cannot start during an outage"):
        harness.worker("a")


def test_an_outage_during_an_outage(harness):
    with harness.broker.outage(), pytest.raises(ConfigurationError, match="nobody can reach the broker already"):
        harness.broker.outage()


def test_an_outage_without_a_block(harness, tasks):
    outage = harness.broker.outage()
    with pytest.raises(OperationalError):
        tasks.add.delay(1, 2)
    outage.end()
    outage.end()
    assert tasks.add.delay(1, 2).get() == 3


def test_a_held_queue_is_still_held_after_an_outage(harness, tasks):
    result = tasks.add.delay(1, 2)
    with harness.broker.hold("celery"):
        with harness.broker.outage():
            pass
        assert harness.settle().runs == []
    assert result.get() == 3


def test_eager_has_none(open_harness):
    harness = open_harness(mode="eager")
    with pytest.raises(FidelityError, match="eager mode has none"):
        harness.broker.outage()


def test_workers_have_heard_what_they_were_told_before_an_outage(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    result.revoke()
    with harness.broker.outage():
        pass
    harness.settle()
    harness.assert_states(result, ["PENDING", "RECEIVED", "REVOKED"])
