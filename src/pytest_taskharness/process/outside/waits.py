"""Somebody waits for a result, or looks at one, while a real worker goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from celery.exceptions import TimeoutError as CeleryTimeoutError

from ...clock.real import Real
from ...errors import Deadlock, hide_frames
from ...worker.waiting.waits import DeadlockTimeout
from . import explain
from .quiescence import Limit

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["Waits"]

__tracebackhide__ = hide_frames

#: How long ``result.get()`` waits without a timeout of its own, in real seconds.
PATIENCE = 300.0
#: How long a worker that has nothing else to do may take to answer, in real seconds.
ANSWER_SECONDS = 30.0


class Waits:
    """The waits of one world, in real time."""

    def __init__(self, world: ProcessWorld) -> None:
        """Nobody waits yet."""
        self._world = world

    @property
    def now(self) -> datetime:
        """The current instant."""
        now: datetime = self._world.time.now
        return now

    def wait_until(
        self, ready: Callable[[], bool], *, timeout: float | None, waiting_for: list[str],
        on_idle: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Wait until ``ready()``; whenever there is nothing to do now, and at the end, call ``on_idle()``.

        Raises:
            celery.exceptions.TimeoutError: ``timeout`` seconds have passed.
            Deadlock: Nothing can happen any more (with a timeout, it is a TimeoutError too).
            RunBudgetExceeded: There is no timeout, and it takes too long.
            FidelityError: There is no timeout, and what is waited for is due too far in the future.
            WorkerDied: A worker has ended by itself.
        """
        limit = self._limit(timeout)
        look_around = on_idle or (lambda: None)
        with self._world.exclusively():
            self._world.hear()
            while not ready():
                if self._has_calmed_down(limit) and not ready():
                    look_around()
                    self._await_due(limit, timeout, waiting_for)
        look_around()

    def let_end(self, task_id: str) -> None:
        """The result is there; let the worker be done with the task too, so that whoever looks finds it ended."""
        limit = Limit("result.get()", PATIENCE, error=lambda limit: explain.out_of_time(self._world, limit))
        with self._world.exclusively():
            self._await_end(task_id, limit)

    def _await_end(self, task_id: str, limit: Limit) -> None:
        self._world.hear()
        while any(delivery.id == task_id for delivery in self._world.busy()):
            self._world.quiescence.approach(limit)

    def _limit(self, timeout: float | None) -> Limit:
        if timeout is None:
            return Limit("result.get()", PATIENCE, error=lambda limit: explain.out_of_time(self._world, limit))
        return self._limit_of(timeout, f"the operation timed out after {timeout:g} seconds", seconds=timeout)

    def _limit_of(self, timeout: float, text: str, *, seconds: float) -> Limit:
        verb = f"result.get(timeout={timeout:g})"
        return Limit(verb, seconds, error=lambda _: CeleryTimeoutError(f"{text}.\n{explain.standing(self._world)}"))

    def _has_calmed_down(self, limit: Limit) -> bool:
        """Wait until a state is stored (to ask the backend more often would tell nothing), or until nothing is left."""
        counts = self._world.ledger.counts
        stored = counts["stored"]
        while counts["stored"] == stored:
            if self._world.quiescence.approach(limit):
                return True
        return False

    def _await_due(self, limit: Limit, timeout: float | None, waiting_for: list[str]) -> None:
        due = self._world.quiescence.next_due()
        if due is None:
            text = explain.deadlock(self._world, waiting_for)
            if timeout is None:
                raise Deadlock(text)
            raise DeadlockTimeout(f"result.get(timeout={timeout:g}) would wait for nothing.\n{text}")
        self._world.await_due(due, limit, refuse=timeout is None)

    def wait_for_event(self, timeout: float | None) -> bool:
        """Somebody blocks in ``drain_events``, for a reply to ``inspect()`` perhaps; False where the time is up.

        It is not up as long as a worker has yet to read what it was asked: on a busy machine that may take a while.
        """
        seconds = PATIENCE if timeout is None else timeout
        if self._world.quiescence.has_to_obey:
            seconds = max(seconds, ANSWER_SECONDS)
        return self._world.hear(Real.monotonic() + seconds)

    def looked_at_pending(self, task_id: str) -> None:
        """Somebody has read a state that is not final: take in what has happened meanwhile."""
        self._world.hear()
