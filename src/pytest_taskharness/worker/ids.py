"""Ids that follow from the seed.

Celery and kombu draw every id from one function, ``kombu.utils.uuid.uuid``, which takes the source of its random
numbers as the default of an argument.  That default is ours while a harness is open; ``uuid.uuid4`` and ``random``,
which the user's code calls, are left alone.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from kombu.utils.uuid import uuid

__all__ = ["ids_for", "ids_given", "resume_ids", "seeded_ids"]

_ORIGINAL = uuid.__defaults__


class _Source:
    """The ids of one harness."""

    def __init__(self, seed: int, *, purpose: str, level: int) -> None:
        """Two that are open at once share a process, often a seed, and never an id: they differ in their level."""
        self.purpose = purpose
        self.level = level
        self._random = random.Random(f"{seed}/{level}/{purpose}")  # of a text: not its hash(), which differs

    @property
    def state(self) -> Any:
        """How far it has come."""
        return self._random.getstate()

    @state.setter
    def state(self, state: Any) -> None:
        self._random.setstate(state)

    def __call__(self) -> UUID:
        """The next id, a UUID of version 4 as Celery's own are."""
        return UUID(int=self._random.getrandbits(128), version=4)


class _Local(threading.local):
    """What holds ``app.thread_oid``, which is in the ``reply_to`` of messages: Celery makes it of memory addresses."""

    def __init__(self, oid: str) -> None:
        """Called in each thread."""
        self.oid = oid


#: Of all open harnesses, outermost first: the innermost one gives the ids.
_sources: list[_Source] = []
#: Whom the next harness is opened for, innermost last.
_purposes: list[str] = []


@contextmanager
def ids_for(purpose: str) -> Iterator[None]:
    """A harness that is opened meanwhile has ids of its own, and so have those that are opened inside it.

    All tests have one seed: without this, what a test leaves behind under a task id (a key in a database, an entry of
    a module's set) would be found by the next one, which would be refused its work as a duplicate.
    """
    _purposes.append(purpose)
    try:
        yield
    finally:
        _purposes.pop()


@contextmanager
def seeded_ids(app: Any, seed: int) -> Iterator[None]:
    """While entered, Celery's ids follow from the seed; ``app`` is one that is borrowed already."""
    source = _Source(seed, purpose=_purpose(), level=_free_level())
    _sources.append(source)
    uuid.__defaults__ = (_draw,)
    app._local = _Local(uuid())
    try:
        yield
    finally:
        _sources.remove(source)  # not always the last one: harnesses may be closed in any order
        uuid.__defaults__ = (_draw,) if _sources else _ORIGINAL


def ids_given() -> Any:
    """How far the ids of the innermost harness have come: for :func:`resume_ids`, in another process."""
    return _sources[-1].state if _sources else None


def resume_ids(state: Any) -> None:
    """Go on where a forked child has ended: its ids are not given again."""
    if _sources:
        _sources[-1].state = state


def _draw() -> UUID:
    return _sources[-1]()


def _purpose() -> str:
    if _purposes:
        return _purposes[-1]
    return _sources[-1].purpose if _sources else ""


def _free_level() -> int:
    taken = {source.level for source in _sources}
    return next(level for level in range(len(taken) + 1) if level not in taken)
