"""``await harness.wait(result)``: an event loop drives, and its other coroutines go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.exceptions import TimeoutError as CeleryTimeoutError

from ...clock.patience import Patience
from ...errors import Deadlock, hide_frames
from .turn import Turn
from .waits import DeadlockTimeout

if TYPE_CHECKING:
    from ..world import World

    Explain = Callable[[list[str]], str]

__all__ = ["LoopWait"]

__tracebackhide__ = hide_frames

#: Real seconds that the loop's other coroutines are given to publish something, where nothing else can happen.
PATIENCE = 10.0
#: What the coroutines are called that only wait here.
_NAME = "taskharness wait"


class LoopWait:
    """One such wait."""

    def __init__(self, world: World, result: Any, *, timeout: float | None, explain: Explain) -> None:
        """For a result, or a group of results.

        Args:
            world: Who has them; it is driven here, unless a thread of ``background()`` does so.
            result: Celery's.
            timeout: Virtual seconds.
            explain: Given their ids, why they do not come.
        """
        self._world = world
        self._turn: Turn = world.turn
        self._explain = explain
        self._results = list(_single(result))
        self._parents = getattr(result, "_maybe_reraise_parent_error", lambda: None)
        self._timeout = timeout
        self._deadline = None if timeout is None else world.time.now + timedelta(seconds=timeout)
        self._news = asyncio.Event()
        self._has_time = True

    @property
    def is_over(self) -> bool:
        """Whether all results are there."""
        return all(each.backend.is_ready(each.id) for each in self._results)

    async def run(self) -> None:
        """Until it is over.

        Raises:
            celery.exceptions.TimeoutError: The time is up.
            Deadlock: Nothing can happen any more (with a timeout, it is a TimeoutError too).
        """
        with self._listening(), _named():
            while not self.is_over:
                self._news.clear()
                if self._turn.attendants:
                    self._check_time()
                    await self._let_others_go_on()
                elif self._world.take_step():
                    await asyncio.sleep(0)
                else:
                    self._parents()
                    await self._let_time_pass()
        self._check_time()

    def _check_time(self) -> None:
        if self._deadline is not None and self._world.time.now > self._deadline:
            when = "the result came after that" if self.is_over else "it is not there yet"
            raise CeleryTimeoutError(f"{self._timed_out()}; {when}.")

    @contextmanager
    def _listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def listener() -> None:
            loop.call_soon_threadsafe(self._news.set)

        self._turn.listeners.append(listener)
        try:
            yield
        finally:
            self._turn.listeners.remove(listener)

    # -- where there is nothing to do now

    async def _let_time_pass(self) -> None:
        """The other coroutines come first; then the clock goes to what is due next."""
        now = self._world.time.now
        due = self._world.next_due(though_in_vain=self._deadline is not None)
        if self._deadline is not None and (due is None or due > self._deadline):
            if now >= self._deadline:
                self._time_out(due)
            due = self._deadline
        if due is not None:
            await self._sleep((due - now).total_seconds())
        elif _others():
            await self._let_others_go_on()
        else:
            self._give_up()

    async def _sleep(self, seconds: float) -> None:
        """Until somebody publishes, or time has passed."""
        asleep = _task(asyncio.sleep(seconds))  # it is virtual
        heard = _task(self._news.wait())
        try:
            await asyncio.wait({asleep, heard}, return_when=asyncio.FIRST_COMPLETED)
            if asleep.done():
                asleep.result()
        finally:
            await _cancelled(asleep, heard)

    async def _let_others_go_on(self) -> None:
        """Until one of them publishes, or ends; in real time.

        Raises:
            Deadlock: That takes too long.
        """
        patience = Patience(PATIENCE if self._timeout is None else self._timeout, self._lose_patience)
        patience.renew()
        heard = _task(self._news.wait())
        try:
            await asyncio.wait({heard, *_others()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.end()
            await _cancelled(heard)
        if not self._has_time:
            self._give_up()

    def _lose_patience(self) -> None:
        self._has_time = False
        self._news.set()

    # -- the end

    def _give_up(self) -> None:
        text = self._explain([each.id for each in self._results])
        if self._timeout is None:
            raise Deadlock(text)
        raise DeadlockTimeout(f"{self._timed_out()}.\n{text}")

    def _time_out(self, due: datetime | None) -> None:
        if due is None:
            self._give_up()
        raise CeleryTimeoutError(f"{self._timed_out()}; the next thing that can happen is due at {due}.")

    def _timed_out(self) -> str:
        return f"the operation timed out after {self._timeout:g} virtual seconds"


def _single(result: Any) -> Iterator[Any]:
    """The results that a result is made of."""
    results = getattr(result, "results", None)
    if results is None:
        yield result
    for each in results or ():
        yield from _single(each)


def _others() -> set[asyncio.Task[Any]]:
    """The coroutines of this loop that may yet publish something."""
    return {task for task in asyncio.all_tasks() if not task.get_name().startswith(_NAME)}


def _task(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine, name=_NAME)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _named() -> Iterator[None]:
    """The coroutine that waits here is none of those that it can wait for."""
    task = asyncio.current_task()
    assert task is not None
    before = task.get_name()
    task.set_name(f"{_NAME} of {before}")
    try:
        yield
    finally:
        task.set_name(before)
