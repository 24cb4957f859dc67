"""The world of a real worker whose clock the test moves: from due to due, as in a stepped world.

Work that is done meanwhile takes real time, and no virtual time.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from celery.exceptions import TimeoutError as CeleryTimeoutError

from ...clock.real import Real
from ...clock.virtual import VirtualTime
from ...errors import Deadlock, RunBudgetExceeded, hide_frames
from ...worker.explain import time_budget
from ...worker.report import Report
from ...worker.waiting.waits import DeadlockTimeout
from ..between.faketime import write_instant
from . import explain
from .expiring import shift_expiry
from .node import WorkerProcess
from .quiescence import Due, Limit
from .waits import Waits
from .world import PATIENCE, ProcessWorld

__all__ = ["VirtualProcessWorld"]

__tracebackhide__ = hide_frames

#: How often a pending result may be read in a row before the reader counts as waiting.
BUSY_READS = 100


class VirtualProcessWorld(ProcessWorld):
    """Workers on the test's own clock."""

    time: VirtualTime
    #: What expires on the server does so by the test's clock.
    lets_keys_age = True
    clock_moves = True
    way_out = (
        "end what does not end. On a virtual clock max_time= and timeout= count virtual seconds; what a body computes, "
        "or waits for outside of Celery, has to be done within the real ones"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As any world of real workers."""
        super().__init__(*args, **kwargs)
        self._owner = threading.get_ident()

    def _make_waits(self) -> Waits:
        return VirtualWaits(self)

    def lives_here(self) -> bool:
        """Whether the calling thread lives in virtual time: the test's own."""
        return threading.get_ident() == self._owner

    def real_instant(self, moment: datetime | None) -> float:
        """Nothing happens at an instant of virtual time by itself."""
        return float("inf")

    # -- driving

    def settle(self, *, max_time: timedelta | None = None, max_runs: int = 10_000) -> Report:
        """Until nothing can happen any more; jumps to the next due instant when idle."""
        deadline = None if max_time is None else self.time.now + max_time
        limit = self.limit_of("settle()")
        limit.max_runs, limit.max_starts = max_runs, self.ledger.starts + max_runs
        with self._reporting() as report:
            while (due := self.next(limit)) is not None:
                if deadline is not None and due.at > deadline:
                    raise RunBudgetExceeded(time_budget(cast("Any", self), max_time, due.at))
                self.await_due(due, limit)
        if any(sleep.awaits for sleep in self.ledger.sleeps()):
            raise Deadlock(f"bodies wait for tasks that never end.\n{explain.standing(self)}")
        return report()

    def next(self, limit: Limit, *, also_beats: bool = False) -> Due | None:
        """What happens next by itself, once nothing is left to do now."""
        self.quiescence.reach(limit)
        return self.quiescence.next_due(also_beats=also_beats)

    def run_until(self, moment: datetime) -> Report:
        """Let time pass until ``moment``; each item runs at its own due instant."""
        with self._reporting() as report:
            self.pass_until(moment)
        return report()

    def pass_until(self, moment: datetime) -> None:
        """The same, without a report."""
        limit = self.limit_of(f"to move the clock to {moment.isoformat()}")
        while (due := self.next(limit, also_beats=True)) is not None and due.at <= moment:
            self.await_due(due, limit)
            limit.renew()
        if moment > self.time.now:
            self.move_to(moment, limit)
            self.quiescence.reach(limit)

    def await_due(self, due: Due, limit: Limit, *, refuse: bool = True) -> None:
        """Jump there."""
        self.move_to(due.at, limit)
        due.nudge()
        self.quiescence.go_round(limit)

    def move_to(self, moment: datetime, limit: Limit) -> None:
        """Jump to an instant at which something is due; returns when all workers know what time it is."""
        step = moment - self.time.now
        if step > timedelta(0):
            shift_expiry(self.store, step)
            for node in self.nodes:
                if not node.process.closed:
                    write_instant(node.directory, moment)
            self.time.move_to(moment)
        self.quiescence.go_round(limit, word="moved")
        self._wake_sleepers()

    def _wake_sleepers(self) -> None:
        for sleep in self.ledger.sleeps():
            if sleep.until is not None and sleep.until <= self.time.now:
                _knock(self.node(sleep.delivery.worker), sleep.bed)
        for beat in self.beats.of({node.name for node in self.nodes}):
            if beat.bed is not None and beat.is_awake(self.time.now):
                _knock(self.node(beat.worker), beat.bed)


def _knock(node: WorkerProcess, bed: str) -> None:
    """Wake a body; it may have ended meanwhile."""
    with suppress(OSError):
        pipe = os.open(node.directory / bed, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"!")
        finally:
            os.close(pipe)


class VirtualWaits(Waits):
    """Waits that count virtual seconds."""

    _world: VirtualProcessWorld

    def __init__(self, world: VirtualProcessWorld) -> None:
        """Nobody waits yet."""
        super().__init__(world)
        self._reads: dict[str, int] = {}

    def _limit(self, timeout: float | None) -> Limit:
        if timeout is None:
            return super()._limit(None)
        seconds = max(timeout, PATIENCE)
        text = f"the operation timed out: {timeout:g} virtual seconds have not passed, but {seconds:g} real ones have"
        limit = self._limit_of(timeout, text, seconds=seconds)
        limit.until = self._world.time.now + timedelta(seconds=timeout)
        return limit

    def _await_due(self, limit: Limit, timeout: float | None, waiting_for: list[str]) -> None:
        due = self._world.quiescence.next_due(also_beats=limit.until is not None)
        if limit.until is not None and (due is None or due.at > limit.until):
            self._world.move_to(limit.until, limit)
            self._time_out(timeout, due=due, waiting_for=waiting_for)
        if due is None:
            raise Deadlock(explain.deadlock(self._world, waiting_for))
        self._world.await_due(due, limit)

    def _time_out(self, timeout: float | None, *, due: Due | None, waiting_for: list[str]) -> None:
        text = f"the operation timed out after {timeout:g} virtual seconds"
        if due is None:
            raise DeadlockTimeout(f"{text}.\n{explain.deadlock(self._world, waiting_for)}")
        raise CeleryTimeoutError(f"{text}; the next thing that can happen is due at {due.at.isoformat()}.")

    def sleep(self, seconds: float) -> None:
        """``time.sleep`` in the test: the world moves on."""
        self._reads.clear()
        if self._world.turn.attendants and seconds < 1 and self._world.busy():
            Real.sleep(seconds)  # a body waits for something real, perhaps for what the test does next
            return
        with self._world.exclusively():
            self._world.pass_until(self._world.time.now + timedelta(seconds=seconds))

    def looked_at_pending(self, task_id: str) -> None:
        """A state that is not final was read: the hundredth time in a row, somebody waits for it in a loop."""
        if self._world.hear():
            self._reads.clear()
        self._reads[task_id] = self._reads.get(task_id, 0) + 1
        if self._world.turn.attendants:
            return
        limit = super()._limit(None)
        if self._reads[task_id] >= BUSY_READS and (due := self._world.next(limit)) is not None:
            self._world.await_due(due, limit)

    def wait_for_event(self, timeout: float | None) -> bool:
        """Somebody blocks in ``drain_events``: a worker answers soon, or the time is up."""
        with self._world.exclusively():
            return self._bring_event(timeout)

    def _bring_event(self, timeout: float | None) -> bool:
        limit = super()._limit(None)
        if self._world.hear():
            return True
        if self._world.quiescence.is_changing:
            self._world.quiescence.hear(limit)
            return True
        if timeout is not None:
            self._world.move_to(self._world.time.now + timedelta(seconds=timeout), limit)
            return False
        return self._world.hear(Real.monotonic() + PATIENCE)
