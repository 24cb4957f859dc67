"""What a beat would do: nothing is sent, the harness's clock stays, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ..clock.freezer import Freezer
from ..errors import hide_frames
from ..worker.punctual import due_at
from .fires import Fires, passed_over
from .quick import can_be_quick, look_quickly
from .ticking import Ticker

__all__ = ["ask", "asking_at", "look_plainly"]

__tracebackhide__ = hide_frames


@contextmanager
def asking_at(moment: datetime) -> Iterator[Freezer]:
    """While entered, the process's clock stands at this moment, whatever time it is in the harness."""
    clock = Freezer(moment)
    try:
        yield clock
    finally:
        clock.close()


def ask(scheduler: Any, fires: Fires, *, clock: Freezer, end: datetime) -> None:
    """Collect what a scheduler that was made now would send from now on, until ``end``.

    Raises:
        RunBudgetExceeded: At one instant it never ends.
    """
    if can_be_quick(scheduler):
        look_quickly(scheduler, fires, start=clock.now(), end=end)
    else:
        look_plainly(scheduler, fires, clock=clock, end=end)


def look_plainly(scheduler: Any, fires: Fires, *, clock: Freezer, end: datetime) -> None:
    """Celery's own ticks, one after another."""
    ticker = Ticker(scheduler, clock.now, syncs=False)
    send = scheduler.apply_async
    scheduler.apply_async = _Noted(scheduler, ticker, fires, clock=clock).send
    scheduler.__dict__.setdefault("producer", None)  # Celery would connect to the broker to have one
    try:
        _tick_until(end, ticker, clock)
    finally:
        scheduler.apply_async = send


def _tick_until(end: datetime, ticker: Ticker, clock: Freezer) -> None:
    while ticker.wake <= end:
        now = clock.now()
        if ticker.wake > now:
            clock.shift(ticker.wake - now)
        ticker.tick()


class _Noted:
    """In the place of ``Scheduler.apply_async``: notes who would have been sent."""

    def __init__(self, scheduler: Any, ticker: Ticker, fires: Fires, *, clock: Freezer) -> None:
        """By the clock of the question."""
        self._scheduler = scheduler
        self._ticker = ticker
        self._fires = fires
        self._clock = clock

    def send(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> None:
        """Send nothing; an entry that was not moved on before it is sent is moved on here, as by Celery."""
        now = self._clock.now()
        self._ticker.sent += 1
        self._fires._add(entry.name, now)
        due = due_at(entry, now)
        if due < now:
            self._fires._skip(entry.name, passed_over(entry.schedule, due.astimezone(self._fires.zone), now))
        if advance:
            self._scheduler.reserve(entry)
