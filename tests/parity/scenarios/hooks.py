"""Hooks and signals where they do something of their own; their order stands in every scenario's trace."""

from __future__ import annotations

from celery import Task, signals
from celery.exceptions import Ignore
from parity_app import add, app, task
from parity_log import Told
from parity_scenario import outcome, scenario


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
