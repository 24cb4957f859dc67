"""Everything that can happen under one virtual clock, one step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from ..clock.timer import Due
from ..clock.virtual import VirtualTime
from ..errors import RunBudgetExceeded, hide_frames
from ..recorder import Recorder
from ..timeline import Event, Run, Timeline
from . import explain
from .bodies.eventloop import outside_event_loop
from .bringing import bring
from .descent import Descent
from .firing import Firing
from .hearing import Hearing
from .meanwhile import Meanwhile
from .node import Node
from .perform import perform
from .repeating import Repeating
from .report import Report
from .restores import Restores
from .sources import Source
from .staff import Staff
from .supplies.supply import Broker
from .waiting.attended import Attended
from .waiting.blocking import stop_driving
from .waiting.waits import Waits

__all__ = ["World"]

__tracebackhide__ = hide_frames

#: How many bodies a verb starts, where a beat goes on sending.
MOST_RUNS = 10_000


class World(Staff, Attended):
    """The workers of one app, and what drives them.

    Worlds that are open at the same time (two apps in one test) share the process's clock, so driving one drives
    the others: an item that is due earlier runs earlier, whosever it is.
    """

    #: All open worlds, outermost first.
    open_worlds: list[World] = []  # noqa: RUF012 - one list for the process, on purpose
    #: How many messages have waited in a pool.
    _numbers = 0

    def __init__(self, app: Any, *, time: VirtualTime, recorder: Recorder, broker: Broker, eager: bool = False) -> None:
        """Nothing runs before :meth:`opened`."""
        super().__init__()
        self.app = app
        self.time = time
        self.recorder = recorder
        self.broker = broker
        self.eager = eager
        #: What publishes by itself, beside the workers.
        self.sources: list[Source] = []
        #: Called before each step.
        self.on_step: Callable[[], object] = lambda: None
        #: In eager mode, while a call is followed: what comes after the task that runs.
        self.put_off: list[Event] | None = None
        self.too_deep: list[Event] = []
        #: A body sleeps: workers may take messages in, and start nothing.
        self.asleep = False
        self._turn = 0
        self._broken: Exception | None = None
        self._reported = 0
        self.waits = Waits(self)
        self.descent = Descent(self)
        self._repeating = Repeating(self)
        self.firing = Firing(self)
        self.meanwhile = Meanwhile(self)
        self.restores = Restores(self)
        self.hearing = Hearing(self)
        self._attendants = []
        recorder.on_published = self.hearing.published
        recorder.before_effect = self.stay_dead

    @property
    def timeline(self) -> Timeline:
        """What happened."""
        return self.recorder.timeline

    def logs(self) -> dict[str, str]:
        """None: what a stepped worker logs is in the test's own log."""
        return {}

    @contextmanager
    def opened(self) -> Iterator[World]:
        """While entered, steps of this world are taken whenever time passes."""
        World.open_worlds.append(self)
        try:
            with self.hearing.connected():
                yield self
        finally:
            self.end()

    def end(self) -> None:
        """Take no step any more; again does nothing."""
        if self in World.open_worlds:
            World.open_worlds.remove(self)
        self.end_attendance()
        stop_driving(self)
        self.company.end()
        self.broker.ending = True
        for node in self.nodes:
            node.stop()

    def perform(self, signature: Any, *, attempt: int) -> Run:
        """Run one task, now, without a broker."""
        with self.exclusively():
            try:
                return perform(self, signature, attempt=attempt)
            finally:
                self.raise_the_fallen()

    # -- one step

    def step(self) -> Run | None:
        """One due timer, else one delivery; None where neither is there."""
        with self.exclusively():
            seq = len(self.timeline)
            if not self.take_step():
                return None
            touched = next((event.id for event in self.timeline.events[seq:] if event.id), None)
            return self.timeline.run(touched) if touched else None

    def take_step(self) -> bool:
        """The same, when only whether matters.

        Raises:
            TaskHarnessError: An error of ours has ended a task during the step.
        """
        self.on_step()
        with self.driving():
            if asyncio._get_running_loop() is None:
                stepped = self._step()
            else:
                with outside_event_loop():
                    stepped = self._step()
            for world in list(World.open_worlds):
                world.raise_the_fallen()
        if stepped:
            self.waits.forget()
        if self.execution_here() is None:
            self.raise_broken()
        return stepped

    def broke(self, error: Exception) -> Exception:
        """An error of ours inside a task would end as that task's failure: the verb that drives it raises it too."""
        self._broken = error
        return error

    def raise_broken(self) -> None:
        """Raise the error of ours that has ended a task, if one has."""
        if self._broken is not None:
            error, self._broken = self._broken, None
            raise error

    def _step(self) -> bool:
        nodes = self.all_nodes()
        self.obey()
        for node in nodes:
            if node.leaving:
                node.leave_when_idle()
        due = self._next(nodes)
        if self.firing.fire_due(before=None if due is None else due[1].at):
            return True
        if due is not None and due[1].at <= self.time.now:
            due[0].fire(due[1])
            return True
        if self.company.go_on() or self._start_reserved(nodes) or self.deliver(nodes):
            return True
        return self.company.start_lonely()

    def _start_reserved(self, nodes: list[Node]) -> bool:
        """What waits in a pool for a free slot, first come first."""
        able = [(found, node) for node in nodes if node.waiting and node.can_work and (found := node.next_reserved())]
        if able:
            reserved, node = min(able, key=lambda each: each[0].number)
            node.start_reserved(reserved)
        return bool(able)

    def deliver(self, nodes: list[Node]) -> bool:
        """One message, to each worker in turn."""
        for ahead in range(len(nodes)):
            node = nodes[(self._turn + ahead) % len(nodes)]
            if node.takes_messages and node.deliver():
                self._turn = (self._turn + ahead + 1) % len(nodes)
                return True
        return False

    def next_number(self) -> int:
        """A place in the line of what waits in the pools."""
        World._numbers += 1
        return World._numbers

    def obey(self) -> bool:
        """Let the workers answer remote control commands, at once; whether there were any."""
        obeyed = False
        for node in self.all_nodes():
            while node.obey():
                obeyed = True
        return obeyed

    @property
    def has_company(self) -> bool:
        """Whether another world is open."""
        return len(World.open_worlds) > 1

    @property
    def is_alone(self) -> bool:
        """Whether this world is open, and no other one."""
        return World.open_worlds == [self]

    def all_nodes(self) -> list[Node]:
        """The workers of every open world, except of an app that a later world has borrowed again."""
        if self.is_alone:
            return self.nodes
        latest = {id(world.app): world for world in World.open_worlds}
        return [node for world in latest.values() for node in world.nodes]

    def _next(self, nodes: list[Node]) -> tuple[Node, Due] | None:
        found = [(node, due) for node in nodes for due in node.dues()]
        return min(found, key=lambda item: item[1].at) if found else None

    def next_due(self, *, though_in_vain: bool = False) -> datetime | None:
        """The next instant at which there is work to do, or None.

        Args:
            though_in_vain: Whether that may be one at which messages only come back once more for which nobody has
                room: for whoever goes no further than to a given instant.
        """
        nodes = self.all_nodes()
        found = self._next(nodes)
        if found is None:
            return None
        repeats = self._repeating.is_lonely(*found)
        if repeats and self._repeating.is_all(nodes):
            return None
        is_idle = repeats or found[0].is_restore(found[1])
        return found[1].at if though_in_vain or not is_idle or _can_change(nodes) else None

    def next_instant(self) -> datetime | None:
        """The next instant at which anything happens; what publishes by itself goes on for ever."""
        due = self.next_due(though_in_vain=True)
        return min((at for at in (due, self._next_by_itself()) if at is not None), default=None)

    def _next_by_itself(self) -> datetime | None:
        """When a beat next sends something, or a timer goes off that repeats itself."""
        fire, repeat = self.firing.next(), self._repeating.next()
        return min((at for at in (fire and fire[1], repeat) if at is not None), default=None)

    def bring_to(self, task_id: str, moment: str) -> None:
        """Drive until one run is there, and not one step further."""
        with self.exclusively():
            bring(self, task_id, moment)

    # -- many steps

    def drain(self) -> Report:
        """All that is due now, to a fixed point; the clock stays."""
        with self._reporting() as report:
            # Bodies that sleep let a beat send more: that may never end.
            limit = self.starts + MOST_RUNS if self.firing.next() is not None else None
            self._exhaust(limit=limit, max_runs=MOST_RUNS, verb="drain()")
        return report()

    def settle(self, *, max_time: timedelta | None = None, max_runs: int = 10_000) -> Report:
        """Until nothing can happen any more; jumps to the next due instant when idle."""
        deadline = None if max_time is None else self.time.now + max_time
        limit = self.starts + max_runs
        with self._reporting() as report:
            while True:
                self._exhaust(limit=limit, max_runs=max_runs)
                due = self.next_due()
                if due is None:
                    return report()
                if deadline is not None and due > deadline:
                    raise RunBudgetExceeded(explain.time_budget(self, max_time, due))
                self.move_to(due)

    def run_until(self, moment: datetime) -> Report:
        """Let time pass until ``moment``; each item runs at its own due instant."""
        with self._reporting() as report:
            self.pass_until(moment)
        return report()

    def pass_until(self, moment: datetime) -> None:
        """The same, without a report."""
        while not self._is_past(moment):
            self._exhaust(until=moment)
            due = self.next_instant()
            if due is None or due > moment:
                break
            self.move_to(due)
        if moment > self.time.now:
            self.move_to(moment)
            self._exhaust(until=moment)

    def _is_past(self, moment: datetime) -> bool:
        """Whether bodies have slept past it, with a beat beside them that goes on sending: they may never be done."""
        return self.time.now > moment and any(world.sources for world in World.open_worlds)

    def _exhaust(
        self, *, limit: int | None = None, max_runs: int = 0, until: datetime | None = None, verb: str = "settle()"
    ) -> None:  # fmt: skip
        while not (until is not None and self._is_past(until)) and self.take_step():
            if limit is not None and self.starts > limit:
                raise RunBudgetExceeded(explain.run_budget(self, max_runs, verb=verb))

    def move_to(self, moment: datetime) -> None:
        """Jump to an instant at which something is due, or to an earlier one at which something publishes by itself."""
        self.descent.begin_anew()
        earlier = self._next_by_itself()
        self.time.move_to(moment if earlier is None else min(moment, earlier))

    @contextmanager
    def _reporting(self) -> Iterator[Callable[[], Report]]:
        with self.exclusively():
            # In eager mode the work was done at the calls, before the verb: it belongs to the verb's report.
            seq = self._reported if self.eager else len(self.timeline)
            before = self.time.now
            yield lambda: Report.since(self.timeline, seq, elapsed=self.time.now - before)
            self._reported = len(self.timeline)


def _can_change(nodes: list[Node]) -> bool:
    """Whether anything can come of what these workers will do by themselves."""
    found = [(node, due) for node in nodes for due in node.dues()]
    dues = [(node, due) for node, due in found if not Repeating.is_lonely(node, due)]
    if not all(node.is_restore(due) for node, due in dues):
        return True
    worlds = {id(node.world): node.world for node, _ in dues}
    return not dues or not all(world.restores.are_in_vain() for world in worlds.values())
