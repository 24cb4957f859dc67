"""A run that is brought to a moment, and revoked there."""

from __future__ import annotations

import time

from parity_app import app, task
from parity_scenario import nobody_consumes, outcome, scenario

from pytest_taskharness.errors import MomentMissed


@task
def charge(seconds=0):
    time.sleep(seconds)
    return "charged"


@task(acks_late=True)
def charge_late(seconds=0):
    time.sleep(seconds)
    return "charged"


def revoked(harness, result, **how):
    app.control.revoke(result.id, reply=True, limit=1, **how)
    harness.settle()
    return outcome(result)


@scenario()
def revoked_while_it_is_queued(harness):
    """Nothing has taken it yet."""
    with nobody_consumes("unread"):
        result = charge.apply_async(queue="unread")
        state = harness.bring_to(result, "queued").state
        app.control.revoke(result.id, reply=True, limit=1)
    harness.settle()
    return state, outcome(result)


@scenario()
def revoked_while_it_is_held(harness):
    """A worker has it, and waits for its eta."""
    result = charge.apply_async(countdown=0.8)
    run = harness.bring_to(result, "held_for_eta")
    return run.states, revoked(harness, result)


@scenario()
def terminated_while_it_runs(harness):
    """Its process is killed."""
    result = charge.delay(3)
    run = harness.bring_to(result, "running")
    return run.states, revoked(harness, result, terminate=True)


@scenario()
def terminated_late_while_it_runs(harness):
    """A late acknowledgement is no reason to run it again."""
    result = charge_late.delay(3)
    harness.bring_to(result, "running")
    return revoked(harness, result, terminate=True)


@scenario()
def revoked_while_it_runs(harness):
    """Without terminate, it goes on."""
    result = charge.delay(0.4)
    harness.bring_to(result, "running")
    return revoked(harness, result)


@scenario()
def active_while_it_runs(harness):
    """inspect().active() has it, with its arguments."""
    result = charge.delay(0.4)
    harness.bring_to(result, "running")
    (answer,) = app.control.broadcast("active", reply=True, limit=1)
    told = [(request["name"], request["args"]) for requests in answer.values() for request in requests]
    harness.settle()
    return told, outcome(result)


@scenario()
def never_held(harness):
    """Without an eta it does not come to that moment."""
    result = charge.delay()
    try:
        harness.bring_to(result, "held_for_eta")
    except MomentMissed as error:
        return str(error).splitlines()[-1], outcome(result)
    return "held"
