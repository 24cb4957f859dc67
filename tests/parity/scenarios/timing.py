"""Countdown, eta, expiry, revocation and limits; the delays are short enough for a real clock."""

from __future__ import annotations

import datetime
import time

from celery import exceptions, group
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from parity_app import add, app, task
from parity_scenario import in_order, nobody_consumes, outcome, scenario


def soon(seconds):
    return app.now() + datetime.timedelta(seconds=seconds)


@scenario()
def a_countdown(harness):
    """A countdown is waited for, unacknowledged, and then it runs."""
    result = punctual.apply_async(countdown=0.2)
    return result.get(timeout=10), harness.run_of(result).states


@task(bind=True)
def punctual(self):
    early = datetime.datetime.fromisoformat(self.request.eta) - app.now()
    return early.total_seconds() <= 0


@scenario()
def an_eta(harness):
    """An eta is the same, as a time of day."""
    return punctual.apply_async(eta=soon(0.2)).get(timeout=10)


@scenario()
def an_eta_in_another_zone(harness):
    """An eta may be told in any zone."""
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    return punctual.apply_async(eta=soon(0.2).astimezone(zone)).get(timeout=10)


@scenario()
def an_eta_in_the_past(harness):
    """What is due already runs at once."""
    return punctual.apply_async(eta=soon(-60)).get(timeout=10)


@scenario()
def countdowns_run_in_the_order_of_their_dues(harness):
    """Not in the order of publishing."""
    results = [note.apply_async((name,), countdown=delay) for name, delay in (("b", 0.4), ("c", 0.6), ("a", 0.2))]
    harness.settle()
    return in_order(harness), outcome(*results)


@task
def note(name):
    return name


@scenario()
def expired_at_the_call(harness):
    """What has expired before it is published is revoked, and the body never runs."""
    result = add.apply_async((1, 2), expires=-1)
    harness.settle()
    return outcome(result)


@scenario()
def expired_while_it_was_held(harness):
    """What expires before it is due is revoked when it is due."""
    result = add.apply_async((1, 2), countdown=0.4, expires=0.2)
    try:
        return result.get(timeout=10)
    except TaskRevokedError as error:
        return str(error), result.state


@scenario()
def expires_at_a_time(harness):
    """expires= takes a time of day too."""
    late, early = add.apply_async((1, 2), expires=soon(-60)), add.apply_async((3, 4), expires=soon(60))
    harness.settle()
    return outcome(late, early)


@scenario()
def expires_later(harness):
    """What has not expired runs, and knows when it would have."""
    return know_expiry.apply_async(expires=60).get(timeout=10)


@task(bind=True)
def know_expiry(self):
    left = datetime.datetime.fromisoformat(self.request.expires) - app.now()
    return 50 < left.total_seconds() <= 60


@scenario(task_acks_late=True)
def expired_and_late(harness):
    """An expired message is acknowledged, late or not."""
    result = add.apply_async((1, 2), expires=-1)
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@scenario()
def get_runs_into_its_timeout(harness):
    """get(timeout=...) gives up, the task does not."""
    result = add.apply_async((1, 2), countdown=1.6)  # Celery's Redis backend looks at the time once in a second
    try:
        return result.get(timeout=0.1)
    except exceptions.TimeoutError:
        return "timeout", result.get(timeout=10)


@scenario()
def revoked_while_it_is_held(harness):
    """revoke() before the eta: REVOKED, and the body never runs."""
    result = add.apply_async((1, 2), countdown=0.4)
    harness.drain()
    result.revoke()
    harness.settle()
    return outcome(result)


@scenario()
def revoked_with_terminate_before_it_runs(harness):
    """terminate=True is the same for what has not started."""
    result = add.apply_async((1, 2), countdown=0.4)
    harness.drain()
    result.revoke(terminate=True)
    harness.settle()
    return outcome(result)


@scenario()
def revoked_in_its_queue(harness):
    """revoke() before the worker has the message."""
    with nobody_consumes("held"):
        result = add.apply_async((1, 2), queue="held")
        result.revoke()
    harness.settle()
    return outcome(result)


@scenario()
def revoked_with_another_left_alone(harness):
    """Revoking one leaves its twin."""
    first, second = add.apply_async((1, 2), countdown=0.4), add.apply_async((3, 4), countdown=0.4)
    harness.drain()
    app.control.revoke([first.id])
    harness.settle()
    return outcome(first, second)


@scenario()
def a_revoked_group(harness):
    """A group's result revokes all its members."""
    result = group(add.s(1, 2), add.s(3, 4)).apply_async(countdown=0.4)
    harness.drain()
    result.revoke()
    harness.settle()
    return outcome(*result.results)


@scenario()
def a_soft_limit(harness):
    """A body that sleeps past its soft limit gets SoftTimeLimitExceeded."""
    result = oversleep.delay(2)
    harness.settle()
    return outcome(result)


@task(soft_time_limit=0.3)
def oversleep(seconds):
    time.sleep(seconds)


@scenario()
def a_soft_limit_that_is_handled(harness):
    """The body may catch it, and return what it has."""
    return give_up_politely.delay(2).get(timeout=10)


@task(bind=True, soft_time_limit=0.3)
def give_up_politely(self, seconds):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        self.step("politely")
        return "what there was"


@scenario()
def a_hard_limit(harness):
    """A body that sleeps past its hard limit is killed: FAILURE with TimeLimitExceeded."""
    result = sleep_deeply.delay(5)
    harness.settle()
    return outcome(result)


@task(time_limit=0.5)
def sleep_deeply(seconds):
    time.sleep(seconds)


@scenario()
def a_hard_limit_after_a_soft_one(harness):
    """A body that ignores its soft limit meets the hard one."""
    result = deaf.delay(5)
    harness.settle()
    return outcome(result)


@task(bind=True, soft_time_limit=0.4, time_limit=1)
def deaf(self, seconds):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        self.step("heard of the soft limit")
        time.sleep(seconds)


@scenario()
def a_soft_limit_then_a_retry(harness):
    """A body may answer its soft limit with a retry."""
    return slow_at_first.delay().get(timeout=10)


@task(bind=True, soft_time_limit=0.4)
def slow_at_first(self):
    try:
        time.sleep(0 if self.request.retries else 5)
    except SoftTimeLimitExceeded as error:
        raise self.retry(exc=error, countdown=0)
    return "fast enough"


@scenario(task_soft_time_limit=0.4)
def a_soft_limit_for_all(harness):
    """task_soft_time_limit holds for tasks that say nothing."""
    result = sleep_without_limit.delay(5)
    harness.settle()
    return outcome(result)


@task
def sleep_without_limit(seconds):
    time.sleep(seconds)


@scenario()
def a_hard_limit_of_a_late_task(harness):
    """acks_late and a hard limit: acknowledged, not run again."""
    result = sleep_late.delay(5)
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True, time_limit=0.5)
def sleep_late(seconds):
    time.sleep(seconds)


@scenario()
def limits_of_the_call(harness):
    """Limits at the call win over the task."""
    result = sleep_deeply.apply_async((1,), time_limit=20, soft_time_limit=0.3)
    harness.settle()
    return outcome(result)


@scenario()
def a_rate_limit(harness):
    """A rate limit delays, in order, and loses nothing."""
    results = [limited.delay(number) for number in range(3)]
    values = [result.get(timeout=10) for result in results]
    return values, in_order(harness)


@task(rate_limit="10/s")
def limited(number):
    return number
