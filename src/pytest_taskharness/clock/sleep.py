"""Sleeping and monotonic clocks while a harness is open: virtual time passes instead of real time.

The functions below stand in for those of ``time`` and ``asyncio``, also where a module did ``from time import
sleep``.  They look for the innermost open harness at each call, so a reference that outlives the harness is
harmless: it does what the real function does.  freezegun stops the monotonic clocks itself; time-machine leaves them
alone, and a test must not notice which of the two is installed.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import hide_frames
from .bedroom import bedroom_of
from .places import Places, waits_for_something_real
from .real import Real

__all__ = ["Sleeper", "sleep_virtually"]

__tracebackhide__ = hide_frames


@dataclass
class Sleeper:
    """What an open harness does when somebody sleeps, or reads a monotonic clock.

    Attributes:
        now: Virtual seconds since the harness was opened.
        sleep: Let so many virtual seconds pass.
        applies: Whether the calling thread lives in virtual time.
    """

    now: Callable[[], float]
    sleep: Callable[[float], None]
    applies: Callable[[], bool]


@dataclass
class _Open:
    """An open harness, what the monotonic clocks said when it was opened, and what outer ones had let pass by then."""

    sleeper: Sleeper
    readings: dict[str, float]
    passed: float

    def now(self) -> float:
        """Virtual seconds since the outermost harness was opened."""
        return self.passed + self.sleeper.now()


_open: list[_Open] = []
_real_asyncio_sleep = asyncio.sleep
_real_loop_time = asyncio.BaseEventLoop.time
_real_select = selectors.DefaultSelector.select


def _current() -> _Open | None:
    return _open[-1] if _open and _open[-1].sleeper.applies() else None


def _current_for_caller() -> _Open | None:
    """The open harness, unless the code that called the stand-in waits for something real."""
    if not _open or waits_for_something_real(sys._getframe(2).f_globals.get("__name__", "")):
        return None
    return _current()


# -- the stand-ins


def _sleep(seconds: float) -> None:
    """``time.sleep``."""
    current = _current_for_caller()
    if current is None:
        Real.sleep(seconds)
    elif seconds < 0:
        raise ValueError("sleep length must be non-negative")
    else:
        current.sleeper.sleep(seconds)


async def _asyncio_sleep(delay: float, result: Any = None) -> Any:
    """``asyncio.sleep``; sleeping for nothing only gives others a turn, as ever."""
    current = _current()
    if current is None or delay <= 0:
        return await _real_asyncio_sleep(delay, result)
    sleeper = current.sleeper

    def let_pass(until: float) -> None:
        # A harness that was closed meanwhile has no time left to pass.
        if any(each.sleeper is sleeper for each in _open):
            sleeper.sleep(max(0.0, until - sleeper.now()))

    await bedroom_of(asyncio.get_running_loop()).lie_down(delay, sleeper.now, let_pass)
    return result


def _standing_in_for(name: str) -> tuple[Callable[[], float], Callable[[], int]]:
    """The stand-ins for ``time.<name>`` and ``time.<name>_ns``: real until a harness opens, virtual from there on."""
    real: Callable[[], float] = getattr(Real, name)

    def seconds(current: _Open | None) -> float:
        return real() if current is None else current.readings[name] + current.sleeper.now()

    def read() -> float:
        return seconds(_current_for_caller())

    def read_ns() -> int:
        return round(seconds(_current_for_caller()) * 1e9)

    return read, read_ns


_monotonic, _monotonic_ns = _standing_in_for("monotonic")
_perf_counter, _perf_counter_ns = _standing_in_for("perf_counter")


def _loop_time(loop: asyncio.BaseEventLoop) -> float:
    """``loop.time()``: the virtual time that has passed, and the real time that loops were blocked in ``select``.

    So ``asyncio.timeout(30)`` strikes after exactly 30 virtual seconds of a coroutine that sleeps, and after 30 real
    ones of a coroutine that waits for a socket.
    """
    current = _current()
    if current is None:
        return _real_loop_time(loop)
    return _open[0].readings["monotonic"] + current.now() + _blocked.seconds


class _Blocked:
    """How long selectors have blocked since the outermost harness was opened."""

    seconds = 0.0


_blocked = _Blocked()


def _select(self: Any, timeout: float | None = None) -> Any:
    """``DefaultSelector.select``, timed."""
    if timeout is not None and timeout <= 0:
        return _real_select(self, timeout)
    began = Real.monotonic()
    try:
        return _real_select(self, timeout)
    finally:
        _blocked.seconds += Real.monotonic() - began


def _original(name: str) -> Callable[..., Any]:
    """The function of the ``time`` module, also when this module is imported under freezegun."""
    api = sys.modules.get("freezegun.api")
    function: Callable[..., Any] = getattr(api, f"real_{name}", None) or getattr(time, name)
    return function


_places = Places({
    time.sleep: _sleep,
    asyncio.sleep: _asyncio_sleep,
    _original("monotonic"): _monotonic,
    _original("monotonic_ns"): _monotonic_ns,
    _original("perf_counter"): _perf_counter,
    _original("perf_counter_ns"): _perf_counter_ns,
})  # fmt: skip


class sleep_virtually:  # noqa: N801 - reads as a verb: with sleep_virtually(sleeper)
    """While entered, sleeping goes to this sleeper; innermost first."""

    def __init__(self, sleeper: Sleeper) -> None:
        """Not in force until entered."""
        self._sleeper = sleeper

    def __enter__(self) -> None:
        """Put the stand-ins in place; a monotonic clock goes on from where it is."""
        passed = _open[-1].now() if _open else 0.0
        readings = {"monotonic": _monotonic(), "perf_counter": _perf_counter()}
        _open.append(_Open(self._sleeper, readings, passed))
        _places.fill()
        _blocked.seconds = _blocked.seconds if len(_open) > 1 else 0.0
        selectors.DefaultSelector.select = _select  # type: ignore[method-assign]
        asyncio.BaseEventLoop.time = _loop_time  # type: ignore[assignment, method-assign]

    def __exit__(self, *exc_info: object) -> None:
        """Put the real ones back with the last harness."""
        _open[:] = [each for each in _open if each.sleeper is not self._sleeper]
        if not _open:
            _places.clear()
            selectors.DefaultSelector.select = _real_select  # type: ignore[method-assign]
            asyncio.BaseEventLoop.time = _real_loop_time  # type: ignore[method-assign]
