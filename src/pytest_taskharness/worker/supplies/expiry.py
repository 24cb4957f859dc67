"""When the values of a result backend expire, by the virtual clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

__all__ = ["Expiry"]


class Expiry:
    """The keys of a backend that do not live for ever.

    A server would count real seconds: keys would stay when virtual days have passed, and go while no time has.

    Attributes:
        expired: When each key that is gone has expired.
    """

    def __init__(self, now: Callable[[], datetime], delete: Callable[[list[Any]], object]) -> None:
        """Know of no key yet.

        Args:
            now: The clock.
            delete: Called with the keys that have expired.
        """
        self._now = now
        self._delete = delete
        self._due: dict[Any, datetime] = {}
        self._soonest: list[tuple[datetime, int, Any]] = []
        self._numbers = count()
        self.expired: dict[Any, datetime] = {}

    def image(self) -> Any:
        """All that is known: for :meth:`restore_image`, in another process."""
        return self._due, self._soonest, self.expired

    def restore_image(self, image: Any) -> None:
        """Know that instead."""
        self._due, self._soonest, self.expired = image
        self._numbers = count(len(self._soonest))

    def within(self, key: Any, seconds: Any) -> None:
        """A key expires after so many seconds, from now; where that is nothing, never."""
        self.never(key)
        if seconds:
            self._due[key] = due = self._now() + timedelta(seconds=float(seconds))
            heapq.heappush(self._soonest, (due, next(self._numbers), key))

    def never(self, *keys: Any) -> None:
        """These keys are written anew, or deleted."""
        for key in keys:
            self._due.pop(key, None)
            self.expired.pop(key, None)

    def sweep(self) -> None:
        """Delete what has expired by now."""
        if not self._soonest or self._soonest[0][0] > (now := self._now()):
            return
        gone = []
        while self._soonest and self._soonest[0][0] <= now:
            due, _, key = heapq.heappop(self._soonest)
            if self._due.get(key) == due:
                del self._due[key]
                self.expired[key] = due
                gone.append(key)
        if gone:
            self._delete(gone)

    def translated(self, command: Sequence[Any]) -> Sequence[Any]:
        """A Redis command without its seconds, which are counted here."""
        self.sweep()
        name, *rest = command
        if name == "SETEX":
            key, seconds, value = rest
            self.within(key, seconds)
            return ("SET", key, value)
        if name == "SET":
            return self._translated_set(rest)
        if name == "EXPIRE":
            self.within(*rest[:2])
            return ("EXISTS", rest[0])
        if name == "DEL":
            self.never(*rest)
        return command

    def _translated_set(self, rest: list[Any]) -> Sequence[Any]:
        key, value, *options = rest
        seconds = None
        if "EX" in options:
            at = options.index("EX")
            seconds = options[at + 1]
            del options[at : at + 2]
        self.within(key, seconds)
        return ("SET", key, value, *options)
