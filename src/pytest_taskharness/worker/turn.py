"""Whose turn it is to drive: one thread at a time, whichever of the open worlds it drives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Turn"]


class Turn:
    """A lock, and those who drive whenever nobody else does.

    The latter never keep a thread waiting that wants to drive itself, and hear when it has done so.
    """

    def __init__(self) -> None:
        """Nobody drives."""
        self._lock = threading.RLock()
        #: Told when somebody publishes, when a thread that has driven is done, and when one wants to drive.
        self.news = threading.Condition()
        #: How many threads wait for their turn, beside those who attend.
        self._wanted = 0
        #: What wakes each of the threads that attend, by its ident.
        self.attendants: dict[int, Callable[[], object]] = {}
        #: Those who do not drive, and want to know when there is something new.
        self.listeners: list[Callable[[], object]] = []

    def take(self, seconds: float) -> bool:
        """Drive from now on, until :meth:`give_back`; False where nobody has given it back for so many real seconds."""
        if self._lock.acquire(blocking=False):
            return True
        self._want(1)
        try:
            return self._lock.acquire(timeout=seconds)
        finally:
            self._want(-1)

    def _want(self, more: int) -> None:
        with self.news:
            self._wanted += more
            self.news.notify_all()

    def give_back(self) -> None:
        """Let others drive."""
        self._lock.release()

    @contextmanager
    def when_nobody_else(self) -> Iterator[None]:
        """For those who attend: while entered, drive."""
        while not self._take_if_unwanted():
            pass
        try:
            yield
        finally:
            self._lock.release()

    def _take_if_unwanted(self) -> bool:
        with self.news:
            while self._wanted:
                self.news.wait()
        self._lock.acquire()
        is_unwanted = not self._wanted  # it may have changed meanwhile
        if not is_unwanted:
            self._lock.release()
        return is_unwanted

    def wake(self) -> None:
        """There may be something to do."""
        for wake in list(self.attendants.values()):
            wake()
        self.tell()

    def tell(self) -> None:
        """There may be something new."""
        for listener in list(self.listeners):
            listener()
