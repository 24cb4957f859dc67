"""Celery's scheduler, ticked at the instants at which it would wake up, neither earlier nor later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule, solar

from ..errors import RunBudgetExceeded
from .service import is_plain

__all__ = ["KNOWS_WHEN", "Ticker", "is_simple", "offset_changes"]

#: Since Celery 5.7 a tick waits for the instant that the heap names, and the rest of a schedule is counted in UTC.
#: Before, each tick asks the entry on top, and across a change to or from summer time, what it says is an hour wrong.
KNOWS_WHEN = celery.VERSION >= (5, 7)
#: How long a beat that wants to be woken at once, and has nothing to do, is left alone.
BREATH = timedelta(milliseconds=10)
#: By how many microseconds an interval may be too long, where Celery counts it from seconds since 1970 in floats.
BLUR = 0.3
#: How many messages may be sent at one instant.
CROWD = 10_000
#: Longer than any change of a clock.
AROUND_A_CHANGE = 3 * 3600.0


class Ticker:
    """Ticks a scheduler, and knows when to do it next.

    Attributes:
        wake: When it wants to be woken.
        sent: How many entries it has sent; counted by whoever sends them.
    """

    def __init__(self, scheduler: Any, now: Callable[[], datetime], *, syncs: bool = True) -> None:
        """Ticked for the first time at once."""
        self.scheduler = scheduler
        self.wake = now()
        self.sent = 0
        self._now = now
        self._syncs = syncs
        self._idle = 0
        self._crowd = (self.wake, 0)
        self._slept = False

    def tick(self) -> bool:
        """Let it do one thing, or find that nothing is to be done now; whether it has sent anything.

        Raises:
            RunBudgetExceeded: It never ends.
        """
        if self._slept and self._syncs and self.scheduler.should_sync():
            self.scheduler._do_sync()
        self._slept = False
        while True:
            sent = self.sent
            interval = self.scheduler.tick()
            if self.sent != sent:
                self._count(self.sent - sent)
                self._idle, self.wake = 0, self._now()
                return True
            self._idle += 1
            if interval and interval > 0:
                self._sleep(timedelta(microseconds=ceil(interval * 1e6 - BLUR)))
                return False
            if self._idle > len(self.scheduler.schedule) + 1:
                self._sleep(BREATH)
                return False

    def _sleep(self, interval: timedelta) -> None:
        self._idle = 0
        self._slept = True
        whole = _whole_interval(self.scheduler, interval, self._now())
        self.wake = self._now() + max(whole, timedelta(microseconds=1))

    def _count(self, sent: int) -> None:
        at, before = self._crowd
        self._crowd = (self._now(), sent + (before if at == self._now() else 0))
        if self._crowd[1] > CROWD:
            raise RunBudgetExceeded(
                f"beat has sent {CROWD} messages, and no virtual time has passed: this never ends. To fix this, look "
                "for an entry that is due again at once: a schedule of no time at all, or an is_due() that returns 0."
            )


def is_simple(entry: Any) -> bool:
    """Whether nothing but the time decides when an entry is due."""
    return type(entry) is ScheduleEntry and type(entry.schedule) in {schedule, crontab, solar}


def offset_changes(before: datetime, after: datetime, zone: Any) -> bool:
    """Whether the clocks of a zone were set between two instants, once."""
    return before.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset()


def _whole_interval(scheduler: Any, interval: timedelta, now: datetime) -> timedelta:
    """How long nothing happens: Celery wakes up every five minutes all the same, lest it miss a change of its entries.

    Where these cannot change by themselves there is no need to, except where waking up makes a difference.
    """
    if hasattr(scheduler, "longest_sleep"):
        found: timedelta = scheduler.longest_sleep(interval, now)
        return found
    longest = float(scheduler.max_interval)
    heap = scheduler._heap
    if interval.total_seconds() < longest or not heap or not is_plain(scheduler):
        return interval
    if not all(is_simple(event[2]) for event in heap):
        return interval
    is_due, seconds = heap[0][2].is_due()
    if is_due or seconds <= longest:
        return interval
    if KNOWS_WHEN or not offset_changes(now, now + timedelta(seconds=seconds), scheduler.app.timezone):
        return timedelta(seconds=seconds)
    return interval * float(max(1, (seconds - AROUND_A_CHANGE) // longest))
