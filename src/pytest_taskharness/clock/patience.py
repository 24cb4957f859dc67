"""Real seconds, told by an event loop whose own clock jumps when virtual time passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .real import Real

__all__ = ["Patience"]


class Patience:
    """Calls somebody, once, when so many real seconds have passed."""

    def __init__(self, seconds: float, on_end: Callable[[], object]) -> None:
        """They begin with :meth:`renew`; to be made where an event loop runs."""
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._on_end = on_end
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def renew(self) -> None:
        """From now on."""
        self._until = Real.monotonic() + self._seconds
        if self._timer is None:
            self._look()

    def _look(self) -> None:
        left = self._until - Real.monotonic()
        if left > 0:  # the loop's timer goes off early where virtual time passes
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._timer = None
            self._on_end()

    def end(self) -> None:
        """Never mind."""
        if self._timer is not None:
            self._timer.cancel()
