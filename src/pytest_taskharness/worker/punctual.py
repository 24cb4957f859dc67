"""A scheduler of Celery's beat that wakes at the very instant: in a worker process of ours as in the test's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..clock.real import EPOCH, plain

__all__ = ["due_at", "make_punctual"]


def make_punctual(scheduler: Any) -> None:
    """Celery wakes beat 10 ms early, and lets it run in circles until the time has come; here it would never come."""
    when = scheduler._when

    def exactly_when(*args: Any, **kwargs: Any) -> float:
        return round(float(when(*args, **kwargs)), 6)

    scheduler.adjust = lambda seconds, drift=0.0: seconds
    scheduler._when = exactly_when


def due_at(entry: Any, now: datetime) -> datetime:
    """When an entry that is sent now should have been sent: beat may be late."""
    if not entry.last_run_at:
        return now
    try:
        left = entry.schedule.remaining_estimate(entry.last_run_at)
    except Exception:  # noqa: BLE001 - a user's schedule need not have one
        return now
    return min(now, max(plain(plain(now) + left), _begins(entry) or EPOCH))


def _begins(entry: Any) -> datetime | None:
    """django-celery-beat lets an entry with a ``start_time`` have run thirty years ago, so that it is due then."""
    return getattr(getattr(entry, "model", None), "start_time", None)
