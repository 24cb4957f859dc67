"""Beat, stepped in the test's process or in a process of a worker's own (``celery worker -B``)."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

from celery.beat import BeatLazyFunc
from celery.schedules import crontab, schedule
from parity_app import add, app, task
from parity_scenario import scenario as any_scenario

from pytest_taskharness.process.between.faketime import find_library

HOUR = timedelta(hours=1)


def scenario(**entries):
    """With these entries; real workers need a virtual clock, so that hours need not pass."""
    beat_schedule = {name: {"task": "beat.strike", **entry} for name, entry in entries.items()}
    return any_scenario(beat_schedule=beat_schedule) if find_library() else lambda play: play


@task
def strike(*args, **kwargs):
    return [list(args), kwargs]


@contextmanager
def beating(harness):
    """The beat of this mode: ``stop()`` and ``resume()`` are those of its process."""
    if harness.mode == "redis+process":
        worker = harness.worker("beating", arguments=["-B"])
        worker.stop = worker.pause
        yield worker
    else:
        with harness.beat.start() as beat:
            yield beat


def fires(harness):
    """Which entry was sent when, and how late, in seconds since the start; at the same instant by name."""
    found = [event for event in harness.timeline if event.kind == "beat fire"]
    start = harness.timeline.start
    told = [
        ((event.at - start).total_seconds(), event.detail["entry"], (event.at - event.detail["due"]).total_seconds())
        for event in found
    ]
    return sorted(told)


@scenario(often={"schedule": 600.0, "args": (1,)}, rarely={"schedule": timedelta(minutes=17), "kwargs": {"x": 2}})
def intervals(harness):
    """Entries with intervals are sent first after one interval, and then regularly (never two at once)."""
    with beating(harness):
        harness.clock.advance(hours=1)
    return fires(harness)


@scenario(cron={"schedule": crontab(minute="*/10")}, at={"schedule": crontab(minute="5,35")})
def crontabs(harness):
    """A crontab is sent at the very beginning of its minutes."""
    hour = harness.clock.now.replace(minute=0, second=0, microsecond=0)
    harness.clock.advance_to(hour + timedelta(hours=1, minutes=1))  # the same minutes, in the same order, in each play
    with beating(harness):
        harness.clock.advance(hours=1)
    at = [(event.at.minute, event.at.second, event.at.microsecond) for event in harness.timeline if _is_fire(event)]
    return sorted(at)


def _is_fire(event):
    return event.kind == "beat fire"


@scenario(whole={"schedule": schedule(HOUR, relative=True)})
def a_relative_schedule(harness):
    """With relative=True an interval ends on its own whole unit."""
    with beating(harness):
        harness.clock.advance(hours=3)
    return len(fires(harness)), {(event.at.minute, event.at.second) for event in harness.timeline if _is_fire(event)}


@scenario(slow={"schedule": 600.0, "options": {"queue": "slow", "priority": 3, "expires": 30, "countdown": 5}})
def options(harness):
    """The options of an entry are those of its messages."""
    with beating(harness):
        harness.clock.advance(minutes=11)
    [message] = harness.outbox
    return fires(harness), message.queue, message.options.get("priority"), message.options.get("expires") is not None


@scenario(lazy={"schedule": 600.0, "args": (BeatLazyFunc(len, "four"),)})
def lazy_arguments(harness):
    """A BeatLazyFunc is called when the entry is sent."""
    with beating(harness):
        harness.clock.advance(minutes=11)
    return [message.args for message in harness.outbox]


@task(bind=True)
def tell_headers(self):
    return self.request.headers, self.request.parent_id, self.request.root_id == self.request.id


@scenario(told={"task": "beat.tell_headers", "schedule": 600.0})
def the_headers_of_its_messages(harness):
    """What a body sees of beat."""
    with beating(harness):
        harness.clock.advance(minutes=11)
    [run] = harness.runs()
    return run.result


@scenario(often={"schedule": 600.0}, rarely={"schedule": timedelta(minutes=25), "args": (1,)})
def downtime(harness):
    """A beat that was down sends once what was due meanwhile, however often, and goes on regularly."""
    with beating(harness) as beat:
        harness.clock.advance(minutes=10)
        beat.stop()
        harness.clock.advance(hours=2)
        beat.resume()
        harness.clock.advance(minutes=10)
    return fires(harness)


@scenario(often={"schedule": 60.0, "args": (1,)})
def it_goes_on_beside_work_that_waits(harness):
    """Entries are sent on the way to what is held; beat alone is no work that is left to do."""
    with beating(harness):
        result = add.apply_async((1, 2), countdown=150)
        harness.settle()
        return fires(harness), result.state, len(app.conf.beat_schedule)
