"""Hooks and signals where they do something of their own; their order stands in every scenario's trace."""

from __future__ import annotations

import time

from celery import Task, current_app, current_task, signals
from celery.contrib.abortable import AbortableAsyncResult, AbortableTask
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from parity_app import add, app, task
from parity_log import Told, note
from parity_scenario import APART, outcome, scenario, task_apart


class Broken(Told):
    """Raises in the hook that its first argument names."""

    abstract = True

    def before_start(self, task_id, args, kwargs):
        super().before_start(task_id, args, kwargs)
        self._break("before_start", args)

    def on_success(self, retval, task_id, args, kwargs):
        super().on_success(retval, task_id, args, kwargs)
        self._break("on_success", args)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        super().on_failure(exc, task_id, args, kwargs, einfo)
        self._break("on_failure", args)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        self._break("after_return", args)

    def _break(self, hook, args):
        if args and args[0] == hook:
            raise RuntimeError(f"{hook} is broken")


@task(base=Broken)
def with_broken_hook(hook, fails=False):
    if fails:
        raise ValueError("the body's own")
    return "fine"


@scenario()
def before_start_fails(harness):
    """An error in before_start is the failure of the task."""
    result = with_broken_hook.delay("before_start")
    harness.settle()
    return outcome(result)


@scenario()
def after_return_fails(harness):
    """An error in after_return."""
    result = with_broken_hook.delay("after_return")
    harness.settle()
    return outcome(result)


@scenario()
def on_success_fails(harness):
    """An error in on_success."""
    result = with_broken_hook.delay("on_success")
    harness.settle()
    return outcome(result)


@scenario()
def on_failure_fails(harness):
    """An error in on_failure."""
    result = with_broken_hook.delay("on_failure", fails=True)
    harness.settle()
    return outcome(result)


@scenario()
def a_call_of_its_own(harness):
    """A task with its own __call__ runs through it."""
    return wrapped.delay(1).get(timeout=10)


class Wrapping(Told):
    """Wraps each body."""

    abstract = True

    def __call__(self, *args, **kwargs):
        self.step("before the body")
        return ["wrapped", self.run(*args, **kwargs)]


@task(base=Wrapping)
def wrapped(value):
    return value


@scenario()
def a_task_class(harness):
    """A task that is a class, registered by hand."""
    return app.tasks["hooks.by_class"].delay(20).get(timeout=10)


class ByClass(Told):
    """A task with state of its own."""

    name = "hooks.by_class"
    factor = 2

    def run(self, value):
        return value * self.factor


app.register_task(ByClass())


@scenario()
def a_receiver_that_fails(harness):
    """An error in a receiver of a signal is logged, and changes nothing."""
    return with_broken_receiver.delay().get(timeout=10)


@task
def with_broken_receiver():
    return "fine"


@signals.task_prerun.connect(sender=with_broken_receiver, weak=False)
def broken_receiver(**kwargs):
    raise RuntimeError("the receiver is broken")


@scenario()
def a_receiver_that_changes_the_message(harness):
    """before_task_publish may put a header into the message."""
    return read_header.delay().get(timeout=10)


@task(bind=True)
def read_header(self):
    return self.request.get("injected")


@signals.before_task_publish.connect(sender=f"{read_header.name}", weak=False)
def inject(headers, **kwargs):
    headers["injected"] = "by a receiver"


@scenario()
def no_hooks_after_ignore(harness):
    """Ignore calls no hook but before_start."""
    result = ignore.delay()
    harness.settle()
    return outcome(result)


@task
def ignore():
    raise Ignore


@scenario()
def apply_calls_the_hooks(harness):
    """apply() runs here, with the hooks and without a worker."""
    result = add.apply((1, 2))
    return result.state, result.get()


@scenario()
def a_hook_that_publishes(harness):
    """on_success may publish; the child belongs to the task."""
    result = publish_afterwards.delay()
    harness.settle()
    return outcome(result), [run.task for run in harness.runs()]


class Publishing(Told):
    """Publishes when it has succeeded."""

    abstract = True

    def on_success(self, retval, task_id, args, kwargs):
        add.delay(1, 2)


@task(base=Publishing)
def publish_afterwards():
    return "published soon"


@scenario()
def a_plain_task(harness):
    """A task without any hook."""
    return bare.delay().get(timeout=10)


@task(base=Task)
def bare():
    return "bare"


# -- a Request and a Strategy of one's own: apart, for a worker that has them is not used again


@scenario(imports=APART)
def a_request_class(harness):
    """Task.Request: a class that can be imported by name, and its on_success."""
    result = task_apart("watched").delay("fine")
    harness.settle()
    return outcome(result)


@scenario(imports=APART)
def a_request_class_that_fails(harness):
    """Its on_failure, and only the task's own."""
    result = task_apart("watched").delay("fail")
    harness.settle()
    return outcome(result)


@scenario(imports=APART)
def a_request_class_that_retries(harness):
    """Its on_retry; what is sent again is a request of the same class."""
    result = task_apart("watched").delay("retry")
    harness.settle()
    return outcome(result)


@scenario(imports=APART)
def a_request_class_that_is_late(harness):
    """Its on_timeout, for a hard limit."""
    result = task_apart("watched").apply_async(("sleep",), time_limit=0.6)
    harness.settle()
    return outcome(result)


@scenario(imports=APART)
def a_strategy(harness):
    """Task.Strategy decides what becomes of a message."""
    chosen = task_apart("chosen")
    stale, fresh = chosen.apply_async((1,), headers={"stale": True}), chosen.delay(2)
    later = chosen.apply_async((3,), countdown=0.4)
    harness.settle()
    return outcome(stale, fresh, later), [harness.run_of(result).acked for result in (stale, fresh, later)]


# -- how a task can be made


class Shop:
    """Its methods are tasks."""

    def __init__(self, name):
        self.name = name

    def sell(self, what):
        return [self.name, what]

    @classmethod
    def open_all(cls):
        return cls.__name__

    @staticmethod
    def close(hour):
        return hour


# Celery counts the object of a bound method among the arguments that a caller has to give.
sell = app.task(Shop("corner").sell, name="hooks.sell", typing=False, shared=False)
open_all = app.task(Shop.open_all, name="hooks.open_all", typing=False, shared=False)
close = app.task(Shop.close, name="hooks.close", shared=False)


@scenario()
def methods_as_tasks(harness):
    """A bound method, a classmethod and a staticmethod are functions as any other."""
    return [sell.delay("bread").get(timeout=10), open_all.delay().get(timeout=10), close.delay(20).get(timeout=10)]


@scenario()
def current_task_and_app(harness):
    """The proxies mean the task that runs."""
    return look_around.delay().get(timeout=10)


@task(bind=True)
def look_around(self):
    return [current_task.name, current_task.request.id == self.request.id, current_app.main, self.app.main]


@scenario()
def a_task_logger(harness):
    """get_task_logger() works in a body."""
    return log_something.delay().get(timeout=10)


@task
def log_something():
    get_task_logger(__name__).warning("from a body")
    return "logged"


@scenario()
def a_shown_name(harness):
    """shadow_name() of the task names its messages."""
    return look_at_shadow.delay("north").get(timeout=10)


def by_region(task, args, kwargs, options):
    return f"hooks.look_at_shadow[{args[0]}]"


@task(bind=True, shadow_name=by_region)
def look_at_shadow(self, region):
    return self.request.shadow


@scenario()
def options_of_the_task(harness):
    """expires of a task's class holds for each of its calls; its limits are not in the message."""
    return look_at_options.delay().get(timeout=10)


@task(bind=True, expires=3600, time_limit=60)
def look_at_options(self):
    request = self.request
    return [request.expires is not None, request.timelimit]


# -- how a body can end


@scenario()
def a_retry_raised_by_hand(harness):
    """Retry that was raised without retry(): RETRY is the last word, for nothing was sent."""
    result = pretend_to_retry.delay()
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@task
def pretend_to_retry():
    raise Retry("by hand", exc=ValueError("why"), when=5)


@scenario()
def a_soft_limit_that_is_not_caught(harness):
    """SoftTimeLimitExceeded is the error of the body."""
    result = sleep_long.apply_async(soft_time_limit=0.6)
    harness.settle()
    return outcome(result)


@scenario()
def a_soft_limit_that_is_caught(harness):
    """The body may go on, and end as it likes."""
    return sleep_long.apply_async((True,), soft_time_limit=0.6).get(timeout=20)


@task
def sleep_long(catches=False):
    try:
        time.sleep(10)
    except SoftTimeLimitExceeded:
        if not catches:
            raise
        return "caught"


@scenario()
def rejected_in_a_late_chain(harness):
    """Reject ends a chain: the next link is never sent."""
    result = (reject.si() | add.si(1, 2)).delay()
    harness.settle()
    return outcome(result.parent, result), [run.task for run in harness.runs()]


@task(acks_late=True)
def reject():
    raise Reject("no", requeue=False)


@scenario()
def aborted_before_it_runs(harness):
    """An abortable task that asks, and was aborted before it has begun."""
    result = abortable.apply_async(countdown=0.4)
    AbortableAsyncResult(result.id, app=app).abort()
    harness.settle()
    return outcome(result)


@scenario()
def not_aborted(harness):
    """The same, and nobody has."""
    return abortable.delay().get(timeout=10)


@task(bind=True, base=AbortableTask)
def abortable(self):
    return "aborted" if self.is_aborted() else "not aborted"


@scenario(task_send_sent_event=True, worker_send_task_events=True)
def with_events(harness):
    """Events for monitors change nothing."""
    return add.delay(1, 2).get(timeout=10)


@scenario()
def receivers_by_sender(harness):
    """A receiver with a sender hears of that task alone, and a weak one that is gone hears nothing."""
    return heard_of.delay().get(timeout=10), add.delay(1, 2).get(timeout=10)


@task
def heard_of():
    return "heard"


@signals.task_success.connect(sender=heard_of, weak=False)
def hear_success(sender, result, **kwargs):
    note("heard by sender", sender.request.id, result=result)


def _connect_weakly():
    def forgotten(sender, **kwargs):
        note("this receiver is gone", sender.request.id)

    signals.task_success.connect(forgotten, sender=heard_of)


_connect_weakly()
