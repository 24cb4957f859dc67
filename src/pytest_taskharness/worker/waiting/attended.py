"""The part of a world that several threads may drive, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ...errors import ConfigurationError, Deadlock, hide_frames
from .. import explain
from .background import Budget, SteppedAttendant
from .blocking import driving_waits
from .loop_wait import LoopWait
from .turn import Turn

if TYPE_CHECKING:
    from ..world import World

__all__ = ["Attended"]

__tracebackhide__ = hide_frames

#: Real seconds that a thread waits for another one to end its step.
DRIVING_SECONDS = 30


class Attended:
    """A world, as far as others than the test drive it."""

    #: Who drives; worlds that are open at the same time step one another's workers.
    turn: ClassVar[Turn] = Turn()
    _attendants: list[SteppedAttendant]

    @property
    def _whole(self) -> World:
        return cast("World", self)

    @contextmanager
    def driving(self) -> Iterator[None]:
        """One thread steps at a time; a thread that a body waits for cannot step, as long as it waits."""
        if self._whole.company.strand_here() is not None:  # whoever drives waits for it
            yield
            return
        turn = self.turn
        if not turn.take(DRIVING_SECONDS):
            names = ", ".join(execution.task_name for _, execution in self._whole.stack)
            raise Deadlock(
                f"thread {threading.current_thread().name!r} has waited {DRIVING_SECONDS} real seconds to drive the "
                f"worker, which another thread is driving (running: {names or 'no body'}). A body that waits for a "
                "thread which publishes in eager mode, or calls result.get(), waits for itself; so does one of "
                "background() that waits for what the test does after this verb."
            )
        try:
            yield
        finally:
            turn.give_back()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """While entered, no other thread drives: what takes several steps sees nobody else's between them."""
        try:
            with self.driving():
                yield
        finally:
            if self.turn.attendants:
                self.turn.wake()  # there may be something to do for them now

    def attend(self, budget: Budget) -> SteppedAttendant:
        """A thread that drives whenever nobody else does.

        Raises:
            ConfigurationError: A body asks for it, which would keep the thread waiting.
        """
        world = self._whole
        if (execution := world.execution_here()) is not None:
            raise world.broke(ConfigurationError(explain.attended_by_body(execution.task_name)))
        self._attendants.append(SteppedAttendant(world, budget))
        return self._attendants[-1]

    def end_attendance(self) -> None:
        """The world ends, perhaps inside of a block."""
        for attendant in self._attendants:
            attendant.give_up()

    @staticmethod
    def lose_turn() -> None:
        """Whoever drives is not waited for any more."""
        Attended.turn = Turn()

    async def wait_in_loop(self, result: Any, *, timeout: float | None) -> None:
        """Drive from an event loop until a result is there."""
        world = self._whole
        await LoopWait(world, result, timeout=timeout, explain=partial(explain.deadlock, world)).run()

    def driving_waits(self) -> AbstractContextManager[None]:
        """While entered, waits of the standard library drive this world."""
        return driving_waits(self._whole)
