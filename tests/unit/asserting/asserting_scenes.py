"""Timelines made by hand, and the tasks that they are about."""

import inspect
import json
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from celery import Celery, _state

from pytest_taskharness.asserting import Assertions
from pytest_taskharness.timeline import CallSite, Timeline

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
SITE = CallSite("shop/signup.py", 31, "sign_up")

app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task(name="shop.tasks.send_email", shared=False)
def send_email(user_id, template, locale="en"): ...


@app.task(name="shop.tasks.charge", shared=False, bind=True)
def charge(self, order_id, amount): ...


@app.task(name="shop.tasks.sync_crm", shared=False)
def sync_crm(user_id): ...


@app.task(name="shop.tasks.log", shared=False)
def log(level, *lines, **context): ...


@app.task(name="shop.tasks.report", shared=False)
def report(): ...


@app.task(name="shop.tasks.alert", shared=False)
def alert(request=None, exc=None, traceback=None): ...


@app.task(name="shop.tasks.mocked", shared=False)
def mocked(): ...


def at(seconds):
    return START + timedelta(seconds=seconds)


class Registry:
    """Knows the tasks above."""

    def signature_of(self, task_name):
        return inspect.signature(app.tasks[task_name].run) if task_name in app.tasks else None

    def route_hint(self, task_name, queue):
        return f"no route sends {task_name} to {queue!r} (task_routes has 1 entry)" if queue == "mail" else None

    def replaced(self, task_name):
        return "delay is a MagicMock" if task_name == mocked.name else None


class World:
    """A clock that moves when told to, and remembers what it was told."""

    uncommitted = 0

    def __init__(self, now=START, *, work=lambda: None):
        self.now = now
        self.told = []
        self._work = work

    def drain(self):
        self.told.append("drain")
        self._work()

    def stuck(self, run):
        return None

    def run_until(self, when):
        self.told.append(when)
        self.now = when
        self._work()


class Scene:
    """A timeline, with short verbs for what a worker would write into it."""

    def __init__(self):
        self.timeline = Timeline(START)
        self.world = World()

    @property
    def harness(self):
        return Assertions(self.timeline, world=self.world, registry=Registry())

    @property
    def bare(self):
        """Without a world and a registry, as for a timeline from a file."""
        return Assertions(self.timeline)

    def publish(self, task, *args, id="1f3c9a7e-0001", after=0, **detail):
        """Write down a message; keyword arguments of the task go into ``kwargs``."""
        kwargs = detail.pop("kwargs", {})
        known = {
            "args": args, "kwargs": kwargs, "argsrepr": "(…)", "kwargsrepr": "{}", "hidden": False,
            "options": {}, "queue": "celery", "eta": None, "retries": 0, "embed": {}, "call_site": SITE,
        }  # fmt: skip
        name = getattr(task, "name", task)
        self.timeline.record("publish", at(after), task=name, id=id, **{**known, **detail})
        return self

    def event(self, kind, *, id="1f3c9a7e-0001", after=0, worker="w1", task=None, **detail):
        self.timeline.record(kind, at(after), id=id, worker=worker, task=getattr(task, "name", task), **detail)
        return self

    def begin(self, *, id="1f3c9a7e-0001", after=0, redelivered=False, worker="w1"):
        """Deliver, receive and start."""
        self.event("deliver", id=id, after=after, queue="celery", redelivered=redelivered, worker=worker)
        self.event("receive", id=id, after=after, worker=worker)
        return self.event("start", id=id, after=after, redelivered=redelivered, worker=worker)

    def succeed(self, result=None, *, id="1f3c9a7e-0001", after=0):
        """Begin, store, finish and acknowledge."""
        self.begin(id=id, after=after)
        self.event("store", id=id, after=after, state="SUCCESS", result=result)
        self.event("finish", id=id, after=after, state="SUCCESS", outcome="SUCCESS")
        return self.event("ack", id=id, after=after)

    def fail(self, error, *, id="1f3c9a7e-0001", after=0, traceback=None):
        self.begin(id=id, after=after)
        self.event("store", id=id, after=after, state="FAILURE", error=error, traceback=traceback)
        self.event("finish", id=id, after=after, state="FAILURE", outcome="FAILURE", error=error)
        return self.event("ack", id=id, after=after)

    def retry(self, error, *, delay, number, id="1f3c9a7e-0001", after=0, task=charge):
        """Begin, publish the retry and end as RETRY."""
        self.begin(id=id, after=after)
        self.publish(task, 42, 999, id=id, after=after, retries=number, eta=at(after + delay) if delay else None)
        self.event("retry", id=id, after=after, state="RETRY", outcome="RETRY", error=error)
        return self.event("ack", id=id, after=after)

    @contextmanager
    def real_publishing(self, *, through_json=False):
        """What Celery would send in the block becomes part of the timeline, and is not sent."""

        def record(producer, name, message, *, queue=None, **_):
            headers, _properties, body, _sent_event = message
            args, kwargs, embed = json.loads(json.dumps(body)) if through_json else body
            self.publish(
                name, *args, id=headers["id"], kwargs=kwargs, group_id=headers["group"], embed=embed, headers=headers,
                queue=getattr(queue, "name", queue or "celery"),
            )  # fmt: skip

        before, _state._tls.current_app = _state._tls.current_app, app
        app.amqp.send_task_message = record
        try:
            yield
        finally:
            del app.amqp.send_task_message
            # Before Celery 5.7 a chain inside a chord asks the current app.
            _state._tls.current_app = before


def failure(function, *args, **kwargs):
    """The text of the AssertionError that this call raises."""
    try:
        function(*args, **kwargs)
    except AssertionError as error:
        return str(error)
    raise RuntimeError(f"{function} raised nothing")


def group_result(*ids):
    return app.GroupResult("group-1", [app.AsyncResult(task_id) for task_id in ids])
