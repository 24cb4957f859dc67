"""In a worker whose clock the test moves: a body that sleeps waits for that clock, and says so.

So does one that waits for the result of another task: nobody has to wait for it meanwhile.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from ...clock import places
from ...clock.real import Real
from ...clock.sleep import Sleeper, sleep_virtually
from ..between.faketime import first_instant
from .scribe import Scribe, the_scribe

__all__ = ["Bed", "Bodies", "bodies", "sleep_by_the_clock", "tell_of_waits"]


class Bodies(threading.local):
    """The body that this thread runs.

    Attributes:
        told: What belongs into a note about it, None where there is none.
        beside: The same of the other messages that it runs for: those of its batch.
        began: Whether the tracer has come to it; it skips that of a message whose task has succeeded before.
        wait: Its wait for the results of other tasks, where it waits.
        look_at_clock: What it does when it is woken, where nobody else in its process does.
    """

    told: dict[str, Any] | None = None
    beside: Sequence[dict[str, Any]] = ()
    began = False
    wait: Wait | None = None
    look_at_clock: Callable[[], object] = staticmethod(lambda: None)

    def note(self, kind: str, **about: Any) -> None:
        """Tell of each message that it runs for."""
        for told in filter(None, [self.told, *self.beside]):
            the_scribe().note(kind, **told, **about)


class Bed:
    """A named pipe that wakes one thread when the clock has moved."""

    def __init__(self, scribe: Scribe) -> None:
        """Of the calling thread; a process that was forked needs one of its own."""
        self.owner = (os.getpid(), threading.get_ident())
        self.name = "bed-{}-{}".format(*self.owner)
        path = scribe.directory / self.name
        with suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def sleep(self) -> None:
        """Until somebody knocks; no longer than the test lives, because this process dies with it."""
        select.select([self._pipe], [], [])
        with suppress(BlockingIOError):
            os.read(self._pipe, 4096)


#: What this thread runs, and what it has slept in.
bodies = Bodies()


class _Beds(threading.local):
    bed: Bed | None = None


class _Beginnings:
    """When the test has begun: a pool process runs bodies of one test only, and is forked before it."""

    def __init__(self) -> None:
        self._known = (0, 0)

    def since(self) -> float:
        """Seconds since then: what monotonic clocks say."""
        if self._known[0] != os.getpid():
            self._known = (os.getpid(), first_instant(the_scribe().directory) * 1000)
        return (time.time_ns() - self._known[1]) / 1e9


def sleep_by_the_clock() -> None:
    """``time.sleep`` and its like in bodies, from now on and for good."""
    beds, began = _Beds(), _Beginnings()

    def sleep(seconds: float) -> None:
        if bodies.told is None or bodies.wait is not None:  # Celery itself sleeps between two looks for a result
            Real.sleep(seconds)
        elif seconds > 0:
            _sleep(beds, seconds)

    sleeper = Sleeper(began.since, sleep=sleep, applies=lambda: bodies.told is not None)
    # These wait for sockets, and give up by the clock.
    places._REAL_WAITERS |= {"amqp", "billiard", "kombu", "redis"}
    sleep_virtually(sleeper).__enter__()


def _sleep(beds: _Beds, seconds: float) -> None:
    scribe = the_scribe()
    bed = beds.bed
    if bed is None or bed.owner != (os.getpid(), threading.get_ident()):
        bed = beds.bed = Bed(scribe)
    until = scribe.time.now + timedelta(seconds=seconds)
    bodies.note("sleeps", bed=bed.name, since=scribe.time.now, until=until, awaits=[])
    try:
        while scribe.time.now < until:
            bed.sleep()
            bodies.look_at_clock()
    finally:
        bodies.note("wakes", bed=bed.name)


def tell_of_waits() -> None:
    """``result.get()`` in bodies, from now on."""
    from celery.backends.asynchronous import AsyncBackendMixin, Drainer

    wait_for_pending, wait_for = AsyncBackendMixin._wait_for_pending, Drainer.wait_for

    def told_wait_for_pending(
        backend: Any, result: Any, timeout: float | None = None, **kwargs: Any
    ) -> Iterator[Any]:  # fmt: skip
        with _waiting(result, timeout):
            yield from wait_for_pending(backend, result, timeout=timeout, **kwargs)

    def told_wait_for(drainer: Any, *args: Any, **kwargs: Any) -> Any:
        if bodies.wait is not None:
            bodies.wait.tell()  # only now has Celery looked at the clock: it may move
        return wait_for(drainer, *args, **kwargs)

    AsyncBackendMixin._wait_for_pending = told_wait_for_pending
    Drainer.wait_for = told_wait_for


class Wait:
    """One wait of a body for other tasks."""

    def __init__(self, result: Any, timeout: float | None) -> None:
        """It has begun."""
        since = the_scribe().time.now
        # Celery subtracts floats to find out whether the time is up: a microsecond later, it is for certain.
        until = None if timeout is None else since + timedelta(seconds=timeout, microseconds=1)
        self._bed = f"wait-{os.getpid()}-{threading.get_ident()}"
        self._about: dict[str, Any] = {"since": since, "until": until, "awaits": list(_ids(result))}
        self._is_told = False

    def tell(self) -> None:
        """Nobody has to wait for this body."""
        if not self._is_told:
            self._is_told = True
            bodies.note("sleeps", bed=self._bed, **self._about)

    def end(self) -> None:
        """It goes on."""
        if self._is_told:
            bodies.note("wakes", bed=self._bed)


@contextmanager
def _waiting(result: Any, timeout: float | None) -> Iterator[None]:
    if bodies.told is None or bodies.wait is not None:
        yield
        return
    bodies.wait = Wait(result, timeout)
    try:
        yield
    finally:
        wait, bodies.wait = bodies.wait, None
        wait.end()


def _ids(result: Any) -> Iterator[str]:
    """The tasks that a result, or a group of results, is of."""
    children = getattr(result, "results", None)
    if children is None:
        yield result.id
    for child in children or ():
        yield from _ids(child)
