"""Retries of every kind."""

from __future__ import annotations

import datetime

from celery.exceptions import Retry
from parity_app import add, app, task
from parity_scenario import outcome, scenario


@scenario()
def until_it_works(harness):
    """Two retries, then success."""
    result = flaky.delay(2)
    return result.get(timeout=10), harness.run_of(result).retry_delays


@task(bind=True)
def flaky(self, failures):
    if self.request.retries < failures:
        raise self.retry(countdown=0)
    return self.request.retries


@scenario()
def exhausted(harness):
    """When the retries are used up, MaxRetriesExceededError names the task."""
    result = hopeless.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=2)
def hopeless(self):
    raise self.retry(countdown=0)


@scenario()
def exhausted_with_an_error(harness):
    """When the retries are used up, the error that was given is raised."""
    result = hopeless_with_error.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=1)
def hopeless_with_error(self):
    try:
        raise ConnectionError("down")
    except ConnectionError as error:
        raise self.retry(exc=error, countdown=0)


@scenario()
def exhausted_inside_an_except_block(harness):
    """Without exc=, the error that is being handled is raised in the end."""
    result = hopeless_in_except.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=1)
def hopeless_in_except(self):
    try:
        raise ConnectionError("handled")
    except ConnectionError:
        raise self.retry(countdown=0)


@scenario()
def no_retries_allowed(harness):
    """max_retries=0: the first retry is one too many."""
    result = never_again.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=0)
def never_again(self):
    raise self.retry(exc=ValueError("not once"), countdown=0)


@scenario()
def retries_without_limit(harness):
    """max_retries=None: more than the usual three."""
    return stubborn.delay().get(timeout=10)


@task(bind=True, max_retries=None)
def stubborn(self):
    if self.request.retries < 5:
        raise self.retry(countdown=0)
    return self.request.retries


@scenario()
def a_limit_of_the_call(harness):
    """retry(max_retries=...) wins over the task."""
    result = limited_by_call.delay()
    harness.settle()
    return outcome(result)


@task(bind=True)
def limited_by_call(self):
    raise self.retry(exc=ValueError("once"), countdown=0, max_retries=1)


@scenario()
def after_a_countdown(harness):
    """retry(countdown=...) is waited for."""
    result = later.delay()
    return result.get(timeout=10), harness.run_of(result).states


@task(bind=True)
def later(self):
    if not self.request.retries:
        raise self.retry(countdown=0.2)
    return "later"


@scenario()
def at_an_eta(harness):
    """retry(eta=...) is waited for."""
    return at_eta.delay().get(timeout=10)


@task(bind=True)
def at_eta(self):
    if not self.request.retries:
        raise self.retry(eta=app.now() + datetime.timedelta(seconds=0.2))
    return "at its eta"


@scenario()
def after_the_default_delay(harness):
    """default_retry_delay is what counts where nothing is said."""
    return by_default.delay().get(timeout=10)


@task(bind=True, default_retry_delay=0.2)
def by_default(self):
    if not self.request.retries:
        raise self.retry()
    return "by default"


@scenario()
def with_other_arguments(harness):
    """retry(args, kwargs) runs with those."""
    return shrinking.delay([1, 2, 3], note="first").get(timeout=10)


@task(bind=True)
def shrinking(self, items, note):
    if len(items) > 1:
        raise self.retry((items[1:],), {"note": f"{len(items)} were left"}, countdown=0)
    return [items, note]


@scenario()
def without_raising(harness):
    """retry(throw=False) goes on, and the body's end is not its last word."""
    result = not_thrown.delay()
    harness.settle()
    return outcome(result)


@task(bind=True)
def not_thrown(self):
    if self.request.retries:
        return "second"
    self.retry(throw=False, countdown=0.2)
    self.step("after the retry")
    return "first"


@scenario()
def into_another_queue(harness):
    """retry(queue=...) travels there."""
    return elsewhere.delay().get(timeout=10)


@task(bind=True)
def elsewhere(self):
    if not self.request.retries:
        raise self.retry(queue="slow", countdown=0)
    return self.request.delivery_info["routing_key"]


@scenario()
def what_a_retry_keeps(harness):
    """Priority, headers, limits and the queue of a call are kept by its retries."""
    call = keeper.s().set(queue="kept", priority=3, headers={"tenant": "acme"}, time_limit=50, soft_time_limit=40)
    return call.apply_async(shadow="shown").get(timeout=10)


@task(bind=True)
def keeper(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    request = self.request
    info = request.delivery_info
    return [request.retries, info["routing_key"], info["priority"], request.tenant, request.timelimit, request.shadow]


@scenario()
def by_autoretry(harness):
    """autoretry_for retries what it names, and nothing else."""
    retried, failed = unreliable.delay("ConnectionError"), unreliable.delay("ValueError")
    harness.settle()
    return outcome(retried, failed)


@task(
    bind=True, autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0, retry_kwargs={"countdown": 0}
)  # fmt: skip
def unreliable(self, kind):
    raise {"ConnectionError": ConnectionError, "ValueError": ValueError}[kind]("on purpose")


@scenario()
def by_autoretry_with_exceptions(harness):
    """dont_autoretry_for takes a subclass out."""
    refused, broken = careful.delay(refused=True), careful.delay(refused=False)
    harness.settle()
    return outcome(refused, broken)


@task(
    autoretry_for=(ConnectionError,), dont_autoretry_for=(ConnectionRefusedError,),
    retry_kwargs={"max_retries": 1, "countdown": 0},
)  # fmt: skip
def careful(refused):
    raise (ConnectionRefusedError if refused else ConnectionResetError)("by peer")


@scenario()
def with_backoff(harness):
    """retry_backoff without jitter: the delays are the formula's, as far as its maximum."""
    result = backing_off.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).retry_delays


@task(autoretry_for=(OSError,), retry_backoff=True, retry_backoff_max=1, retry_jitter=False, max_retries=2)
def backing_off():
    raise OSError("busy")


@scenario()
def raised_by_hand(harness):
    """A Retry that the body raises itself publishes nothing: the task stays in RETRY."""
    result = raise_retry.delay()
    harness.settle()
    return outcome(result)


@task
def raise_retry():
    raise Retry("by hand", exc=ValueError("why"), when=60)


@scenario()
def with_an_error_that_cannot_be_pickled(harness):
    """The reason of a retry may be anything."""
    result = oddly.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=1)
def oddly(self):
    class Odd(Exception):
        pass

    raise self.retry(exc=Odd("strange"), countdown=0)


@scenario()
def what_the_backend_says_between(harness):
    """While a retry waits, the state is RETRY and the result its reason."""
    result = waiting.delay()
    value = result.get(timeout=10)
    return value, [str(state) for state in harness.run_of(result).states]


@task(bind=True)
def waiting(self):
    mine = app.AsyncResult(self.request.id)
    if not self.request.retries:
        raise self.retry(exc=KeyError("between"), countdown=0.2)
    return [mine.state, repr(mine.info), bool(mine.traceback)]


@scenario()
def linked_tasks_wait_for_the_end(harness):
    """A link is followed once, after the retries."""
    result = flaky.apply_async((1,), link=add.s(10))
    harness.settle()
    return outcome(result), [outcome(child) for child in result.children]


@scenario()
def late_acknowledged(harness):
    """With acks_late each attempt is acknowledged when it has been published anew."""
    result = late_flaky.delay()
    return result.get(timeout=10)


@task(bind=True, acks_late=True)
def late_flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.delivery_info["redelivered"]


@scenario()
def a_retry_called_outside_a_worker(harness):
    """A body that is called as a function raises its reason instead of a retry."""
    try:
        return hopeless_with_error()
    except ConnectionError as error:
        return repr(error)


@scenario()
def until_it_expires(harness):
    """A retry keeps the expiry of the call: what is due after it is revoked."""
    result = slow_to_recover.apply_async(expires=0.2)
    harness.settle()
    return outcome(result)


@task(bind=True)
def slow_to_recover(self):
    if not self.request.retries:
        raise self.retry(countdown=0.4)
    return "too late"
