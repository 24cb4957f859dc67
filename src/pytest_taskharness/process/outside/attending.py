"""``harness.background()`` where workers go on by themselves: a thread hears what they tell, and moves their clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ...errors import Deadlock, FidelityError, RunBudgetExceeded, hide_frames
from ...worker.explain import time_budget
from ...worker.waiting.background import FREELY, Attendant, Budget
from ...worker.waiting.loop_wait import LoopWait
from ...worker.waiting.turn import Turn
from . import explain
from .quiescence import Limit

if TYPE_CHECKING:
    from ...worker.world import World
    from .world import ProcessWorld

__all__ = ["Attended", "ProcessAttendant"]

__tracebackhide__ = hide_frames

#: Real seconds that a verb waits for its turn.
PATIENCE = 30.0


class ProcessAttendant(Attendant):
    """A thread that waits for workers, and for the test, at once."""

    def __init__(self, world: ProcessWorld, budget: Budget) -> None:
        """Its budget counts from here."""
        super().__init__(world.turn, budget)
        self._world = world
        self._limit = Limit("background()", self.patience, error=lambda limit: explain.out_of_time(world, limit))
        self._limit.max_runs, self._limit.max_starts = budget.max_runs, world.ledger.starts + budget.max_runs
        self._deadline = None if budget.max_time is None else world.time.now + budget.max_time
        self._has_calmed_down = False
        self._bell = os.pipe()
        os.set_blocking(self._bell[1], False)

    def wake(self) -> None:
        """There may be something to do."""
        with self.turn.news:
            super().wake()
            if not self.has_ended:
                with suppress(BlockingIOError):  # it rings already
                    os.write(self._bell[1], b"!")

    def go_on(self) -> bool:
        """Hear, or jump; False where workers have yet to do something, or nothing is left."""
        self._has_calmed_down = False
        self._limit.renew()
        if self._world.hear():
            self._check_runs()
            return True
        if self._world.quiescence.would_wait:
            return False
        if not self._world.quiescence.approach(self._limit):
            return True
        self._has_calmed_down = not self._jump()
        return not self._has_calmed_down

    def _check_runs(self) -> None:
        if self._world.ledger.starts > self._limit.max_starts:
            raise RunBudgetExceeded(explain.out_of_runs(self._world, self._limit))

    def _jump(self) -> bool:
        """Move the clock to what is due next, where the test has a clock to move."""
        due = self._world.quiescence.next_due() if self.budget.jumps and self._world.clock_moves else None
        if due is None:
            return False
        if self._deadline is not None and due.at > self._deadline:
            world = cast("World", self._world)
            raise RunBudgetExceeded(time_budget(world, self.budget.max_time, due.at, verb="background"))
        self._world.await_due(due, self._limit)
        return True

    def wait(self) -> bool:
        """Wait for news, of the workers as well; False when there will be none."""
        if self._finishes and self._has_calmed_down:
            return self._news
        self._world.listen(self._bell[0])
        return True

    def leave(self) -> None:
        """Nobody wakes it any more."""
        with self.turn.news:  # nobody is about to ring
            for end in self._bell:
                os.close(end)


class Attended:
    """The part of a world of real workers that several threads may drive, one at a time."""

    turn: Turn
    _attendants: list[ProcessAttendant]

    @property
    def _whole(self) -> ProcessWorld:
        return cast("ProcessWorld", self)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """While entered, no thread of ``background()`` moves the clock.

        Raises:
            Deadlock: Another thread does so for too long.
        """
        if not self.turn.attendants:
            yield
            return
        turn = self.turn
        if not turn.take(PATIENCE):
            raise Deadlock(f"this thread has waited {PATIENCE:g} real seconds for its turn, which another thread has.")
        try:
            yield
        finally:
            turn.give_back()
            turn.wake()

    def attend(self, budget: Budget) -> ProcessAttendant:
        """A thread that hears, and moves the clock, whenever nobody else does."""
        self._attendants.append(ProcessAttendant(self._whole, budget))
        return self._attendants[-1]

    def end_attendance(self) -> None:
        """The world ends, perhaps inside of a block."""
        for attendant in self._attendants:
            attendant.give_up()

    async def wait_in_loop(self, result: Any, *, timeout: float | None) -> None:
        """A thread hears, and moves the clock, until a result is there; the event loop goes on."""
        told = partial(explain.deadlock, self._whole)
        wait = LoopWait(cast("World", self), result, timeout=timeout, explain=told)
        attendant = self.attend(FREELY)
        attendant.start()
        try:
            await wait.run()
        finally:
            attendant.give_up()
        attendant.raise_error()

    def driving_waits(self) -> AbstractContextManager[None]:
        """Nothing that a task does reaches an event or a queue of the test's process.

        Raises:
            FidelityError: Always.
        """
        raise FidelityError(
            "driven_waits() is for tasks that run in the test's process, and set an event there, or fill a queue; a "
            "real worker is another process. Run this test with mode='memory', 'fakeredis', 'redis' or 'rabbitmq', or "
            "background()."
        )
