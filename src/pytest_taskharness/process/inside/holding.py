"""In a worker whose clock the test moves: its timer, by two clocks.

What Celery schedules for an instant (an eta, a retry, a token of a rate limit) waits for the wall clock, which the test
moves.  What it schedules for itself goes by the monotonic clock, which is real.  A time limit goes by both: the body
may sleep, or work.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from celery.worker import components
from kombu.asynchronous.timer import Timer, scheduled
from kombu.transport import redis
from kombu.utils import limits

from ..between.faketime import microseconds, whole_microseconds

__all__ = ["HoldingTimer", "hold_by_the_clock"]

#: What Celery calls when a token of a rate limit is there, and when a time limit has passed.
_BY_THE_WALL = frozenset({"_schedule_bucket_request"})
_BY_BOTH = frozenset({"_on_soft_timeout", "_on_hard_timeout"})


class HoldingTimer(Timer):  # type: ignore[misc]
    """kombu's timer for an event loop, which holds some entries back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is held."""
        super().__init__(*args, **kwargs)
        self._held: list[tuple[int, int, int, Any]] = []
        self._numbers = count()

    def call_at(self, eta: Any, fun: Any, args: Any = (), kwargs: Any = None, priority: int = 0) -> Any:
        """At an instant; that of a request is known to the microsecond."""
        moment = getattr(args[0], "eta", None) if args else None
        if moment is None:
            return super().call_at(eta, fun, args, kwargs, priority)
        # Celery has rounded: the request itself has not.
        return self._hold(self.Entry(fun, args, kwargs), round(moment.timestamp() * 1e6), priority)

    def call_after(self, secs: float, fun: Any, args: Any = (), kwargs: Any = None, priority: int = 0) -> Any:
        """After so many seconds."""
        name = getattr(fun, "__name__", "")
        if name not in _BY_THE_WALL | _BY_BOTH:
            return super().call_after(secs, fun, args, kwargs, priority)
        if name in _BY_THE_WALL:
            # Never too early, and never at once: there would be no token yet, again and again.
            return self._hold(self.Entry(fun, args, kwargs), _now() + whole_microseconds(secs), priority)
        entry = self._hold(self.Entry(_once(fun), args, kwargs), _now() + round(secs * 1e6), priority)
        return self.enter_after(secs, entry, priority)

    def enter_at_wall(self, entry: Any, moment: datetime) -> Any:
        """At an instant of the wall clock."""
        return self._hold(entry, microseconds(moment), 0)

    @property
    def queue(self) -> list[Any]:
        """All live entries, held ones included: what ``inspect scheduled`` reads."""
        held = [scheduled(at / 1e6, priority, entry) for at, _, priority, entry in sorted(self._held)]
        return [*super().queue, *(item for item in held if not item.entry.canceled)]

    def _hold(self, entry: Any, at: int, priority: int) -> Any:
        heapq.heappush(self._held, (at, next(self._numbers), priority, entry))
        self.release()
        return entry

    def release(self) -> None:
        """The clock has moved: what is due is no longer held."""
        now = _now()
        while self._held and self._held[0][0] <= now:
            *_, entry = heapq.heappop(self._held)
            self.enter_at(entry)


def hold_by_the_clock() -> None:
    """Have Celery's worker use it, and count rate limits by the same clock."""
    began = time.time_ns()
    components._Timer = HoldingTimer
    limits.monotonic = lambda: (time.time_ns() - began) / 1e9
    # The score of a delivery, and what is overdue: the nearest float to an instant of whole microseconds.
    redis.time = lambda: _now() / 1e6


def _now() -> int:
    return time.time_ns() // 1000


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    called: list[bool] = []

    def call(*args: Any) -> Any:
        if not called:
            called.append(True)
            return function(*args)
        return None

    return call
