"""What a worker takes ahead of its free pool processes, and what becomes of it."""

from __future__ import annotations

import time

from parity_app import app, task
from parity_scenario import in_order, outcome, scenario

#: How long a body waits for its own worker to answer: Celery's one second is short on a busy machine.
ANSWER = 20


@task
def nap(seconds):
    time.sleep(seconds)
    return seconds


@task(acks_late=True)
def late_nap(seconds):
    time.sleep(seconds)
    return seconds


@task
def note(name):
    return name


def taken_before_the_first_ended(harness, first, others):
    """Whether each was received while the first one ran."""
    (ended,) = [event.seq for event in harness.timeline if event.id == first.id and event.kind == "finish"]
    received = {event.id: event.seq for event in harness.timeline if event.kind == "receive"}
    return [received[other.id] < ended for other in others]


@scenario()
def messages_taken_ahead(harness):
    """A worker takes messages before it has a free process for them."""
    first, second = nap.delay(0.4), nap.delay(0)
    harness.settle()
    return taken_before_the_first_ended(harness, first, [second])


@scenario(worker_prefetch_multiplier=2)
def as_many_as_the_multiplier_says(harness):
    """One slot, a multiplier of two: what runs is acknowledged, and two more are taken."""
    first, *others = nap.delay(0.6), *(note.delay(number) for number in range(4))
    harness.settle()
    return taken_before_the_first_ended(harness, first, others), in_order(harness)


@scenario(worker_prefetch_multiplier=1)
def none_with_late_acknowledgement_and_a_multiplier_of_one(harness):
    """What runs is not acknowledged, and counts."""
    first, *others = late_nap.delay(0.6), *(note.delay(number) for number in range(2))
    harness.settle()
    return taken_before_the_first_ended(harness, first, others), in_order(harness)


@scenario()
def revoked_while_it_is_reserved(harness):
    """It is looked at again when it has a process."""
    first, second, third = nap.delay(0.4), revoke_next.delay("r-1"), note.apply_async(("r-1",), task_id="r-1")
    harness.settle()
    return outcome(first, second, third)


@task
def revoke_next(task_id):
    app.control.revoke(task_id, reply=True, limit=1, timeout=ANSWER)


@scenario()
def expired_while_it_is_reserved(harness):
    """So is its expiry."""
    first, second = nap.delay(0.6), note.apply_async(("late",), expires=0.3)
    harness.settle()
    return outcome(first, second)


@scenario(worker_prefetch_multiplier=1)
def priorities_of_what_is_taken(harness):
    """What is taken ahead no longer minds priorities."""
    first = nap.delay(0.5)
    others = [note.apply_async((name,), priority=priority) for name, priority in (("low", 9), ("high", 0))]
    harness.settle()
    return outcome(first, *others)


@scenario()
def reserved_as_remote_control_tells_it(harness):
    """inspect().reserved() has what waits, and active() what runs."""
    looked, waiting = look.delay(), note.delay("waiting")
    told = looked.get(timeout=10)
    harness.settle()
    return told, outcome(waiting)


@task
def look():
    time.sleep(0.4)
    (active,) = app.control.broadcast("active", reply=True, limit=1, timeout=ANSWER)
    (reserved,) = app.control.broadcast("reserved", reply=True, limit=1, timeout=ANSWER)
    return [[request["name"] for requests in each.values() for request in requests] for each in (active, reserved)]
