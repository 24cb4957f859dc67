"""What the tests of the modes on Redis share."""

from __future__ import annotations

import pytest
from scenario import START

#: The memory broker follows Redis where the app's broker_url does.
by_the_rules_of_redis = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis"], indirect=True)
on_redis = pytest.mark.parametrize("mode", ["fakeredis", "redis"], indirect=True)

HOUR = 3600


def happened(run, *kinds):
    """What happened to a run, and when, in virtual seconds: ``[("deliver", 0), ("restore", 3600), …]``."""
    return [
        (event.kind, (event.at - START).total_seconds()) for event in run.timeline if not kinds or event.kind in kinds
    ]


def redelivered(run):
    """Of each delivery, whether it said that it was not the first."""
    return [event.detail["redelivered"] for event in run.timeline if event.kind == "deliver"]


def holder(run):
    """The worker that holds a message which waits for its eta."""
    return next(event.worker for event in run.timeline if event.kind == "receive")
