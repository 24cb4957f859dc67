"""Celery's worker timer on the virtual clock: no thread, no tick; somebody asks what is due."""

from __future__ import annotations

import heapq
import time as clocks  # read when it is asked: virtual while a harness is open
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from kombu.asynchronous.timer import Timer as KombuTimer
from kombu.asynchronous.timer import scheduled

from .real import plain
from .virtual import VirtualTime

__all__ = ["Due", "SteppedTimer"]


@dataclass(order=True)
class Due:
    """An entry and the instant at which it is due; ties run first in, first out."""

    at: datetime
    seq: int
    entry: Any = field(compare=False)
    #: What ``inspect scheduled`` shows; it decides nothing, in Celery neither.
    priority: int = field(default=0, compare=False)

    @property
    def repeats(self) -> bool:
        """Whether it comes again and again, and nobody waits for it."""
        fun = getattr(self.entry, "fun", None)
        return isinstance(fun, _Repeated) and not fun.is_awaited

    def was_in_vain(self) -> None:
        """It was called, and nothing came of it: what a strategy had begun is done."""
        if isinstance(self.entry.fun, _Repeated):
            self.entry.fun.is_awaited = False


@dataclass
class _Repeated:
    """A function, what is done each time that it was called, and whether it was asked for by a message."""

    fun: Callable[..., Any]
    again: Callable[[], object]
    is_awaited: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.fun(*args, **kwargs)
        finally:
            self.again()


class SteppedTimer(KombuTimer):  # type: ignore[misc]
    """A drop-in for Celery's ``worker_timer`` seam.

    kombu's timer reads ``monotonic`` through default arguments, so no patch can reach it, and breaks ties by object
    address.  This one keeps instants of the virtual clock, and takes an eta from the request itself, exact to the
    microsecond.
    """

    def __init__(self, *args: Any, time: VirtualTime, **kwargs: Any) -> None:
        """Be made by Celery's Timer bootstep."""
        kwargs.pop("on_tick", None)
        super().__init__(*args, **kwargs)
        self._time = time
        self._counter = 0
        #: The worker's boot steps are done: what comes later is asked for by messages.
        self.is_booted = False
        self.entries: list[Due] = []

    def call_at(
        self, eta: Any, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Any:  # fmt: skip
        """Schedule ``fun``; the eta of a request that is held wins over the float that Celery made of it."""
        request_eta = getattr(args[0], "eta", None) if args else None
        return self.enter_at(self.Entry(fun, args, kwargs), request_eta or eta, priority)

    def enter_at(self, entry: Any, eta: Any = None, priority: int = 0, time: Any = None) -> Any:
        """Schedule an entry at a datetime, or at an instant of the monotonic clock as everybody reads it."""
        if eta is None:
            return self._push(entry, self._time.now, priority)
        if isinstance(eta, datetime):
            return self._push(entry, plain(eta), priority)
        return self.enter_after(eta - clocks.monotonic(), entry, priority)

    def enter_after(self, secs: float, entry: Any, priority: int = 0, time: Any = None) -> Any:
        """Schedule an entry after so many virtual seconds, rounded up to a microsecond so that it never is early."""
        # What float arithmetic leaves behind (a nanosecond) must not cost a microsecond, but time has to pass: a
        # bucket of tokens that lacks a nanosecond's worth would ask again for ever.
        microseconds = max(int(secs > 0), ceil(float(secs) * 1_000_000 - 1e-3))
        return self._push(entry, self._time.now + timedelta(microseconds=microseconds), priority)

    def call_repeatedly(
        self, secs: float, fun: Callable[..., Any], args: Any = (), kwargs: Any = None, priority: int = 0
    ) -> Any:  # fmt: skip
        """Schedule ``fun`` again and again, until its entry is cancelled."""

        def again() -> None:
            if not entry.canceled:
                self.enter_after(secs, entry, priority)

        entry = self.Entry(_Repeated(fun, again, self.is_booted), args, kwargs)
        return self.enter_after(secs, entry, priority)

    def _push(self, entry: Any, at: datetime, priority: int) -> Any:
        self._counter += 1
        heapq.heappush(self.entries, Due(at, self._counter, entry, priority))
        return entry

    def peek(self) -> Due | None:
        """The next live entry, due or not."""
        while self.entries and self.entries[0].entry.canceled:
            heapq.heappop(self.entries)
        return self.entries[0] if self.entries else None

    def pop(self) -> Due:
        """Take the next entry off."""
        return heapq.heappop(self.entries)

    def pending(self) -> list[Due]:
        """All live entries, soonest first."""
        return sorted(due for due in self.entries if not due.entry.canceled)

    @property
    def only_repeats(self) -> bool:
        """Whether nothing else will come; a heap's first entry says nothing of the others."""
        return all(due.repeats or due.entry.canceled for due in self.entries)

    @property
    def queue(self) -> list[Any]:
        """All live entries as kombu shows them: what ``inspect scheduled`` reads."""
        return [scheduled(due.at.timestamp(), due.priority, due.entry) for due in self.pending()]

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()

    def __len__(self) -> int:
        """How many entries there are, cancelled ones included."""
        return len(self.entries)
