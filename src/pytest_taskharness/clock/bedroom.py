"""The coroutines of one event loop that sleep: time passes when no coroutine has anything else to do."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

__all__ = ["bedroom_of"]


@dataclass(order=True)
class _Lying:
    until: float
    seq: int
    now: Callable[[], float] = field(compare=False)
    let_pass: Callable[[float], None] = field(compare=False)
    future: asyncio.Future[None] = field(compare=False)


class _Bedroom:
    """Sleepers wake in order of time, so that two sleeps overlap."""

    #: Turns of the loop in which nobody else had anything to do, before time passes.
    QUIET_TURNS = 2
    #: The same for a loop that does not show its queue (uvloop).
    BLIND_TURNS = 10

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lying: list[_Lying] = []
        self._counter = 0
        self._ticking = False

    async def lie_down(self, delay: float, now: Callable[[], float], let_pass: Callable[[float], None]) -> None:
        """Sleep for so many of the seconds that ``now()`` tells; ``let_pass(until)`` makes them pass."""
        self._counter += 1
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._lying, _Lying(now() + delay, self._counter, now, let_pass, future))
        if not self._ticking:
            self._ticking = True
            self._loop.call_soon(self._tick, 0)
        await future

    def _tick(self, quiet: int) -> None:
        while self._lying and self._lying[0].future.done():
            heapq.heappop(self._lying)
        if not self._lying:
            self._ticking = False
        elif self._is_quiet(quiet):
            self._let_pass(self._lying[0])
            self._loop.call_soon(self._tick, 0)
        else:
            self._loop.call_soon(self._tick, 0 if getattr(self._loop, "_ready", None) else quiet + 1)

    def _is_quiet(self, quiet: int) -> bool:
        queue = getattr(self._loop, "_ready", None)
        return quiet >= self.BLIND_TURNS if queue is None else not queue and quiet >= self.QUIET_TURNS

    def _let_pass(self, lying: _Lying) -> None:
        """Let time pass until somebody wakes, or until a timer of the loop (``asyncio.timeout``) strikes before."""
        strikes = lying.now() + self._seconds_to_next_timer()
        try:
            lying.let_pass(min(lying.until, strikes))
        except BaseException as error:  # noqa: BLE001 - a hard time limit too: the coroutine that slept gets it
            lying.future.set_exception(error)
        else:
            if lying.until <= strikes and not lying.future.done():
                lying.future.set_result(None)

    def _seconds_to_next_timer(self) -> float:
        timers = [timer.when() for timer in getattr(self._loop, "_scheduled", ()) if not timer.cancelled()]
        return max(0.0, min(timers) - self._loop.time()) if timers else float("inf")


_bedrooms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Bedroom] = WeakKeyDictionary()


def bedroom_of(loop: asyncio.AbstractEventLoop) -> _Bedroom:
    """The one bedroom of a loop."""
    if loop not in _bedrooms:
        _bedrooms[loop] = _Bedroom(loop)
    return _bedrooms[loop]
