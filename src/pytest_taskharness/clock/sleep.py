"""``time.sleep`` and ``asyncio.sleep`` while a harness is open: virtual time passes instead of real time.

The two functions below are put in the place of the real ones, also where a module did ``from time import sleep``.
They look for the innermost open harness at each call, so a reference that outlives the harness is harmless: it
sleeps for real.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from .real import Real

__all__ = ["Sleeper", "sleep_virtually"]

#: Who waits for something real: child processes, threads, sockets, browsers, other test runners.
REAL_WAITERS = frozenset({
    "subprocess", "threading", "multiprocessing", "concurrent", "socketserver", "selenium", "playwright", "psycopg",
    "xdist", "execnet", "_pytest", "pluggy", "py",
})  # fmt: skip


@dataclass
class Sleeper:
    """What an open harness does when somebody sleeps.

    Attributes:
        now: Virtual seconds, monotonic.
        sleep: Let so many virtual seconds pass.
        applies: Whether the calling thread lives in virtual time.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    applies: Callable[[], bool]


_open: list[Sleeper] = []
_real_asyncio_sleep = asyncio.sleep


def _sleep(seconds: float) -> None:
    """``time.sleep`` while a harness is open."""
    sleeper = _current(sys._getframe(1).f_globals.get("__name__", ""))
    if sleeper is None:
        Real.sleep(seconds)
    elif seconds < 0:
        raise ValueError("sleep length must be non-negative")
    else:
        sleeper.sleep(seconds)


async def _asyncio_sleep(delay: float, result: Any = None) -> Any:
    """``asyncio.sleep`` while a harness is open; sleeping for nothing only gives others a turn, as ever."""
    sleeper = _current("")
    if sleeper is None or delay <= 0:
        return await _real_asyncio_sleep(delay, result)
    await _bedroom(asyncio.get_running_loop()).lie_down(sleeper, delay)
    return result


def _current(caller: str) -> Sleeper | None:
    if not _open or caller.partition(".")[0] in REAL_WAITERS or not _open[-1].applies():
        return None
    return _open[-1]


# -- asyncio: time passes when no coroutine has anything else to do


@dataclass(order=True)
class _Lying:
    until: float
    seq: int
    sleeper: Sleeper = field(compare=False)
    future: asyncio.Future[None] = field(compare=False)


class _Bedroom:
    """The coroutines of one event loop that sleep: they wake in order of time, so two sleeps overlap."""

    #: Turns of the loop in which nobody else had anything to do, before time passes.
    QUIET_TURNS = 2
    #: The same for a loop that does not show its queue (uvloop).
    BLIND_TURNS = 10

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lying: list[_Lying] = []
        self._counter = 0
        self._ticking = False

    async def lie_down(self, sleeper: Sleeper, delay: float) -> None:
        self._counter += 1
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._lying, _Lying(sleeper.now() + delay, self._counter, sleeper, future))
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
            self._wake(heapq.heappop(self._lying))
            self._loop.call_soon(self._tick, 0)
        else:
            self._loop.call_soon(self._tick, 0 if getattr(self._loop, "_ready", None) else quiet + 1)

    def _is_quiet(self, quiet: int) -> bool:
        queue = getattr(self._loop, "_ready", None)
        return quiet >= self.BLIND_TURNS if queue is None else not queue and quiet >= self.QUIET_TURNS

    def _wake(self, lying: _Lying) -> None:
        try:
            if lying.sleeper in _open:
                lying.sleeper.sleep(max(0.0, lying.until - lying.sleeper.now()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the coroutine that slept gets it
            lying.future.set_exception(error)
        else:
            lying.future.set_result(None)


_bedrooms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Bedroom] = WeakKeyDictionary()


def _bedroom(loop: asyncio.AbstractEventLoop) -> _Bedroom:
    if loop not in _bedrooms:
        _bedrooms[loop] = _Bedroom(loop)
    return _bedrooms[loop]


# -- putting them in place


class _Places:
    """Where the real functions are referred to.

    Looking into every module is most of what opening a harness would cost: they are looked through again only when
    one was imported since, and a module only when it has changed in size.
    """

    def __init__(self, replacements: dict[Any, Any]) -> None:
        self._replacements = {id(real): virtual for real, virtual in replacements.items()}
        self._reals = list(replacements)
        self._latest: tuple[int, str] | None = None
        self._read: dict[str, tuple[int, int]] = {}
        self._found: dict[tuple[str, str], tuple[dict[str, Any], Any]] = {}

    def replace(self) -> None:
        latest = (len(sys.modules), next(reversed(sys.modules)))
        if latest != self._latest:
            self._latest = latest
            self._scan_all()
        for (_, attribute), (namespace, real) in self._found.items():
            if namespace.get(attribute) is real:
                namespace[attribute] = self._replacements[id(real)]

    def _scan_all(self) -> None:
        for name, module in list(sys.modules.items()):
            # Some put other objects into sys.modules, and looking at those may import things.
            namespace = vars(module) if type(module) is ModuleType else {}
            if namespace and self._read.get(name) != (id(namespace), len(namespace)):
                self._scan(name, namespace)

    def _scan(self, name: str, namespace: dict[str, Any]) -> None:
        self._read[name] = (id(namespace), len(namespace))
        if name.partition(".")[0] in REAL_WAITERS or name == __name__:
            return
        for attribute, value in list(namespace.items()):
            if id(value) in self._replacements:
                self._found[name, attribute] = (namespace, value)

    def put_back(self) -> None:
        for (_, attribute), (namespace, real) in self._found.items():
            if namespace.get(attribute) is self._replacements[id(real)]:
                namespace[attribute] = real


_places = _Places({time.sleep: _sleep, asyncio.sleep: _asyncio_sleep})


class sleep_virtually:  # noqa: N801 - reads as a verb: with sleep_virtually(sleeper)
    """While entered, sleeping goes to this sleeper; innermost first."""

    def __init__(self, sleeper: Sleeper) -> None:
        """Not in force until entered."""
        self._sleeper = sleeper

    def __enter__(self) -> None:
        """Put the functions in place."""
        _places.replace()
        _open.append(self._sleeper)

    def __exit__(self, *exc_info: object) -> None:
        """Put the real ones back with the last harness."""
        _open.remove(self._sleeper)
        if not _open:
            _places.put_back()
