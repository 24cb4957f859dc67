"""The real clock, in the shape in which the rooms below ask for a clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ...clock.real import EPOCH, Real

__all__ = ["WallTime"]


class WallTime:
    """Real time.  In a worker under libfaketime it is what libfaketime says."""

    def __init__(self) -> None:
        """Begin now."""
        self.start = self.now
        #: It never jumps: nobody calls this.
        self.on_move: Callable[[datetime, datetime], object] = lambda before, after: None

    @property
    def now(self) -> datetime:
        """The current instant (aware, UTC), whatever a freezer says."""
        return EPOCH + timedelta(microseconds=Real.time_ns() // 1000)
