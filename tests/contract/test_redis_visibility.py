"""The visibility timeout: what is not acknowledged for that long is delivered again, wherever it is by then."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Reject
from celery.result import allow_join_result
from redis_scenes import HOUR, by_the_rules_of_redis, happened, holder, redelivered
from scenario import both_clocks, passed, starts

from pytest_taskharness.errors import ConfigurationError, Deadlock, RunBudgetExceeded

pytestmark = by_the_rules_of_redis


@both_clocks
def test_a_countdown_beyond_the_timeout_runs_more_than_once(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert happened(run, "deliver", "restore", "start") == [
        ("deliver", 0), ("restore", HOUR), ("deliver", HOUR), ("start", 2 * HOUR), ("start", 2 * HOUR),
    ]  # fmt: skip
    assert redelivered(run) == [False, True]
    assert [attempt.redelivered for attempt in run.attempts] == [False, True]
    assert harness.tally.duplicated == [run]


def test_a_countdown_of_four_timeouts_runs_four_times(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=4 * HOUR)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert starts(run) == [4 * HOUR] * 4
    assert redelivered(run) == [False, True, True, True]


def test_a_countdown_within_the_timeout_runs_once(open_harness, tasks):
    harness = open_harness(visibility_timeout=3 * HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert happened(run, "deliver", "restore", "start") == [("deliver", 0), ("start", 2 * HOUR)]
    assert harness.tally.duplicated == []


def test_the_timeline_says_which_delivery_was_which(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.settle()
    table = str(harness.run_of(tasks.noop).timeline)
    assert "not acknowledged for 3600 s" in table
    assert "redelivered" in table


def test_the_timeout_is_an_hour_unless_the_app_says_otherwise(open_harness, tasks):
    harness = open_harness()
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", HOUR)]


def test_the_apps_own_timeout_is_honoured(open_harness, app, tasks):
    app.conf.broker_transport_options = {"visibility_timeout": 600}
    harness = open_harness()
    tasks.noop.apply_async(countdown=900)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", 600)]


def test_the_timeout_of_this_test_wins_over_the_apps(open_harness, app, tasks):
    app.conf.broker_transport_options = {"visibility_timeout": 600}
    harness = open_harness(visibility_timeout=60.5)
    tasks.noop.apply_async(countdown=100)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", 60.5)]


@pytest.mark.parametrize("timeout", [0, -1, "an hour", None, True, float("nan")])
def test_a_timeout_of_the_app_that_is_none_is_an_error(open_harness, app, timeout):
    app.conf.broker_transport_options = {"visibility_timeout": timeout}
    with pytest.raises(ConfigurationError, match="is a number of seconds above 0"):
        open_harness()


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
def test_a_timeout_beyond_the_end_of_time_never_strikes(open_harness, tasks, timeout):
    harness = open_harness(visibility_timeout=timeout)
    tasks.noop.apply_async(countdown=1000 * 24 * HOUR)
    harness.settle()
    assert len(harness.run_of(tasks.noop).attempts) == 1


@both_clocks
@pytest.mark.parametrize("start", ["00:00:00.123457", "23:59:59.999999", "12:00:00.000001", "12:34:56.789011"])
@pytest.mark.parametrize("timeout", [3600, 0.1, 1 / 3, 7.000001])
def test_a_delivery_is_lost_at_the_exact_instant(open_harness, tasks, start, timeout):
    harness = open_harness(start=f"2030-01-01T{start}+00:00", visibility_timeout=timeout)
    tasks.noop.apply_async(countdown=timeout * 1.5)
    harness.settle()
    [restored] = [event.at for event in harness.timeline if event.kind == "restore"]
    late = (restored - harness.timeline.start) - timedelta(seconds=timeout)
    assert timedelta(0) <= late <= timedelta(microseconds=1)


@both_clocks
def test_nothing_is_lost_a_microsecond_before(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.clock.advance(hours=1, microseconds=-1)
    assert happened(harness.run_of(tasks.noop), "restore") == []
    harness.clock.advance(microseconds=1)
    assert happened(harness.run_of(tasks.noop), "restore") == [("restore", HOUR)]


def test_an_eta_at_the_very_instant_of_the_timeout_runs_once(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=HOUR)
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "restore", "start") == [("start", HOUR)]


def test_each_delivery_has_a_timeout_of_its_own(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    first = tasks.echo.apply_async((1,), countdown=2 * HOUR)
    harness.clock.advance(minutes=10)
    second = tasks.echo.apply_async((2,), countdown=2 * HOUR)
    harness.settle()
    assert happened(harness.run_of(first), "restore") == [("restore", HOUR)]
    assert happened(harness.run_of(second), "restore") == [("restore", HOUR + 600)]


def test_what_is_lost_together_comes_back_in_its_order(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    results = [tasks.echo.apply_async((number,), countdown=2 * HOUR) for number in range(3)]
    harness.settle()
    again = [event.id for event in harness.timeline if event.kind == "deliver" and event.detail["redelivered"]]
    assert again == [result.id for result in results]


def test_settle_ends_where_nothing_is_held(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.add.delay(1, 2)
    harness.settle()
    assert passed(harness) == 0


def test_an_endless_sequence_of_deliveries_ends_with_the_budget(open_harness, tasks):
    harness = open_harness(visibility_timeout=1)
    tasks.noop.apply_async(countdown=500)
    with pytest.raises(RunBudgetExceeded, match=r"shop\.noop"):
        harness.settle(max_runs=100)


# -- late acknowledgement


def late_sleeper(app, seconds, **options):
    @app.task(acks_late=True, name="shop.sleeper", shared=False, **options)
    def sleeper():
        time.sleep(seconds)

    return sleeper


@both_clocks
def test_a_late_task_that_sleeps_past_the_timeout_runs_twice(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, 1.5 * HOUR)
    sleeper.delay()
    harness.settle()
    run = harness.run_of(sleeper)
    assert happened(run, "deliver", "restore", "start", "finish") == [
        ("deliver", 0), ("start", 0), ("restore", HOUR), ("deliver", HOUR), ("finish", 1.5 * HOUR),
        ("start", 1.5 * HOUR), ("finish", 3 * HOUR),
    ]  # fmt: skip
    assert [attempt.redelivered for attempt in run.attempts] == [False, True]


def test_a_late_task_within_the_timeout_runs_once(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, HOUR)
    sleeper.delay()
    harness.settle()
    assert starts(harness.run_of(sleeper)) == [0]


def test_an_early_task_that_sleeps_past_the_timeout_runs_once(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(shared=False)
    def early():
        time.sleep(3 * HOUR)

    early.delay()
    harness.settle()
    assert starts(harness.run_of(early)) == [0]


def test_a_late_task_that_sleeps_over_three_timeouts_runs_four_times(open_harness, app):
    # Each copy is delivered before the first has acknowledged; that acknowledges all of them, as they are one message.
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, 3.5 * HOUR)
    sleeper.delay()
    harness.settle()
    assert redelivered(harness.run_of(sleeper)) == [False, True, True, True]
    assert starts(harness.run_of(sleeper)) == [0, 3.5 * HOUR, 7 * HOUR, 10.5 * HOUR]


def test_a_copy_waits_in_its_queue_where_the_worker_must_not_prefetch(open_harness, app, tasks):
    harness = open_harness(visibility_timeout=HOUR, config={"worker_concurrency": 1, "worker_prefetch_multiplier": 1})

    @app.task(bind=True, acks_late=True, shared=False)
    def slow_at_first(self):
        time.sleep(0 if self.request.delivery_info["redelivered"] else 1.5 * HOUR)

    slow_at_first.delay()
    harness.settle()
    assert happened(harness.run_of(slow_at_first), "restore", "deliver") == [
        ("deliver", 0), ("restore", HOUR), ("deliver", 1.5 * HOUR),
    ]  # fmt: skip


def test_where_the_worker_must_not_prefetch_a_late_task_that_is_always_too_slow_never_ends(open_harness, app):
    # The copy is not held while the first one runs, so that nobody acknowledges it.
    harness = open_harness(visibility_timeout=HOUR, config={"worker_concurrency": 1, "worker_prefetch_multiplier": 1})
    sleeper = late_sleeper(app, 1.5 * HOUR)
    sleeper.delay()
    with pytest.raises(RunBudgetExceeded, match=r"shop\.sleeper"):
        harness.settle(max_runs=20)


def test_another_worker_takes_the_copy_of_a_late_task(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR, workers=2)
    sleeper = late_sleeper(app, 1.5 * HOUR)
    sleeper.delay()
    harness.settle()
    assert len(harness.run_of(sleeper).attempts) == 2


def test_a_late_task_that_meets_its_soft_limit_first_runs_once(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, 3 * HOUR, soft_time_limit=HOUR / 2)
    sleeper.delay()
    harness.settle()
    run = harness.run_of(sleeper)
    assert isinstance(run.error, SoftTimeLimitExceeded)
    assert (starts(run), run.acked) == ([0], True)


def test_a_late_task_whose_soft_limit_is_beyond_the_timeout_meets_it_twice(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, 3 * HOUR, soft_time_limit=1.5 * HOUR)
    sleeper.delay()
    harness.settle()
    assert [attempt.outcome for attempt in harness.run_of(sleeper).attempts] == ["FAILURE", "FAILURE"]


def test_a_late_task_that_meets_its_hard_limit_first_runs_once(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    sleeper = late_sleeper(app, 3 * HOUR, time_limit=HOUR / 2)
    sleeper.delay()
    harness.settle()
    assert starts(harness.run_of(sleeper)) == [0]


def test_a_late_task_that_waits_for_another_past_the_timeout_runs_twice(open_harness, app, tasks):
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(acks_late=True, shared=False)
    def outer():
        with allow_join_result():
            return tasks.add.apply_async((1, 2), countdown=1.5 * HOUR).get()

    result = outer.delay()
    harness.settle()
    assert starts(harness.run_of(outer)) == [0, 1.5 * HOUR]
    assert result.get() == 3


def test_rejecting_with_requeue_starts_the_timeout_anew(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(bind=True, acks_late=True, shared=False)
    def picky(self):
        if not self.request.delivery_info["redelivered"]:
            time.sleep(HOUR / 2)
            raise Reject("later", requeue=True)
        time.sleep(HOUR * 0.75)

    picky.delay()
    harness.settle()
    run = harness.run_of(picky)
    assert happened(run, "restore") == []
    assert starts(run) == [0, HOUR / 2]


def test_on_redis_a_requeued_message_goes_to_the_end_of_its_queue(harness, app, tasks):
    @app.task(bind=True, acks_late=True, shared=False)
    def picky(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)

    first, second = picky.delay(), tasks.noop.delay()
    harness.drain()
    started = [event.id for event in harness.timeline if event.kind == "start"]
    assert started == [first.id, second.id, first.id]


def test_a_rejected_message_does_not_come_back(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(acks_late=True, shared=False)
    def refuse():
        raise Reject("never", requeue=False)

    refuse.delay()
    harness.clock.advance(days=1)
    assert starts(harness.run_of(refuse)) == [0]


# -- retries, expiry


def test_a_retry_that_waits_past_the_timeout_multiplies(open_harness, app):
    # The second delivery of the retry retries too: its message has the same id, and each of them is on its own.
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(bind=True, max_retries=1, default_retry_delay=1.5 * HOUR, shared=False)
    def flaky(self):
        raise self.retry(exc=ValueError("again"))

    flaky.delay()
    harness.settle()
    run = harness.run_of(flaky)
    assert happened(run, "restore") == [("restore", HOUR)]
    assert starts(run) == [0, 1.5 * HOUR, 1.5 * HOUR]
    assert [attempt.outcome for attempt in run.attempts] == ["RETRY", "FAILURE", "FAILURE"]


def test_a_retry_within_the_timeout_does_not(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)

    @app.task(bind=True, max_retries=3, default_retry_delay=HOUR / 2, shared=False)
    def flaky(self):
        raise self.retry(exc=ValueError("again"))

    flaky.delay()
    harness.settle()
    assert starts(harness.run_of(flaky)) == [0, HOUR / 2, HOUR, 1.5 * HOUR]


def test_no_copy_of_an_expired_task_runs(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    result = tasks.noop.apply_async(countdown=2 * HOUR, expires=1.5 * HOUR)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert happened(run, "start") == []
    assert redelivered(run) == [False, True]
    assert (result.state, run.acked) == ("REVOKED", True)


def test_a_copy_that_comes_after_its_expiry_is_revoked_at_once(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR, expires=HOUR / 2)
    harness.clock.advance(hours=1)
    assert happened(harness.run_of(tasks.noop), "revoke") == [("revoke", HOUR)]


def test_a_revoked_task_that_is_held_does_not_run_in_any_copy(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    result = tasks.noop.apply_async(countdown=2 * HOUR)
    harness.clock.advance(minutes=90)
    result.revoke()
    harness.settle()
    assert happened(harness.run_of(tasks.noop), "start") == []
    assert result.state == "REVOKED"


# -- workers come and go


@both_clocks
def test_a_killed_worker_loses_nothing_and_another_runs_it_after_the_timeout(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR, workers=2)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    held_by = holder(harness.run_of(tasks.noop))
    harness.worker(held_by).kill()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert starts(run) == [HOUR]
    assert (run.state, run.redelivered) == ("SUCCESS", True)
    assert run.worker != held_by
    assert harness.tally.lost == []


def test_a_late_task_whose_worker_dies_in_its_body_runs_on_another_after_the_timeout(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR, workers=2)

    @app.task(bind=True, acks_late=True, shared=False)
    def fatal(self):
        if not self.request.delivery_info["redelivered"]:
            harness.worker(self.request.hostname.partition("@")[0]).kill()
        return "done"

    result = fatal.delay()
    assert result.get() == "done"
    assert starts(harness.run_of(fatal)) == [0, HOUR]


def test_an_early_task_whose_worker_dies_in_its_body_is_lost(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR, workers=2)

    @app.task(bind=True, shared=False)
    def fatal(self):
        harness.worker(self.request.hostname.partition("@")[0]).kill()

    fatal.delay()
    harness.clock.advance(days=1)
    run = harness.run_of(fatal)
    assert starts(run) == [0]
    assert harness.tally.lost == [run]


def test_a_worker_that_starts_later_finds_what_a_dead_one_has_held(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    harness.worker().kill()
    harness.clock.advance(hours=5)
    harness.worker("second")
    harness.settle()
    assert starts(harness.run_of(tasks.noop)) == [5 * HOUR]


def test_with_the_only_worker_dead_the_deadlock_says_who_holds_the_message(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    result = tasks.noop.apply_async(countdown=60)
    harness.drain()
    harness.worker().kill()
    with pytest.raises(Deadlock, match=r"held by worker, which is dead: .* would take it back at t\+3600\."):
        result.get()


def test_a_paused_worker_takes_nothing_back(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=2 * HOUR)
    harness.drain()
    harness.worker().pause()
    harness.clock.advance(hours=3)
    assert happened(harness.run_of(tasks.noop), "restore", "start") == []
    harness.worker().resume()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert starts(run)[0] == 3 * HOUR


def test_another_worker_takes_back_what_a_paused_one_holds(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR, workers=2)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    paused = holder(harness.run_of(tasks.noop))
    harness.worker(paused).pause()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert (starts(run), run.state) == ([HOUR], "SUCCESS")
    assert run.worker != paused
    harness.worker(paused).resume()
    harness.settle()
    assert starts(harness.run_of(tasks.noop)) == [HOUR, HOUR]


def test_a_warm_shutdown_gives_back_at_once(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    harness.worker().shutdown(warm=True)
    harness.worker("second")
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert (starts(run), run.worker, run.redelivered) == ([60], "second", True)


def test_a_cold_shutdown_gives_nothing_back_before_the_timeout(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    harness.worker().shutdown(warm=False)
    harness.worker("second")
    harness.settle()
    assert starts(harness.run_of(tasks.noop)) == [HOUR]


def test_a_worker_takes_back_what_is_of_a_queue_that_it_does_not_consume(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR)
    harness.worker("mailer", queues=["mail"])
    harness.worker("other", queues=["other"])
    tasks.noop.apply_async(countdown=60, queue="mail")
    harness.drain()
    harness.worker("mailer").kill()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert happened(run, "restore", "start") == [("restore", HOUR)]
    harness.worker("mailer, again", queues=["mail"])
    harness.settle()
    assert starts(run) == [HOUR]


def test_two_workers_together_deliver_a_lost_message_once_each_time(open_harness, tasks):
    harness = open_harness(visibility_timeout=HOUR, workers=2)
    tasks.noop.apply_async(countdown=2.5 * HOUR)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert happened(run, "restore") == [("restore", HOUR), ("restore", 2 * HOUR)]
    assert starts(run) == [2.5 * HOUR] * 3


def test_what_the_test_itself_took_off_a_queue_comes_back_to_it(open_harness, app):
    harness = open_harness(visibility_timeout=HOUR)
    with app.connection_for_write() as connection, connection.SimpleQueue("aside") as queue:
        queue.put({"hello": "world"})
        assert queue.get().payload == {"hello": "world"}
        harness.clock.advance(hours=1)
        again = queue.get()
        assert (again.payload, again.headers["redelivered"]) == ({"hello": "world"}, True)
        again.ack()
    assert [event.kind for event in harness.timeline if event.kind == "restore"] == ["restore"]


# -- kombu's options


def test_a_restore_limit_is_honoured_and_nothing_is_forgotten(open_harness, app, tasks):
    app.conf.broker_transport_options = {"unacked_restore_limit": 1}
    harness = open_harness(visibility_timeout=HOUR)
    results = [tasks.noop.apply_async(countdown=1.5 * HOUR) for _ in range(3)]
    harness.settle()
    assert [len(harness.run_of(result).attempts) for result in results] == [2, 2, 2]


def test_leftovers_know_what_is_held(open_harness, tasks):
    from pytest_taskharness.errors import LeftoverWork

    harness = open_harness(strict_leftovers=True)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    with pytest.raises(LeftoverWork, match=r"held, not acknowledged: shop\.noop"):
        harness.close()
