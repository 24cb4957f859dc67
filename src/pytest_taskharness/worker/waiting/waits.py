"""Somebody waits, sleeps or looks: the test, or a body, and the world goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celery.exceptions import TimeoutError as CeleryTimeoutError

from ...errors import Deadlock, hide_frames
from ...timeline.table import offset
from .. import explain
from ..bodies.pool import Execution

if TYPE_CHECKING:
    from ..world import World

__all__ = ["Waits"]

__tracebackhide__ = hide_frames

#: How often a pending result may be read in a row, with nothing else happening, before the reader counts as waiting.
BUSY_READS = 100
#: How many such waits, or sleeps, may find nothing to do before it is a deadlock.
IDLE_WAITS = 100_000


class DeadlockTimeout(Deadlock, CeleryTimeoutError):  # type: ignore[misc]
    """``result.get(timeout=…)`` ran into its timeout, and no longer timeout would have helped."""


# On a page it is the Deadlock that users can catch; that it is Celery's TimeoutError too is for `except` clauses.
DeadlockTimeout.__qualname__, DeadlockTimeout.__module__ = Deadlock.__qualname__, Deadlock.__module__


class Waits:
    """The waits of one world."""

    def __init__(self, world: World) -> None:
        """Nobody waits yet."""
        self._world = world
        self._reads: dict[str, int] = {}
        self._idle = 0
        self._asks = 0
        #: Whoever sleeps again and again waits for a task, although it asks somebody else for its result.
        self.knows_no_other = False
        #: Called with the ids that somebody has waited for.
        self.on_arrival: Callable[[list[str]], object] = lambda ids: None

    @property
    def now(self) -> datetime:
        """The current instant."""
        return self._world.time.now

    def forget(self) -> None:
        """Something has happened: whoever looks again has a reason to."""
        self._reads.clear()
        self._idle = 0
        self._asks = 0

    def wait_until(
        self, ready: Callable[[], bool], *, timeout: float | None, waiting_for: list[str],
        on_idle: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Drive until ``ready()``; whenever there is nothing to do now, and at the end, call ``on_idle()``.

        Raises:
            celery.exceptions.TimeoutError: ``timeout`` virtual seconds have passed.
            Deadlock: Nothing can happen any more (with a timeout, it is a TimeoutError too).
        """
        deadline = None if timeout is None else self._world.time.now + timedelta(seconds=timeout)
        look_around = on_idle or (lambda: None)
        with self._world.exclusively(), self._blocking(waiting_for) as strike:
            while not ready():
                strike()
                if not self._world.take_step():
                    look_around()
                    self._let_time_pass(deadline, timeout, waiting_for)
            self._world.obey()  # what the one that it has waited for has told the workers, they have heard by now
            self.on_arrival(waiting_for)
            strike()
        look_around()
        if deadline is not None and self._world.time.now > deadline:
            # A body runs in one go: it was still sleeping when the time was up.
            raise CeleryTimeoutError(
                f"{_timed_out(timeout)}; the result was there at {self._when(self._world.time.now)}."
            )

    @contextmanager
    def _blocking(self, waiting_for: list[str]) -> Iterator[Callable[[], None]]:
        """While the test, or a body, waits; yields what lets the body's time limits strike."""
        execution = self._world.execution_here()
        if execution is None:
            yield lambda: None
            return
        execution.waiting_for = tuple(waiting_for)
        yield lambda: execution.strike(self._world.time.now)
        execution.waiting_for = ()

    def _let_time_pass(self, deadline: datetime | None, timeout: float | None, waiting_for: list[str]) -> None:
        execution = self._world.execution_here()
        limit = execution.deadline() if execution else None
        due = _earliest(self._world.next_due(though_in_vain=deadline is not None), limit)
        if deadline is not None and (due is None or due > deadline):
            self._world.move_to(deadline)
            if self._world.time.now < deadline:
                return  # a beat comes first
            self._time_out(timeout, due=_earliest(self._world.next_due(), limit), waiting_for=waiting_for)
        if due is None:
            error = Deadlock(explain.deadlock(self._world, waiting_for))
            raise error if execution is None else self._world.broke(error)
        self._world.move_to(due)

    def _time_out(self, timeout: float | None, *, due: datetime | None, waiting_for: list[str]) -> None:
        text = _timed_out(timeout)
        if due is None:
            raise DeadlockTimeout(f"{text}.\n{explain.deadlock(self._world, waiting_for)}")
        raise CeleryTimeoutError(f"{text}; the next thing that can happen is due at {self._when(due)}.")

    def _when(self, moment: datetime) -> str:
        return f"{offset(self._world.timeline.start, moment)} ({moment.isoformat()})"

    def wait_for_event(self, timeout: float | None) -> bool:
        """Somebody blocks in ``drain_events``, for a reply to ``inspect()`` perhaps: do something, or pass the time."""
        if timeout is not None and not self._world.lives_here():
            return self._await_event(timeout)
        with self._world.exclusively():
            return self._bring_event(timeout)

    def _await_event(self, timeout: float) -> bool:
        """A thread of the user's own listens, in real time: however often it looks, the clock is not its to move."""
        news, turn = threading.Event(), self._world.turn
        turn.listeners.append(news.set)
        try:
            with self._world.exclusively():
                has_stepped = self._world.obey() or self._world.take_step()
            return has_stepped or news.wait(timeout)
        finally:
            turn.listeners.remove(news.set)

    def _bring_event(self, timeout: float | None) -> bool:
        if self._world.obey() or self._world.take_step():
            return True
        due = self._world.next_due(though_in_vain=timeout is not None)
        if timeout is None and due is None:
            raise Deadlock(explain.deadlock(self._world, []))
        deadline = self._world.time.now + timedelta(seconds=timeout or 0)
        if due is not None and (timeout is None or due <= deadline):
            self._world.move_to(due)
            return True
        self._world.move_to(deadline)
        return self._world.time.now < deadline  # a beat comes first

    def looked_at_pending(self, task_id: str) -> None:
        """A state that is not ready was read: the hundredth time in a row, somebody is waiting for it in a loop."""
        self._reads[task_id] = self._reads.get(task_id, 0) + 1
        if self._reads[task_id] < BUSY_READS or self._world.execution_here() is not None:
            return
        if not self._go_on():
            self._waited_for_nothing()

    def asked_workers(self) -> None:
        """Workers were asked what they do: the hundredth time in a row, somebody waits for another answer."""
        self._asks += 1
        if self._asks >= BUSY_READS and self._world.execution_here() is None and not self._go_on():
            self._idle += 1
            if self._idle > IDLE_WAITS:
                raise Deadlock(explain.deadlock(self._world, []))

    def _go_on(self) -> bool:
        """Take a step, or jump to the next due instant; whether there was either, or somebody else does so."""
        turn = self._world.turn
        if not turn.take(0):
            return True
        try:
            if self._world.take_step():
                return True
            due = self._world.next_due()
            if due is not None:
                self._world.move_to(due)
            return due is not None
        finally:
            turn.give_back()

    def sleep(self, seconds: float) -> None:
        """``time.sleep``: in a task's body the clock moves; in the test the world moves on."""
        execution = self._world.execution_here()
        if execution is not None:
            self._sleep_in_body(execution, self._world.time.now + timedelta(seconds=seconds))
            return
        if self._world.turn.attendants and seconds < 1 and self._is_overslept(seconds):
            return
        with self._world.exclusively():
            self._sleep_in_test(seconds)

    def _is_overslept(self, seconds: float) -> bool:
        """Whether a body that waits for something real in the thread of ``background()`` takes as long."""
        turn = self._world.turn
        if not turn.take(seconds):
            return True
        turn.give_back()
        return False

    def _sleep_in_test(self, seconds: float) -> None:
        steps = len(self._world.timeline)
        self._reads = dict.fromkeys(self._reads, 0)  # a loop that sleeps is not a busy one
        self._world.pass_until(self._world.time.now + timedelta(seconds=seconds))
        if all(event.kind == "clock jump" for event in self._world.timeline.events[steps:]):
            self._waited_for_nothing()

    def _waited_for_nothing(self) -> None:
        if (self._reads or self.knows_no_other) and self._world.next_due() is None:
            self._idle += 1
            if self._idle > IDLE_WAITS:
                raise Deadlock(
                    explain.deadlock(self._world, list(self._reads)) if self._reads else explain.sleeping(self._world)
                )

    def _sleep_in_body(self, execution: Execution, until: datetime) -> None:
        deadline = execution.deadline()
        if deadline is not None and deadline <= until:
            self._world.meanwhile.pass_in_body(deadline)
            execution.strike(self._world.time.now)
        self._world.meanwhile.pass_in_body(until)


def _timed_out(timeout: float | None) -> str:
    return f"the operation timed out after {timeout:g} virtual seconds"


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
