"""Where a stepped worker is known to be unlike a real one: each is a row of ``differences.py``."""

from __future__ import annotations

import time

from celery.exceptions import SoftTimeLimitExceeded
from kombu import Queue
from kombu.common import Broadcast
from parity_app import app, task
from parity_scenario import outcome, scenario

runs_in_this_process = 0


@scenario(worker_concurrency=2)
def two_bodies_at_once(harness):
    """A body that sleeps does not hold up another one."""
    sleeper, other = nap.delay(0.6), nap.delay(0)
    (_, sleeper_ended), (other_started, _) = sleeper.get(timeout=10), other.get(timeout=10)
    return "at once" if other_started < sleeper_ended else "one after the other"


@task
def nap(seconds):
    started = app.now()
    time.sleep(seconds)
    return [started.isoformat(), app.now().isoformat()]


@scenario(task_queues=[Queue("celery"), Broadcast("everybody", queue="bcast.everybody")])
def a_broadcast_that_nobody_has_declared(harness):
    """On Redis, a process that only publishes does not know that the exchange is a fanout; Celery declares nothing."""
    hear.apply_async(queue="everybody")
    return len(harness.settle().runs)


@task
def hear():
    """Is called wherever it is heard."""


@scenario()
def globals_of_a_module(harness):
    """What a body changes in its module is not seen by the test."""
    before = runs_in_this_process
    count_up.delay().get(timeout=10)
    return runs_in_this_process - before


@task
def count_up():
    global runs_in_this_process  # noqa: PLW0603 - that is the point
    runs_in_this_process += 1


@scenario()
def a_limit_on_a_body_that_computes(harness):
    """A limit strikes a body that computes, too."""
    return compute.delay(1.2).get(timeout=10)


@task(soft_time_limit=0.4)
def compute(seconds):
    """Uses its seconds up; the clock of the processor is nobody's to move."""
    end = time.process_time() + seconds
    try:
        while time.process_time() < end:
            pass
    except SoftTimeLimitExceeded:
        return "struck"
    return "computed"


@scenario(worker_concurrency=2)
def terminated_while_it_runs(harness):
    """revoke(terminate=True) ends a body that runs."""
    victim = sleep.delay(5)
    terminate.delay(victim.id)
    harness.settle()
    return outcome(victim)


@task
def sleep(seconds):
    time.sleep(seconds)


@task
def terminate(task_id):
    app.control.revoke(task_id, terminate=True)
