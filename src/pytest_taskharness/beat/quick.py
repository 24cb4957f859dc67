"""The same decisions as Celery's scheduler makes, in a fraction of the time.

A year of an entry that is due every minute is half a million fires.  For Celery's own schedules in its own scheduler
there is no need to read a clock, to compare all entries, or to ask a schedule three times, for each of them: the
schedule itself says when it is next due, and that is asked once.  The tests compare with Celery's own ticks.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celery.schedules import crontab, schedule

from ..clock.real import plain
from ..errors import RunBudgetExceeded
from .fires import Fires, passed_over
from .service import is_plain
from .ticking import AROUND_A_CHANGE, CROWD, KNOWS_WHEN, is_simple

__all__ = ["can_be_quick", "look_quickly"]

#: What decides; a test that replaces one of these on a class, or on an object, gets the plain way.
_DECIDING = ("is_due", "remaining_estimate", "remaining_delta", "now", "seconds")
_ORIGINAL = {
    (cls, name): found
    for cls in (schedule, crontab)
    for name in _DECIDING
    if (found := getattr(cls, name, None)) is not None
}


def can_be_quick(scheduler: Any) -> bool:
    """Whether nothing but the time decides, in ways that are known."""
    if not is_plain(scheduler) or not all(getattr(cls, name) is found for (cls, name), found in _ORIGINAL.items()):
        return False
    return all(_is_known(entry) for entry in scheduler.schedule.values())


def _is_known(entry: Any) -> bool:
    own = vars(entry.schedule) if entry.schedule is not None else {}
    return is_simple(entry) and entry.schedule.nowfun is None and not own.keys() & set(_DECIDING)


def look_quickly(scheduler: Any, fires: Fires, *, start: datetime, end: datetime) -> None:
    """Collect what the scheduler would send after ``start``, until ``end``."""
    _Course(scheduler, fires, start).run(plain(end))


class _Entry:
    """One entry on its way through time.

    Attributes:
        last: When it ran last, in the timezone of the app.
        is_sure: It is due at the very instant that the heap has for it.
    """

    __slots__ = ("following", "is_sure", "last", "name", "number", "schedule", "times")

    def __init__(self, entry: Any, number: int, now: Callable[[], datetime]) -> None:
        self.name = entry.name
        self.number = number
        self.schedule = copy.copy(entry.schedule)
        self.schedule.app, self.schedule.nowfun = entry.app, now
        self.last = entry.last_run_at
        self.is_sure = False
        self.times: list[datetime] = []
        self.following = _following(self)


def _following(entry: _Entry) -> Callable[[datetime], timedelta]:
    """What says how long after a fire the entry is due again, as its ``is_due()`` does when it is due."""
    if type(entry.schedule) is schedule and not entry.schedule.relative:
        every = timedelta(seconds=entry.schedule.seconds)
        return lambda now: every
    if type(entry.schedule) is crontab:
        return _Crontab(entry.schedule).following
    return lambda now: timedelta(seconds=entry.schedule.is_due(entry.last)[1])


class _Crontab:
    """What a crontab has answered is remembered: from one minute of a week on, it is as far to the next fire each time.

    So it is as long as every day of the year will do, and the clocks are not set on the way.
    """

    def __init__(self, schedule: crontab) -> None:
        every_day = schedule._orig_day_of_month == schedule._orig_month_of_year == "*"
        self._schedule = schedule
        self._is_weekly = every_day and (KNOWS_WHEN or schedule.utc_enabled)
        self._ways: dict[tuple[int, int, int], timedelta] = {}

    def following(self, now: datetime) -> timedelta:
        """``crontab.remaining_estimate(now)``, at that very instant."""
        if not self._is_weekly or now.second or now.microsecond or now.fold:
            return self._schedule.remaining_estimate(now)  # type: ignore[no-any-return]
        key = (now.weekday(), now.hour, now.minute)
        way = self._ways.get(key)
        if way is None:
            last, delta, _ = self._schedule.remaining_delta(now)
            way = self._ways[key] = last + delta - last
        if (now + way).utcoffset() != now.utcoffset():
            return self._schedule.remaining_estimate(now)  # type: ignore[no-any-return]
        return way


class _Course:
    """The heap of Celery's scheduler, and its ticks."""

    def __init__(self, scheduler: Any, fires: Fires, start: datetime) -> None:
        self._fires = fires
        self._zone = scheduler.app.timezone
        self._longest = float(scheduler.max_interval)
        self._can_be_sure = KNOWS_WHEN or bool(scheduler.app.conf.enable_utc)
        self._move(plain(start))
        self._crowd = 0
        # Celery leaves the order of a tie to chance; here it is that of the names.
        names = enumerate(sorted(scheduler.schedule))
        entries = [_Entry(scheduler.schedule[name], number, lambda: self._local) for number, name in names]
        self._heap = [self._first(entry) for entry in entries]
        heapq.heapify(self._heap)

    def _move(self, now: datetime) -> None:
        self._now = now
        self._local = now.astimezone(self._zone)
        self._crowd = 0

    def _first(self, entry: _Entry) -> tuple[datetime, int, _Entry]:
        is_due, seconds = entry.schedule.is_due(entry.last)
        return self._placed(entry, timedelta(0) if is_due else timedelta(seconds=seconds))

    def _placed(self, entry: _Entry, left: timedelta) -> tuple[datetime, int, _Entry]:
        at = self._now + left
        same = KNOWS_WHEN or at.astimezone(self._zone).utcoffset() == self._local.utcoffset()
        is_relative = type(entry.schedule) is schedule and entry.schedule.relative
        entry.is_sure = same and self._can_be_sure and not is_relative
        return at, entry.number, entry

    def run(self, end: datetime) -> None:
        """Let time pass."""
        while self._heap:
            at, _, entry = self._heap[0]
            if at > self._now and (entry.is_sure or KNOWS_WHEN):
                if at > end:
                    break
                self._move(at)
            if entry.is_sure:
                self._fire(entry)
            elif not self._try(entry, end):
                break
        for _, _, entry in self._heap:
            self._fires._fires[entry.name] = entry.times
            self._fires._ids[entry.name] = [None] * len(entry.times)

    def _try(self, entry: _Entry, end: datetime) -> bool:
        """Ask the entry itself, as a tick does; False where nothing more happens before the end."""
        is_due, seconds = entry.schedule.is_due(entry.last)
        if is_due:
            self._fire(entry)
        elif KNOWS_WHEN:
            heapq.heapreplace(self._heap, self._placed(entry, timedelta(seconds=seconds)))
        else:
            wake = self._now + timedelta(seconds=self._interval(seconds))
            if wake > end:
                return False
            self._move(wake)
        return True

    def _interval(self, seconds: float) -> float:
        """How long such a beat sleeps: never longer than it may, for it may be wrong about when the entry is due."""
        if seconds <= self._longest:
            return seconds
        return float(self._longest * max(1, (seconds - AROUND_A_CHANGE) // self._longest))

    def _fire(self, entry: _Entry) -> None:
        self._crowd += 1
        if self._crowd > CROWD:
            raise RunBudgetExceeded(
                f"beat would send {CROWD} messages at {self._local.isoformat()}, and no time would pass: this never "
                f"ends. One of them is entry {entry.name!r}."
            )
        if not entry.is_sure or self._heap[0][0] < self._now:
            self._look_back(entry)
        entry.times.append(self._now)
        following = entry.following(self._local)
        entry.last = self._local
        heapq.heapreplace(self._heap, self._placed(entry, max(following, timedelta(0))))

    def _look_back(self, entry: _Entry) -> None:
        """It may be late."""
        left = entry.schedule.remaining_estimate(entry.last)
        if left < timedelta(0):
            due = plain(self._now + left).astimezone(self._zone)
            self._fires._skip(entry.name, passed_over(entry.schedule, due, self._now))
