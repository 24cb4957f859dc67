"""A thread that lets the world go on while the test waits for something of its own: a socket, a key, another loop.

It sleeps until somebody publishes, or was driving.  Nothing is polled.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import celery.result

from ...errors import Deadlock, RunBudgetExceeded, hide_frames
from .. import explain
from .lending import Lent
from .turn import Turn

if TYPE_CHECKING:
    from ..bodies.pool import Execution
    from ..world import World

__all__ = ["FREELY", "Attendant", "Budget", "SteppedAttendant", "joining_by_thread"]

__tracebackhide__ = hide_frames

#: Real seconds in which a body that keeps the thread from its end has to come to its own, or to another step.
PATIENCE = 30.0
#: The same where the test has failed already.
LAST_PATIENCE = 5.0
#: Real seconds that ``result.get()`` in one thread waits for the body that another one runs.
SIBLING_SECONDS = 5.0


@dataclass(frozen=True)
class Budget:
    """How far a thread may go by itself.

    Attributes:
        jumps: Whether it jumps to the next due instant when there is nothing to do now.
        max_time: How much virtual time may pass; None for any.
        max_runs: How many bodies may start.
    """

    jumps: bool = True
    max_time: timedelta | None = None
    max_runs: int = 10_000


#: As far as it likes.
FREELY = Budget()


class Attendant:
    """One such thread, and the block of the test that it lasts for."""

    def __init__(self, turn: Turn, budget: Budget) -> None:
        """It begins with :meth:`start`."""
        self.turn = turn
        self.budget = budget
        #: Real seconds that the end of the block waits for it to get any further.
        self.patience = PATIENCE
        #: What has gone wrong in the thread.
        self.error: BaseException | None = None
        #: How often it has done something.
        self.steps = 0
        #: Called in the thread when it ends.
        self.on_end: Callable[[], object] = lambda: None
        self.has_ended = False
        self._news = True
        self._waits = False
        self._finishes = False
        self._stops = False
        self._thread = threading.Thread(target=self._main, name="taskharness background", daemon=True)

    def start(self) -> None:
        """Begin; whatever is due is done from now on."""
        self._lent = Lent()
        self.turn.begin(self._thread, self)

    def wake(self) -> None:
        """There may be something to do."""
        with self.turn.news:
            self._news = True
            self.turn.news.notify_all()

    # -- the end of the block

    def ask_to_finish(self) -> None:
        """End as soon as nothing is left to do."""
        self._finishes = True
        self.wake()

    def ask_to_stop(self) -> None:
        """End after this step."""
        self._stops = self._finishes = True
        self.wake()

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended; it may go on for as long as it gets anywhere.

        Args:
            seconds: How long it may get nowhere, if not for as long as ever.

        Raises:
            Deadlock: A body keeps it.
        """
        steps = -1
        while self._thread.is_alive() and steps != self.steps:
            steps = self.steps
            self._await_end(self.patience if seconds is None else seconds)
        if self._thread.is_alive():
            text = self._stuck()
            self.abandon()
            raise Deadlock(text)
        self._lent.give_back()

    def _await_end(self, seconds: float) -> None:
        try:
            self._thread.join(seconds)
        except BaseException:  # Ctrl-C, or what pytest-timeout raises
            self.abandon()
            raise

    def give_up(self) -> None:
        """The test has failed: end after this step, and where that does not come, go on all the same."""
        if self.has_ended:
            return
        self.ask_to_stop()
        self._await_end(min(self.patience, LAST_PATIENCE))
        if self._thread.is_alive():
            self.abandon()
        self._lent.give_back()

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self.ask_to_stop()
        self._lent.give_back()

    def raise_error(self) -> None:
        """What has gone wrong in the thread goes wrong in the test."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def _stuck(self) -> str:
        """Who keeps it, and where."""
        return (
            f"expected the thread of background() to end with its block; it has not come any further in "
            f"{self.patience:g} real seconds, and is at\n    {_place_of(self._thread)}\n{self.doing()}"
            "What a body waits for has to come before the block ends. To fix this, give the wait in the body a "
            "timeout, or let the test do what it waits for."
        )

    def doing(self) -> str:
        """What the thread is at, a line each."""
        return ""

    # -- in the thread

    @property
    def ident(self) -> int:
        """Of the thread."""
        return self._thread.ident or 0

    def _main(self) -> None:
        try:
            with self.turn.news:  # who starts it holds that until everybody knows of it
                self._news = True
            with self._lent.taken():
                while not self._stops and self._attend():
                    pass
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the block
            self.error = error
        finally:
            self.turn.end()
            self.has_ended = True
            self.leave()
            self.turn.tell()
            self.turn.rest()
            self.on_end()

    def leave(self) -> None:
        """The thread ends."""

    def _attend(self) -> bool:
        """Do one thing; where there is none, wait for news.  False when the block has ended, and all is done."""
        self._news = False
        with self.turn.when_nobody_else():
            went_on = not self._stops and self.go_on()
        self.steps += went_on
        self.turn.tell()
        return went_on or self._news or self.wait()

    def go_on(self) -> bool:
        """Do one thing; False where there is nothing to do."""
        raise NotImplementedError

    def wait(self) -> bool:
        """Wait for news; False when there will be none."""
        with self.turn.news:
            self._waits = True
            self.turn.rest()
            while not (self._news or self._finishes):
                self.turn.news.wait()
            self._waits = False
        return self._news

    @property
    def rests(self) -> bool:
        """Whether there is nothing left for it to do, as long as there is no news."""
        return self._waits and not (self._news or self._finishes)


class SteppedAttendant(Attendant):
    """A thread that steps a world."""

    def __init__(self, world: World, budget: Budget) -> None:
        """Its budget counts from here."""
        super().__init__(world.turn, budget)
        self._world = world
        self._limit = world.starts + budget.max_runs
        self._deadline = None if budget.max_time is None else world.time.now + budget.max_time

    def go_on(self) -> bool:
        """One step, or one jump."""
        if not self._world.take_step():
            return self.budget.jumps and self._jump(self._world.next_due())
        if self._world.starts > self._limit:
            text = explain.run_budget(self._world, self.budget.max_runs, verb="background()")
            raise RunBudgetExceeded(text)
        return True

    def _jump(self, due: datetime | None) -> bool:
        if due is None:
            return False
        if self._deadline is not None and due > self._deadline:
            text = explain.time_budget(self._world, self.budget.max_time, due, verb="background")
            raise RunBudgetExceeded(text)
        self._world.move_to(due)
        return True

    def abandon(self) -> None:
        """Whatever it runs is to change nothing any more."""
        for execution in self._running():
            execution.killed = True
        if not self.has_ended:
            self._world.given_up.add(self.ident)
            self._world.lose_turn()
        super().abandon()

    def leave(self) -> None:
        """Its number may be that of another thread from now on."""
        self._world.given_up.discard(self.ident)

    def doing(self) -> str:
        """The bodies that it runs."""
        return "".join(f"    in the body of {each.task_name}\n" for each in self._running())

    def _running(self) -> list[Execution]:
        return [execution for thread, execution in list(self._world.stack) if thread == self.ident]


#: The worlds that are open, and what Celery said before them.
_joining: list[World] = []
_will_block: list[Callable[[], bool]] = []


@contextmanager
def joining_by_thread(world: World) -> Iterator[None]:
    """While entered, ``result.get()`` is forbidden to the thread that runs a body, and not to those beside it.

    Celery keeps one flag for the whole process.
    """
    if not _joining:
        _will_block.append(celery.result.task_join_will_block)
        celery.result.task_join_will_block = _will_block_here
    _joining.append(world)
    try:
        yield
    finally:
        _joining.remove(world)
        if not _joining:
            celery.result.task_join_will_block = _will_block.pop()


def _will_block_here() -> bool:
    if not _will_block[-1]():
        return False
    if any(world.execution_here() is not None for world in _joining):
        return True
    turn = _joining[-1].turn
    return not turn.attendants and not _ends_its_body(turn)


def _ends_its_body(turn: Turn) -> bool:
    """Whether the thread that runs a body comes to its end; it does not where it waits for this one, its own."""
    comes = turn.take(SIBLING_SECONDS)
    if comes:
        turn.give_back()
    return comes


def _place_of(thread: threading.Thread) -> str:
    """The innermost line of it that is no library's."""
    frame = sys._current_frames().get(thread.ident or 0)
    place = "an unknown place"
    while frame is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if "site-packages" not in place and module not in sys.stdlib_module_names:
            break
        frame = frame.f_back
    return place
