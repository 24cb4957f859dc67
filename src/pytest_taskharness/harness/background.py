"""``harness.background()`` and its like: the world goes on while code under test waits for something of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from ..clock.patience import Patience
from ..errors import ConfigurationError, hide_frames
from ..worker.waiting.background import Budget
from .arguments import limits, result_of
from .staging import Attendant, World

__all__ = ["Background", "Waiting"]

__tracebackhide__ = hide_frames


class Background:
    """The block, from :meth:`Harness.background`; ``with`` and ``async with`` both take it."""

    def __init__(self, opened: Callable[[], World], budget: Budget) -> None:
        """Use ``harness.background()``."""
        self._opened = opened
        self._budget = budget
        self._attendants: list[Attendant] = []

    def _begin(self) -> Background:
        attendant = self._opened().attend(self._budget)
        attendant.start()
        self._attendants.append(attendant)
        return self

    def __enter__(self) -> Background:
        """From here on, a thread drives."""
        return self._begin()

    def __exit__(self, exc_type: object, error: BaseException | None, traceback: object) -> None:
        """Let it do what is left, and end it; what has gone wrong in it is raised here."""
        attendant = self._latest()
        if error is not None:
            attendant.give_up()
            _explain(error, attendant.error)
            return
        attendant.ask_to_finish()
        attendant.join()
        attendant.raise_error()

    async def __aenter__(self) -> Background:
        """From here on, a thread drives."""
        return self._begin()

    async def __aexit__(self, exc_type: object, error: BaseException | None, traceback: object) -> None:
        """The same; the event loop goes on meanwhile, for a body may wait for it."""
        if error is not None or asyncio._get_running_loop() is None:  # noqa: SLF001 - trio, say
            self.__exit__(exc_type, error, traceback)
            return
        attendant = self._latest()
        attendant.ask_to_finish()
        try:
            await _ended(attendant)
        except BaseException:  # cancelled
            attendant.give_up()
            raise
        attendant.join(1.0)  # it is about to end, or has been waited for already
        attendant.raise_error()

    def _latest(self) -> Attendant:
        if not self._attendants:
            raise ConfigurationError(
                "expected the block of background() to be entered before it is left; found instead: it was not "
                "entered, or was left already. To fix this, use `with harness.background():`, or call __exit__() once "
                "for each __enter__()."
            )
        return self._attendants.pop()

    def __repr__(self) -> str:
        """As ``<Background, running>``."""
        return f"<Background{', running' if self._attendants else ''}>"


class Waiting:
    """The part of a harness that serves code which waits for something of its own."""

    app: Any
    _open: Callable[[], World]

    def background(
        self, *, jumps: bool = True, max_time: timedelta | float | None = None, max_runs: int = 10_000
    ) -> Background:  # fmt: skip
        """For code that waits for something of its own (a key, a socket, another loop): a thread drives meanwhile.

        Use it as a context manager, ``with`` or ``async with``.  Where nothing is to be done, the thread jumps to the
        next due instant, as :meth:`settle` does, and then sleeps until somebody publishes.  The block ends when
        nothing is left to do; what has gone wrong in the thread is raised there.

        Args:
            jumps: Whether the thread moves the clock; without, only the test does, and work that is due later is left.
            max_time: Virtual time (seconds, or a timedelta) after which there must be nothing left to do.
            max_runs: How many task bodies may start.

        Raises:
            ConfigurationError: A task's body opens the block, or a limit is none.
            RunBudgetExceeded: At the end: one of the limits is not enough.
            Deadlock: At the end: a body waits for something that does not come.
        """
        return Background(self._open, Budget(jumps, *limits(max_time, max_runs)))

    async def wait(self, x: Any, *, timeout: float | None = None, propagate: bool = True) -> Any:
        """``result.get()`` for a coroutine: the other coroutines of its event loop go on between any two steps.

        Args:
            x: A result, a group of results, a run, a message or an id.
            timeout: Virtual seconds.
            propagate: Whether to raise what the task has raised.

        Raises:
            ConfigurationError: Nobody can wait for ``x``, or the event loop is not asyncio's.
            celery.exceptions.TimeoutError: The time is up.
            Deadlock: Nothing can happen any more; with a timeout it is Celery's TimeoutError too.
        """
        _check_loop()
        result = result_of(self.app, x)
        await self._open().wait_in_loop(result, timeout=timeout)
        return result.get(propagate=propagate)

    def driven_waits(self) -> AbstractContextManager[None]:
        """For code that waits in the test's thread for what a task sets or fills: its wait drives, and no thread does.

        While entered, that holds for ``Event.wait``, ``Condition.wait``, ``Semaphore.acquire``, ``Barrier.wait``,
        ``Queue.get``, ``Future.result`` and ``Thread.join``; their timeouts count virtual seconds.  Beside a thread of
        :meth:`background` they are real, and one without a timeout that nobody will end is a ``Deadlock``.

        Raises:
            FidelityError: The worker is a real process.
        """
        return self._open().driving_waits()


def _check_loop() -> None:
    """Refuse to wait where no event loop runs that we know.

    Raises:
        ConfigurationError: It is trio's.
    """
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - None instead of an error
        raise ConfigurationError(
            "await harness.wait() needs asyncio's event loop, and none runs here. On trio, open harness.background() "
            "and wait in a thread: await trio.to_thread.run_sync(result.get)."
        )


def _explain(error: BaseException, before: BaseException | None) -> None:
    """The test's own error is the one that is raised; what went wrong in the thread may be why."""
    if error.__cause__ is None and error.__context__ is None:
        error.__context__ = before


async def _ended(attendant: Attendant) -> None:
    """Until it has ended, or gets no further."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    attendant.on_end = lambda: loop.call_soon_threadsafe(news.set)
    patience = Patience(attendant.patience, news.set)
    steps = -1
    while not attendant.has_ended and steps != attendant.steps:
        steps = attendant.steps
        news.clear()
        patience.renew()
        await news.wait()
    patience.end()
