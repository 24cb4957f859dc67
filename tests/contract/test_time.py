"""One clock rules eta, countdown, expiry, rate limits and time limits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import TaskRevokedError
from scenario import START, after, both_clocks, memory_only, passed

pytestmark = both_clocks


def test_the_clock_stands_still_until_it_is_driven(harness, tasks):
    readings = {time.time() for _ in range(100)} | {datetime.now(timezone.utc).timestamp() for _ in range(100)}
    assert readings == {START.timestamp()}


def test_countdown_waits_to_the_microsecond(harness, tasks):
    tasks.noop.apply_async(countdown=3600)
    assert harness.clock.advance(hours=1, microseconds=-1).counts == {}
    assert harness.clock.advance(microseconds=1).counts == {"SUCCESS": 1}
    assert harness.run_of(tasks.noop).started_at == after(hours=1)


@pytest.mark.parametrize("micros", [1, 7, 333_333, 999_999])
def test_eta_is_kept_to_the_microsecond(harness, tasks, micros):
    when = after(minutes=30, microseconds=micros)
    tasks.noop.apply_async(eta=when)
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert run.eta == run.started_at == harness.clock.now == when


def test_eta_in_another_zone_is_the_same_instant(harness, tasks):
    tasks.noop.apply_async(eta=datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5))))
    harness.settle()
    assert harness.run_of(tasks.noop).started_at == after(hours=7)


def test_eta_in_the_past_runs_at_once(harness, tasks):
    tasks.noop.apply_async(eta=START - timedelta(days=1))
    harness.drain()
    assert harness.run_of(tasks.noop).started_at == START


def test_naive_eta_is_read_as_utc_by_the_worker_whatever_the_zone(tasks, open_harness):
    # As celery.utils.time.maybe_make_aware does by default.
    harness = open_harness(config={"timezone": "Europe/Berlin"})
    tasks.noop.apply_async(eta=datetime(2030, 1, 1, 12))
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert run.started_at == run.eta == after(hours=12)


def test_countdown_does_not_depend_on_the_apps_timezone(tasks, open_harness):
    harness = open_harness(config={"timezone": "Asia/Tokyo", "enable_utc": False})
    tasks.noop.apply_async(countdown=60)
    harness.settle()
    assert harness.run_of(tasks.noop).started_at == after(seconds=60)


def test_timezone_of_the_configuration_holds_while_the_harness_is_open(app, open_harness):
    assert app.timezone.utcoffset(None) == timedelta(0)
    with open_harness(config={"timezone": "Asia/Tokyo"}):
        assert app.now().utcoffset() == timedelta(hours=9)
    assert app.now().utcoffset() == timedelta(0)


def test_fractional_countdown_is_exact(harness, tasks):
    tasks.noop.apply_async(countdown=0.25)
    harness.settle()
    assert harness.run_of(tasks.noop).started_at == after(seconds=0.25)


def test_items_at_the_same_instant_run_in_the_order_in_which_they_were_published(harness, tasks):
    for number in range(5):
        tasks.add.apply_async((number, 0), countdown=10)
    harness.settle()
    runs = sorted(harness.runs(tasks.add), key=lambda run: run.timeline.events[-1].seq)
    assert [run.result for run in runs] == [0, 1, 2, 3, 4]


def test_work_scheduled_on_the_way_is_done_on_the_way(harness, app):
    moments = []

    @app.task
    def tick(left):
        moments.append(passed(harness))
        if left:
            tick.apply_async((left - 1,), countdown=60)

    tick.apply_async((3,), countdown=60)
    harness.clock.advance(minutes=10)
    assert moments == [60, 120, 180, 240]
    assert passed(harness) == 600


def test_advance_stops_short_of_what_is_due_later(harness, tasks):
    tasks.noop.apply_async(countdown=60)
    report = harness.clock.advance(seconds=59)
    assert report.counts == {}
    assert report.elapsed == timedelta(seconds=59)


def test_advance_to_an_instant(harness, tasks):
    tasks.noop.apply_async(countdown=60)
    assert harness.clock.advance_to(after(minutes=1)).counts == {"SUCCESS": 1}
    assert harness.clock.now == after(minutes=1)


def test_expired_on_arrival_is_revoked(harness, tasks):
    result = tasks.noop.apply_async(expires=START - timedelta(seconds=1))
    report = harness.settle()
    assert result.state == "REVOKED"
    assert report.counts == {"REVOKED": 1}
    assert harness.run_of(result).attempts == []
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get()


def test_expiring_before_its_eta_is_revoked(harness, tasks):
    result = tasks.noop.apply_async(countdown=20, expires=10)
    harness.settle()
    assert result.state == "REVOKED"
    assert harness.run_of(result).attempts == []


def test_not_yet_expired_runs(harness, tasks):
    result = tasks.noop.apply_async(countdown=9, expires=10)
    harness.settle()
    assert result.state == "SUCCESS"


@memory_only
def test_expiring_while_the_worker_is_paused_is_revoked(harness, tasks):
    worker = harness.worker()
    worker.pause()
    late, early = tasks.noop.apply_async(expires=10), tasks.noop.apply_async(expires=60)
    harness.clock.advance(seconds=30)
    worker.resume()
    harness.drain()
    assert (late.state, early.state) == ("REVOKED", "SUCCESS")


def test_soft_time_limit_is_raised_at_its_second(harness, app):
    seen = []

    @app.task(soft_time_limit=5)
    def slow():
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            seen.append(passed(harness))
            raise

    result = slow.delay()
    with pytest.raises(SoftTimeLimitExceeded):
        result.get()
    assert seen == [5]
    assert harness.run_of(slow).elapsed == timedelta(seconds=5)


def test_soft_time_limit_can_be_caught_for_cleaning_up(harness, app):
    @app.task(soft_time_limit=5, time_limit=10)
    def slow():
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            time.sleep(4)
            return "cleaned up"

    assert slow.delay().get() == "cleaned up"
    assert passed(harness) == 9


def test_soft_time_limit_strikes_once(harness, app):
    @app.task(soft_time_limit=5)
    def slow():
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            time.sleep(100)
            return "done"

    assert slow.delay().get() == "done"
    assert passed(harness) == 105


def test_hard_time_limit_kills_at_its_second(harness, app):
    @app.task(time_limit=10)
    def slow():
        try:
            time.sleep(60)
        except Exception:
            return "never"

    with pytest.raises(TimeLimitExceeded):
        slow.delay().get()
    assert passed(harness) == 10
    assert harness.run_of(slow).states[-1] == "FAILURE"


def test_hard_time_limit_cannot_be_swallowed_by_a_bare_except(harness, app):
    @app.task(time_limit=10)
    def slow():
        try:
            time.sleep(60)
        except:  # noqa: E722 - users write it
            return "survived"

    result = slow.delay()
    with pytest.raises(TimeLimitExceeded):
        result.get()
    assert harness.run_of(slow).states[-1] == "FAILURE"


def test_a_body_killed_by_its_hard_limit_publishes_nothing_more(harness, app, tasks):
    @app.task(time_limit=10)
    def slow():
        try:
            time.sleep(60)
        finally:
            tasks.noop.delay()

    slow.delay().get(propagate=False)
    harness.settle()
    assert harness.runs(tasks.noop) == []


def test_time_limits_of_the_call_override_the_tasks(harness, app):
    @app.task(soft_time_limit=50)
    def slow():
        time.sleep(20)

    result = slow.apply_async(soft_time_limit=5)
    result.get(propagate=False)
    assert isinstance(result.result, SoftTimeLimitExceeded)
    assert passed(harness) == 5


def test_time_limit_counts_from_the_start_of_the_body_not_from_publishing(harness, app):
    @app.task(time_limit=10)
    def slow():
        time.sleep(9)
        return "done"

    result = slow.apply_async(countdown=100)
    harness.settle()
    assert result.get() == "done"


def test_many_short_sleeps_reach_the_limit_too(harness, app):
    @app.task(soft_time_limit=5)
    def slow():
        for _ in range(100):
            time.sleep(0.3)

    slow.delay().get(propagate=False)
    assert passed(harness) == 5


def test_a_sleep_that_ends_exactly_at_the_limit_is_too_long(harness, app):
    @app.task(soft_time_limit=5)
    def slow():
        time.sleep(5)

    result = slow.delay()
    result.get(propagate=False)
    assert result.state == "FAILURE"


@memory_only
def test_rate_limit_spaces_exactly(harness, app):
    @app.task(rate_limit="10/m")
    def limited():
        pass

    for _ in range(5):
        limited.delay()
    harness.settle()
    assert [(run.started_at - START).total_seconds() for run in harness.runs(limited)] == [0, 6, 12, 18, 24]


@memory_only
def test_rate_limit_is_per_task(harness, app, tasks):
    @app.task(rate_limit="1/s")
    def limited():
        pass

    for _ in range(3):
        limited.delay()
        tasks.noop.delay()
    harness.settle()
    assert [(run.started_at - START).total_seconds() for run in harness.runs(limited)] == [0, 1, 2]
    assert {run.started_at for run in harness.runs(tasks.noop)} == {START}


@memory_only
def test_rate_limit_can_be_set_by_remote_control(harness, app, tasks):
    app.control.rate_limit(tasks.noop.name, "1/s")
    for _ in range(3):
        tasks.noop.delay()
    harness.settle()
    assert passed(harness) == 2


@memory_only
def test_rate_limited_task_with_an_eta_keeps_both(harness, app):
    @app.task(rate_limit="1/s")
    def limited():
        pass

    for _ in range(3):
        limited.apply_async(countdown=10)
    harness.settle()
    times = [(run.started_at - START).total_seconds() for run in harness.runs(limited)]
    # Before kombu 5.7 a bucket that was idle gives two tokens at once.
    assert times in ([10, 11, 12], [10, 10, 11])


def test_time_moved_by_a_body_is_seen_by_other_work(harness, app, tasks):
    @app.task
    def slow():
        time.sleep(30)

    tasks.noop.apply_async(countdown=10)
    slow.delay()
    harness.settle()
    assert harness.run_of(slow).elapsed == timedelta(seconds=30)
    assert harness.run_of(tasks.noop).started_at in {after(seconds=10), after(seconds=30)}


def test_negative_sleep_is_refused_as_ever(harness):
    with pytest.raises(ValueError, match="non-negative"):
        time.sleep(-1)


def test_a_rate_limit_of_fractions_lets_all_tasks_run(harness, app):
    @app.task(rate_limit="10/s", shared=False)
    def ping(n):
        return n

    results = [ping.delay(n) for n in range(8)]
    harness.settle()

    assert [result.get() for result in results] == list(range(8))
    assert passed(harness) == pytest.approx(0.7, abs=1e-5)
