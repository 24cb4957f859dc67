"""Waits of the standard library in the test's own thread: for what a task sets, the world is driven.

``Event.wait``, ``Condition.wait``, ``Queue.get``, ``Future.result`` and ``Thread.join`` come down to two functions of
``threading``; ``Lock.acquire`` is written in C, where nobody can reach it.  What does not have to wait costs nothing.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import _base as futures
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ...clock.places import waits_for_something_real
from ...clock.real import Real
from ...errors import Deadlock, hide_frames
from .. import explain
from .background import FREELY

if TYPE_CHECKING:
    from ..world import World

__all__ = ["driving_waits", "stop_driving"]

__tracebackhide__ = hide_frames

_real_wait = threading.Condition.wait
_real_join = threading.Thread.join

#: Modules that only pass a wait on.
_BETWEEN = frozenset({"threading", "queue", "concurrent", __name__})
#: Whose waits are for threads of their own, and may hold locks that a body needs.
_OTHERS = frozenset({
    "amqp", "billiard", "celery", "django", "fakeredis", "kombu", "psycopg_pool", "redis", "sqlalchemy", "urllib3",
    "vine", __package__.partition(".")[0],
})  # fmt: skip
#: Threads of the test runner, which set nothing that a test waits for.
_RUNNERS = frozenset({"execnet", "pytest_timeout", "xdist"})

#: The worlds that are driven by such waits, innermost last.
_driven: list[World] = []


@contextmanager
def driving_waits(world: World) -> Iterator[None]:
    """While entered, the waits of the thread that has opened the world drive it."""
    if not _driven:
        _exchange()
    _driven.append(world)
    try:
        yield
    finally:
        if world in _driven:
            _driven.remove(world)
            _exchange_back()


def stop_driving(world: World) -> None:
    """The world has ended, perhaps inside of a block that nobody leaves."""
    if world in _driven:
        _driven[:] = [each for each in _driven if each is not world]
        _exchange_back()


def _exchange_back() -> None:
    if not _driven:
        _exchange()


def _exchange() -> None:
    """Put the stand-ins in place, or the real ones."""
    for place in _places:
        owner, name, other = place
        place[2] = getattr(owner, name)
        setattr(owner, name, other)


def _world_here() -> World | None:
    """The world that the calling thread can drive, where it is a test's code that waits."""
    if not _driven:
        return None
    world = _driven[-1]
    if not world.can_drive_here() or _is_others_business():
        return None
    return world


def _is_others_business() -> bool:
    frame: Any = sys._getframe(2)
    name = ""
    while frame is not None and (name := _room_of(frame)) in _BETWEEN:
        if frame.f_code is threading.Thread.start.__code__:  # it waits for the thread to begin
            return True
        frame = frame.f_back
    return name in _OTHERS or waits_for_something_real(name)


def _room_of(frame: Any) -> str:
    name = str(frame.f_globals.get("__name__"))
    return name if name == __name__ else name.partition(".")[0]


# -- the stand-ins


def _wait(condition: Any, timeout: float | None = None) -> bool:
    """``Condition.wait``; who calls it holds the condition's lock, and must not while bodies run."""
    world = _world_here()
    if world is None or (timeout is not None and (timeout <= 0 or world.turn.attendants)):
        return _real_wait(condition, timeout)
    told = threading.Lock()
    told.acquire()
    condition._waiters.append(told)
    state = condition._release_save()
    is_told = False
    try:
        is_told = _Beside(world, told).wait() if world.turn.attendants else _drive(world, told, timeout)
    finally:
        condition._acquire_restore(state)
        if not is_told and told in condition._waiters:
            condition._waiters.remove(told)
    return is_told


def _drive(world: World, told: threading.Lock, timeout: float | None) -> bool:
    """Whether somebody notifies: a body, or another thread."""
    deadline = None if timeout is None else world.time.now + timedelta(seconds=timeout)
    while not told.acquire(blocking=False):
        if not _go_on(world, deadline):
            return told.acquire(blocking=False) or _wait_on(world, told, deadline=deadline, timeout=timeout)
    return True


def _go_on(world: World, deadline: datetime | None) -> bool:
    """One step, or one jump; False where there is none before the deadline."""
    if world.take_step():
        return True
    due = world.next_due() if deadline is None else world.next_instant()
    if due is not None and (deadline is None or due <= deadline):
        world.move_to(due)
        return True
    return False


def _wait_on(world: World, told: threading.Lock, *, deadline: datetime | None, timeout: float | None) -> bool:
    """Nothing can happen here: only another thread can notify, in real time; what it publishes is done meanwhile.

    Raises:
        Deadlock: There is none.
    """
    if _others(world.turn.idents()):
        with _attended(world):
            return told.acquire(timeout=-1 if timeout is None else timeout)
    if deadline is None:
        raise Deadlock(explain.nobody_notifies(world))
    world.move_to(deadline)
    return False


class _Beside:
    """A wait beside a thread of ``background()``: that one drives, and a wait that nobody can end is noticed."""

    def __init__(self, world: World, told: threading.Lock) -> None:
        """Of the calling thread."""
        self._world = world
        self._turn = world.turn
        self._told = told
        self._thread = threading.get_ident()
        self._is_vain = False

    def wait(self) -> bool:
        """True, when somebody has notified.

        Raises:
            Deadlock: Nothing is left to do, and no other thread is there.
        """
        self._turn.on_rest.append(self.look)
        try:
            self.look()
            self._told.acquire()
        finally:
            self._turn.on_rest.remove(self.look)
        if self._is_vain:
            raise Deadlock(explain.nobody_notifies(self._world))
        return True

    def look(self) -> None:
        """End the wait where nobody else can; a thread calls it that comes to rest, or to its end."""
        with self._turn.news:
            ours = [self._thread, *self._turn.idents()]
            if self._told.locked() and self._turn.is_at_rest and not _others(ours):
                self._is_vain = True
                self._told.release()


def _others(but: Iterable[int]) -> list[int]:
    """The threads that may do something for this one."""
    ours = {threading.get_ident(), *but}
    return [ident for ident, frame in sys._current_frames().items() if ident not in ours and _acts(frame)]


def _acts(frame: Any) -> bool:
    while frame is not None:
        if _room_of(frame) in _RUNNERS:
            return False
        frame = frame.f_back
    return True


@contextmanager
def _attended(world: World) -> Iterator[None]:
    attendant = world.attend(FREELY)
    attendant.start()
    try:
        yield
    finally:
        attendant.give_up()
    attendant.raise_error()


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    """``Thread.join``: what the thread waits for may be a task's to do."""
    world = _world_here()
    if world is None or world.turn.attendants or not thread.is_alive():
        _real_join(thread, timeout)
        return
    with _attended(world):
        _real_join(thread, timeout)


def _clock() -> float:
    """What the loops around these waits read: in the test's thread, virtual seconds pass as real ones do."""
    now: float = Real.monotonic()
    return now + sum(world.time.monotonic() for world in _driven if world.can_drive_here())


#: Whose attribute of which name has which value, while waits drive and, in turn, while they do not.
_places: list[list[Any]] = [
    [threading.Condition, "wait", _wait],
    [threading.Thread, "join", _join],
    [threading, "_time", _clock],
    [queue, "time", _clock],
    [futures, "time", SimpleNamespace(monotonic=_clock)],
]
