"""Hooks, signals, semipredicates and classes of the user's own; ``tests/parity/scenarios/hooks.py`` has more."""

from __future__ import annotations

import datetime
import gc
import logging
import time

import pytest
from celery import Task, current_task, signals
from celery.contrib.abortable import AbortableAsyncResult, AbortableTask
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_task_logger
from celery.worker.request import Request
from scenario import kinds, passed

from pytest_taskharness.errors import FidelityError

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
SECRET = "hunter2"

TASK_SIGNALS = (
    "before_task_publish", "after_task_publish", "task_received", "task_prerun", "task_postrun", "task_success",
    "task_failure", "task_retry", "task_revoked", "task_unknown", "task_rejected", "task_internal_error",
)  # fmt: skip


@pytest.fixture
def heard():
    """The names of all signals that are sent, in order."""
    names = []

    def listen(name):
        def receiver(**kwargs):
            names.append(name)

        # Without an id of its own, Celery takes it for a receiver that is dead and had the same address.
        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=f"heard {name}")

    for name in TASK_SIGNALS:
        listen(name)
    yield names
    for name in TASK_SIGNALS:
        getattr(signals, name).disconnect(dispatch_uid=f"heard {name}")


PUBLISHED = ["before_task_publish", "after_task_publish"]


# -- signals


def test_the_signals_of_a_success(heard, harness, tasks):
    tasks.add.delay(1, 2)
    harness.settle()
    assert heard == [*PUBLISHED, "task_received", "task_prerun", "task_success", "task_postrun"]


def test_the_signals_of_a_failure(heard, harness, tasks):
    tasks.boom.delay()
    harness.settle()
    assert heard == [*PUBLISHED, "task_received", "task_prerun", "task_failure", "task_postrun"]


@STEPPED
def test_the_signals_of_a_retry(heard, harness, app):
    @app.task(bind=True, max_retries=1)
    def again(self):
        if not self.request.retries:
            raise self.retry(countdown=60)

    again.delay()
    harness.settle()
    first = [*PUBLISHED, "task_received", "task_prerun", *PUBLISHED, "task_retry", "task_postrun"]
    assert heard == [*first, "task_received", "task_prerun", "task_success", "task_postrun"]


@STEPPED
def test_the_signals_of_what_is_never_run(heard, harness, app, tasks):
    tasks.add.apply_async((1, 2), expires=-1)
    app.send_task("shop.no_such_task")
    tasks.add.apply_async((1, 2), serializer="pickle")
    harness.settle()
    assert [name for name in heard if name not in PUBLISHED] == ["task_revoked", "task_unknown", "task_rejected"]


@pytest.fixture
def receiver_that_has_died():
    """Not taken out of its list before somebody connects: then Celery makes a new list."""

    def receiver(**kwargs):
        pass

    signals.before_task_publish.connect(receiver)
    signals.before_task_publish.disconnect(receiver)
    del receiver
    gc.collect()


def test_a_receiver_that_comes_after_the_harness_hears_the_first_message(receiver_that_has_died, harness, tasks, heard):
    tasks.noop.delay()
    assert heard[:2] == PUBLISHED


def test_a_receiver_hears_of_its_sender_alone(harness, tasks):
    seen = []

    def receiver(sender, **kwargs):
        seen.append(sender.name)

    signals.task_success.connect(receiver, sender=tasks.add)
    tasks.noop.delay()
    tasks.add.delay(1, 2)
    harness.settle()
    assert seen == ["shop.add"]


def test_a_receiver_that_nobody_holds_is_gone(harness, tasks):
    seen = []

    def connect():
        def receiver(**kwargs):
            seen.append(1)

        signals.task_success.connect(receiver)

    connect()
    gc.collect()
    tasks.add.delay(1, 2)
    harness.settle()
    assert seen == []


def test_a_receiver_may_change_the_message(harness, app):
    @app.task(bind=True)
    def tenant(self):
        return self.request.get("tenant")

    def inject(headers, **kwargs):
        headers["tenant"] = "acme"

    signals.before_task_publish.connect(inject, sender=tenant.name)
    assert tenant.delay().get() == "acme"


@STEPPED
def test_a_worker_tells_of_its_life(app, open_harness, tasks):
    seen, receivers = [], []
    for name in ("celeryd_after_setup", "worker_init", "worker_process_init", "worker_ready", "worker_shutdown"):
        receivers.append(lambda name=name, **_: seen.append(name))
        getattr(signals, name).connect(receivers[-1])
    with open_harness():
        assert {"worker_init", "worker_process_init", "worker_ready"} <= set(seen)
        assert "worker_shutdown" not in seen
    assert seen[-1] == "worker_shutdown"


# -- hooks


class Noting(Task):
    """Notes each of its hooks."""

    abstract = True
    notes: list

    def before_start(self, task_id, args, kwargs):
        self.notes.append("before_start")

    def on_success(self, retval, task_id, args, kwargs):
        self.notes.append(f"on_success {retval}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.notes.append(f"on_failure {exc!r}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.notes.append(f"on_retry {exc!r}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.notes.append(f"after_return {status}")


@pytest.fixture
def noting(app):
    @app.task(base=Noting, bind=True, max_retries=1, name="shop.noting", shared=False)
    def noting(self, what):
        if what == "retry":
            raise self.retry(exc=KeyError("once"), countdown=60)
        if isinstance(what, str):
            raise {"ignore": Ignore, "reject": Reject}.get(what, ValueError)(what)
        return what

    noting.notes = []
    return noting


@pytest.mark.parametrize(
    "what, notes",
    [
        (7, ["before_start", "on_success 7", "after_return SUCCESS"]),
        ("fail", ["before_start", "on_failure ValueError('fail')", "after_return FAILURE"]),
        (
            "retry",
            ["before_start", "on_retry KeyError('once')", "before_start", "on_failure KeyError('once')",
             "after_return FAILURE"],
        ),
        ("ignore", ["before_start"]),
        ("reject", ["before_start"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_hooks_of_each_end(noting, harness, what, notes):
    noting.delay(what)
    harness.settle()
    assert noting.notes == notes


def test_a_class_registered_by_hand(app, open_harness):
    class Doubling(app.Task):
        name = "shop.doubling"

        def __init__(self):
            self.calls = 0

        def run(self, value):
            self.calls += 1
            return value * 2

    task = app.register_task(Doubling())
    open_harness()
    assert [task.delay(1).get(), task.delay(2).get(), task.calls] == [2, 4, 2]


def test_the_apps_own_base_class(app, open_harness):
    class Tenanted(Task):
        abstract = True

        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(args, kwargs, headers={"tenant": "acme"}, **options)

        def __call__(self, *args, **kwargs):
            return [self.request.headers["tenant"], self.run(*args, **kwargs)]

    app.task_cls = Tenanted
    app.__dict__.pop("Task", None)

    @app.task(name="shop.tenanted", shared=False)
    def tenanted(value):
        return value

    open_harness()
    assert tenanted.delay(1).get() == ["acme", 1]


def test_methods_are_tasks_too(app, open_harness):
    class Shop:
        name = "corner"

        def sell(self, what):
            return [self.name, what]

        @classmethod
        def describe(cls):
            return cls.__name__

    sell = app.task(Shop().sell, name="shop.sell", typing=False, shared=False)
    describe = app.task(Shop.describe, name="shop.describe", typing=False, shared=False)
    open_harness()
    assert [sell.delay("bread").get(), describe.delay().get()] == [["corner", "bread"], "Shop"]


# -- a Request of one's own


class Bookkeeper(Request):
    """Keeps the books of what the worker hears of its pool.

    Celery makes a subclass of it whose own ``on_success`` calls none below it.
    """

    books: list = []  # noqa: RUF012 - one for the test

    def on_accepted(self, pid, time_accepted):
        self.books.append(("on_accepted",))
        return super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info, *args, **kwargs):
        self.books.append(("on_failure", type(exc_info.exception).__name__))
        return super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft, timeout):
        self.books.append(("on_timeout", soft, timeout))
        return super().on_timeout(soft, timeout)


@pytest.fixture
def booked(app):
    class Booked(Task):
        abstract = True
        Request = Bookkeeper

    @app.task(base=Booked, bind=True, name="shop.booked", shared=False)
    def booked(self, what):
        if what == "fail":
            raise ValueError(what)
        if what == "retry" and not self.request.retries:
            raise self.retry(countdown=60)
        if what == "sleep":
            time.sleep(60)

    Bookkeeper.books.clear()
    return booked


@pytest.mark.parametrize(
    "what, books",
    [
        ("succeed", [("on_accepted",)]),
        ("fail", [("on_accepted",), ("on_failure", "ValueError")]),
        ("retry", [("on_accepted",), ("on_failure", "Retry"), ("on_accepted",)]),
        ("sleep", [("on_accepted",), ("on_timeout", False, 30), ("on_failure", "ExceptionWithTraceback")]),
    ],
)
def test_a_request_class_hears_of_each_end(booked, harness, what, books):
    booked.apply_async((what,), **({"time_limit": 30} if what == "sleep" else {}))
    harness.settle()
    assert sorted(map(str, Bookkeeper.books)) == sorted(map(str, books))


# -- how a body can end


@STEPPED
@pytest.mark.parametrize("late", [False, True])
def test_rejected_and_requeued(harness, app, late):
    @app.task(bind=True, acks_late=late)
    def send_back(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("busy", requeue=True)

    result = send_back.delay()
    harness.settle()
    run = harness.run_of(result)
    outcomes = [attempt.outcome for attempt in run.attempts]
    assert outcomes == (["REJECTED", "SUCCESS"] if late else ["REJECTED"]), "an early ack cannot be taken back"


@pytest.mark.parametrize("late", [False, True])
def test_rejected_for_good(harness, app, late):
    @app.task(acks_late=late)
    def refuse():
        raise Reject("never")

    result = refuse.delay()
    harness.settle()
    run = harness.run_of(result)
    assert [attempt.outcome for attempt in run.attempts] == ["REJECTED"]
    assert run.acked is not late
    assert run.finished


@STEPPED
def test_a_task_that_rejects_its_message_can_be_asked_whether_it_is_idempotent(harness, app):
    refused = []

    @app.task(acks_late=True)
    def refuse():
        refused.append(1)
        raise Reject("never", requeue=False)

    with pytest.raises(AssertionError, match="is not idempotent"):
        harness.assert_idempotent(refuse.s(), observe=lambda: refused, reset=refused.clear)
    harness.assert_idempotent(refuse.s(), observe=lambda: bool(refused), reset=refused.clear)


@pytest.mark.parametrize("mode", ["eager"], indirect=True)
def test_requeueing_needs_a_broker(harness, app):
    @app.task(acks_late=True)
    def send_back():
        raise Reject("busy", requeue=True)

    with pytest.raises(FidelityError, match="mode='memory'"):
        send_back.delay()


def test_a_retry_that_nobody_has_sent(harness, app):
    @app.task
    def pretend():
        raise Retry("by hand", exc=ValueError("why"), when=5)

    result = pretend.delay()
    harness.settle()
    assert harness.run_of(result).states == ["PENDING", "RECEIVED", "STARTED", "RETRY"]
    assert len(harness.outbox) == 1


# -- what a task says of itself


@pytest.mark.parametrize("at", ["task", "call", "app"])
def test_an_ignored_result(app, open_harness, at):
    @app.task(shared=False, **({"ignore_result": True} if at == "task" else {}))
    def forget():
        return "unseen"

    harness = open_harness(config={"task_ignore_result": True} if at == "app" else {})
    result = forget.apply_async(**({"ignore_result": True} if at == "call" else {}))
    harness.settle()
    run = harness.run_of(result)
    assert (run.state, run.result, result.state) == ("SUCCESS", None, "PENDING")


def test_errors_that_are_stored_although_results_are_not(app, open_harness):
    @app.task(shared=False, ignore_result=True)
    def fail():
        raise ValueError("seen")

    harness = open_harness(config={"task_store_errors_even_if_ignored": True})
    result = fail.delay()
    harness.settle()
    assert repr(app.AsyncResult(result.id).result) == "ValueError('seen')"


def test_progress_with_its_meta(harness, app):
    @app.task(bind=True)
    def work(self):
        current_task.update_state(state="PROGRESS", meta={"done": 1})

    work.delay()
    harness.settle()
    run = harness.assert_states(work, ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "SUCCESS"])
    assert run.states[3].meta == {"done": 1}


def test_headers_shadow_priority_and_reply_to(harness, app):
    @app.task(bind=True)
    def look(self):
        request = self.request
        return [request.headers["tenant"], request.shadow, request.delivery_info["priority"], request.reply_to]

    result = look.apply_async(headers={"tenant": "acme"}, shadow="shown", priority=6, reply_to="desk")
    assert result.get() == ["acme", "shown", 6, "desk"]
    message = harness.assert_enqueued(look.s().set(priority=6, shadow="shown", headers={"tenant": "acme"}))
    assert message.headers["shadow"] == "shown"


def test_class_options_hold_for_each_call(harness, app):
    @app.task(bind=True, expires=3600, serializer="json", shadow_name=lambda *_: "by name")
    def look(self):
        return [bool(self.request.expires), self.request.shadow]

    assert look.delay().get() == [True, "by name"]


def test_an_expected_error_is_logged_as_such(harness, app, caplog):
    @app.task(throws=(KeyError,))
    def fail():
        raise KeyError("expected")

    caplog.set_level(logging.INFO)
    fail.delay()
    harness.settle()
    assert any("raised expected" in record.getMessage() for record in caplog.records)


def test_the_logger_of_a_task(harness, app, caplog):
    @app.task
    def tell():
        get_task_logger("shop").warning("from %s", current_task.name)

    tell.delay()
    harness.settle()
    assert f"from {tell.name}" in caplog.text


def test_what_a_task_hides_is_hidden_when_it_is_refused(harness, tasks):
    tasks.echo.apply_async((SECRET,), {"code": SECRET}, argsrepr="('…',)", kwargsrepr="{…}", serializer="yaml")
    harness.settle()
    with pytest.raises(AssertionError) as raised:
        harness.assert_succeeded(tasks.echo)
    assert SECRET not in f"{harness.timeline} {harness.timeline.to_json()} {raised.value} {harness.runs()!r}"


def test_wrong_arguments_without_typing_are_the_failure_of_the_body(harness, app):
    @app.task(typing=False)
    def add(x, y):
        return x + y

    add.delay(1)
    harness.settle()
    harness.assert_failed(add, TypeError, match="missing 1 required positional argument")


# -- beside Celery's own tasks


@STEPPED
def test_aborted_while_it_is_held(harness, app):
    @app.task(bind=True, base=AbortableTask)
    def crunch(self):
        return "aborted" if self.is_aborted() else "done"

    with harness.worker().hold_in(crunch):
        result = crunch.delay()
        harness.drain()
        AbortableAsyncResult(result.id, app=app).abort()
    harness.settle()
    assert result.get() == "aborted"
    harness.assert_states(result, ["PENDING", "RECEIVED", "STARTED", "ABORTED", "SUCCESS"])


def test_celerys_own_ping(app, open_harness):
    from celery.contrib.testing.tasks import ping

    open_harness()
    assert app.tasks[ping.name].delay().get() == "pong"


@STEPPED
def test_events_for_monitors_change_nothing(open_harness, tasks):
    harness = open_harness(config={"task_send_sent_event": True, "worker_send_task_events": True})
    assert tasks.add.delay(1, 2).get() == 3
    assert kinds(harness.run_of(tasks.add)) == ["publish", "deliver", "receive", "ack", "start", "store", "finish"]


def test_sleeping_hooks_take_virtual_time(harness, app):
    class Slow(Task):
        abstract = True

        def on_success(self, retval, task_id, args, kwargs):
            time.sleep(60)

    @app.task(base=Slow)
    def quick():
        return datetime.datetime.now(datetime.timezone.utc).isoformat()

    quick.delay()
    harness.settle()
    assert passed(harness) == 60
