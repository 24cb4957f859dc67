"""A line now and then for whoever waits for a long exploration."""

from __future__ import annotations

from ..clock.real import Real
from .session import chosen
from .texts import counted

__all__ = ["Progress"]

#: Real seconds of silence.
QUIET_SECONDS = 1.0


class Progress:
    """Counts plans, and says so once a second."""

    def __init__(self, what: str) -> None:
        """``what`` is under way."""
        self._what = what
        self._began = self._told = Real.monotonic()
        self.count = 0

    def step(self) -> None:
        """One plan more has run."""
        self.count += 1
        now = Real.monotonic()
        if chosen.tell is not None and now - self._told >= QUIET_SECONDS:
            self._told = now
            chosen.tell(f"taskharness: {self._what}: {counted(self.count, 'plan')} so far, {now - self._began:.0f} s")
