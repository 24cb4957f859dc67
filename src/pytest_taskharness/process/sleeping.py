"""In a worker whose clock the test moves: a body that sleeps waits for that clock, and says so.

So does one that waits for the result of another task: nobody has to wait for it meanwhile.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from ..clock.real import Real
from ..clock.sleep import Sleeper, sleep_virtually
from .scribe import Scribe, the_scribe

__all__ = ["Bed", "Bodies", "bodies", "sleep_by_the_clock", "tell_of_waits"]


class Bodies(threading.local):
    """The body that this thread runs.

    Attributes:
        told: What belongs into a note about it, None where there is none.
        began: Whether the tracer has come to it; it skips that of a message whose task has succeeded before.
        waits: Whether it waits for the result of another task.
    """

    told: dict[str, Any] | None = None
    began = False
    waits = False


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
        """Until somebody knocks."""
        select.select([self._pipe], [], [])
        with suppress(BlockingIOError):
            os.read(self._pipe, 4096)


#: What this thread runs, and what it has slept in.
bodies = Bodies()


class _Beds(threading.local):
    bed: Bed | None = None


def sleep_by_the_clock() -> None:
    """``time.sleep`` and its like in bodies, from now on and for good."""
    beds, began = _Beds(), time.time_ns()

    def sleep(seconds: float) -> None:
        if bodies.told is None or bodies.waits:  # Celery itself sleeps between two looks for a result
            Real.sleep(seconds)
        elif seconds > 0:
            _sleep(beds, bodies.told, seconds)

    sleeper = Sleeper(
        now=lambda: (time.time_ns() - began) / 1e9, sleep=sleep, applies=lambda: bodies.told is not None
    )  # fmt: skip
    sleep_virtually(sleeper).__enter__()


def _sleep(beds: _Beds, told: dict[str, Any], seconds: float) -> None:
    scribe = the_scribe()
    bed = beds.bed
    if bed is None or bed.owner != (os.getpid(), threading.get_ident()):
        bed = beds.bed = Bed(scribe)
    until = scribe.time.now + timedelta(seconds=seconds)
    scribe.note("sleeps", **told, bed=bed.name, since=scribe.time.now, until=until, awaits=[])
    try:
        while scribe.time.now < until:
            bed.sleep()
    finally:
        scribe.note("wakes", **told, bed=bed.name)


def tell_of_waits() -> None:
    """``result.get()`` in bodies, from now on."""
    from celery.backends.asynchronous import AsyncBackendMixin

    original = AsyncBackendMixin._wait_for_pending

    def wait_for_pending(backend: Any, result: Any, timeout: float | None = None, **kwargs: Any) -> Iterator[Any]:
        with _told(result, timeout):
            yield from original(backend, result, timeout=timeout, **kwargs)

    AsyncBackendMixin._wait_for_pending = wait_for_pending


@contextmanager
def _told(result: Any, timeout: float | None) -> Iterator[None]:
    if bodies.told is None or bodies.waits:
        yield
        return
    scribe, told = the_scribe(), bodies.told
    body = {**told, "bed": f"wait-{os.getpid()}-{threading.get_ident()}"}
    now = scribe.time.now
    # Celery subtracts floats to find out whether the time is up: a microsecond later, it is for certain.
    until = None if timeout is None else now + timedelta(seconds=timeout, microseconds=1)
    scribe.note("sleeps", **body, since=now, until=until, awaits=list(_ids(result)))
    bodies.waits = True
    try:
        yield
    finally:
        bodies.waits = False
        scribe.note("wakes", **body)


def _ids(result: Any) -> Iterator[str]:
    """The tasks that a result, or a group of results, is of."""
    children = getattr(result, "results", None)
    if children is None:
        yield result.id
    for child in children or ():
        yield from _ids(child)
