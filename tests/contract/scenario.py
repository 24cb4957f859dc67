"""What the contract tests share beside their fixtures."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

START = datetime(2030, 1, 1, tzinfo=timezone.utc)

memory_only = pytest.mark.parametrize("mode", ["memory"], indirect=True)
#: The memory broker follows RabbitMQ where the app's broker_url is ``amqp://``.
by_the_rules_of_rabbitmq = pytest.mark.parametrize("mode", ["memory", "rabbitmq"], indirect=True)
eager_only = pytest.mark.parametrize("mode", ["eager"], indirect=True)
both_clocks = pytest.mark.parametrize("clock_library", ["freezegun", "time-machine"], indirect=True)


def after(**delta):
    """The virtual instant that long after the harness has opened."""
    return START + timedelta(**delta)


def passed(harness):
    """Virtual seconds since the harness opened."""
    return (harness.clock.now - START).total_seconds()


def kinds(run):
    """The kinds of a run's events, in order, without the clock's."""
    return [event.kind for event in run.timeline if event.kind != "clock jump"]


def starts(run):
    """When each attempt started, in virtual seconds since the harness opened."""
    return [(attempt.started_at - START).total_seconds() for attempt in run.attempts]
