"""What the tests of ``harness.broker`` share."""

from __future__ import annotations

import pytest

#: Every mode whose workers are stepped and that has a broker.
with_broker = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


def faults(run_or_harness):
    """The notes of all faults, in order."""
    return [event.detail["note"] for event in run_or_harness.timeline if event.kind == "fault"]


def deliveries(run):
    """Of each delivery, whether it said that it was not the first."""
    return [event.detail["redelivered"] for event in run.timeline if event.kind == "deliver"]


def started(harness):
    """The first argument of each body that has one, in the order in which they started."""
    runs = [harness.run_of(event.id) for event in harness.timeline if event.kind == "start"]
    return [run.args[0] for run in runs if run.args]


def waiting(harness, queue="celery"):
    """The first argument of each message that waits."""
    return [message.args[0] for message in harness.broker.peek(queue)]
