"""Whose turn it is to drive: one thread at a time, whichever of the open worlds it drives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Turn"]


class Attending(Protocol):
    """Who drives whenever nobody else does."""

    @property
    def rests(self) -> bool:
        """Whether there is nothing left for it to do, as long as there is no news."""

    def wake(self) -> None:
        """There is some."""


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
        #: Those who attend, by the idents of their threads.
        self.attendants: dict[int, Attending] = {}
        self._threads: list[threading.Thread] = []
        #: Those who do not drive, and want to know when there is something new.
        self.listeners: list[Callable[[], object]] = []
        #: Those who want to know when nothing is left to do.
        self.on_rest: list[Callable[[], object]] = []

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

    def begin(self, thread: threading.Thread, attendant: Attending) -> None:
        """Start a thread that attends; where it takes its first step, everybody knows of it."""
        with self.news:
            thread.start()
            self.attendants[thread.ident or 0] = attendant
            self._threads.append(thread)

    def end(self) -> None:
        """The calling thread attends no more."""
        del self.attendants[threading.get_ident()]

    def idents(self) -> list[int]:
        """Of the threads that attend, and of those that are about to be gone because they did."""
        self._threads = [each for each in self._threads if each.is_alive()]
        return [each.ident or 0 for each in self._threads]

    def wake(self) -> None:
        """There may be something to do."""
        for attendant in list(self.attendants.values()):
            attendant.wake()
        self.tell()

    @property
    def is_at_rest(self) -> bool:
        """Whether those who attend have nothing left to do."""
        return all(attendant.rests for attendant in self.attendants.values())

    def rest(self) -> None:
        """One of them has nothing left to do."""
        with self.news:
            for look in list(self.on_rest):
                look()

    def tell(self) -> None:
        """There may be something new."""
        for listener in list(self.listeners):
            listener()
