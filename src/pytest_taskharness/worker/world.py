"""Everything that can happen under one virtual clock, one step at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

from celery import signals
from celery.exceptions import TimeoutError as CeleryTimeoutError

from ..clock.timer import Due
from ..clock.virtual import VirtualTime
from ..errors import Deadlock, FidelityError, RunBudgetExceeded
from ..recorder import Recorder
from ..timeline import Event, Run, Timeline
from . import explain
from .eventloop import outside_event_loop
from .node import Node
from .pool import Execution
from .report import Report

__all__ = ["Broker", "World"]

#: How often a pending result may be read in a row, with nothing else happening, before the reader counts as waiting.
BUSY_READS = 100
#: How many such waits, or sleeps, may find nothing to do before it is a deadlock.
IDLE_WAITS = 10_000
#: How many messages may descend from one another at one virtual instant.
MAX_GENERATIONS = 10_000


class DeadlockTimeout(Deadlock, CeleryTimeoutError):  # type: ignore[misc]
    """``result.get(timeout=…)`` ran into its timeout, and no longer timeout would have helped."""


class Broker(Protocol):
    """What the world needs to tell where messages are."""

    @property
    def queues(self) -> list[str]:
        """The names of all queues."""

    def peek(self, queue: str) -> list[Any]:
        """The messages that wait in a queue; each has ``headers``."""


class World:
    """The workers of one app, and what drives them.

    Worlds that are open at the same time (two apps in one test) share the process's clock, so driving one drives
    the others: an item that is due earlier runs earlier, whosever it is.
    """

    #: All open worlds, outermost first.
    _open: list[World] = []  # noqa: RUF012 - one list for the process, on purpose

    def __init__(self, app: Any, *, time: VirtualTime, recorder: Recorder, broker: Broker, eager: bool = False) -> None:
        """Nothing runs before :meth:`opened`."""
        self.app = app
        self.time = time
        self.recorder = recorder
        self.broker = broker
        self.eager = eager
        self.nodes: list[Node] = []
        self.starts = 0
        self.stack: list[tuple[int, Execution]] = []
        self._owner = threading.get_ident()
        self._lock = threading.RLock()
        self._turn = 0
        self._reads: dict[str, int] = {}
        self._idle = 0
        self._generation: dict[str, int] = {}
        self._broken: Exception | None = None
        self._reported = 0
        recorder.on_published = self._published
        recorder.before_effect = self._stay_dead

    @property
    def timeline(self) -> Timeline:
        """What happened."""
        return self.recorder.timeline

    @contextmanager
    def opened(self) -> Iterator[World]:
        """While entered, steps of this world are taken whenever time passes."""
        World._open.append(self)
        signals.task_revoked.connect(self._revoked)
        try:
            yield self
        finally:
            signals.task_revoked.disconnect(self._revoked)
            World._open.remove(self)
            for node in self.nodes:
                node.stop()

    def add_node(self, name: str, *, queues: list[str] | None = None, concurrency: int) -> Node:
        """Start one more worker."""
        node = Node(self, name, queues=queues, concurrency=concurrency)
        node.start()
        self.nodes.append(node)
        return node

    # -- one step

    def step(self) -> Run | None:
        """One due timer, else one delivery; None where neither is there."""
        seq = len(self.timeline)
        if not self._take_step():
            return None
        touched = next((event.id for event in self.timeline.events[seq:] if event.id), None)
        return self.timeline.run(touched) if touched else None

    def _take_step(self) -> bool:
        if self._broken is not None:
            error, self._broken = self._broken, None
            raise error
        with self._lock:
            if asyncio._get_running_loop() is None:
                stepped = self._step()
            else:
                with outside_event_loop():
                    stepped = self._step()
        if stepped:
            self._reads.clear()
            self._idle = 0
        return stepped

    def _broke(self, error: Exception) -> Exception:
        """An error of ours inside a task would end as that task's failure: the verb that drives it raises it too."""
        self._broken = error
        return error

    def _step(self) -> bool:
        nodes = self._all_nodes()
        self._obey(nodes)
        due = self._next(nodes)
        if due is not None and due[1].at <= self.time.now:
            due[0].fire()
            return True
        for offset in range(len(nodes)):
            node = nodes[(self._turn + offset) % len(nodes)]
            if node.can_work and node.deliver():
                self._turn = (self._turn + offset + 1) % len(nodes)
                return True
        return False

    @staticmethod
    def _obey(nodes: list[Node]) -> bool:
        """Remote control commands are answered at once."""
        obeyed = False
        for node in nodes:
            while node.obey():
                obeyed = True
        return obeyed

    def _all_nodes(self) -> list[Node]:
        """The workers of every open world, except of an app that a later world has borrowed again."""
        if World._open == [self]:
            return self.nodes
        latest = {id(world.app): world for world in World._open}
        return [node for world in latest.values() for node in world.nodes]

    def _next(self, nodes: list[Node]) -> tuple[Node, Due] | None:
        entries = ((node, node.timer.peek()) for node in nodes if node.can_work)
        found = [(node, due) for node, due in entries if due is not None]
        return min(found, key=lambda item: item[1].at) if found else None

    def next_due(self) -> datetime | None:
        """The next instant at which a timer is due, or None."""
        found = self._next(self._all_nodes())
        return None if found is None else found[1].at

    # -- many steps

    def drain(self) -> Report:
        """All that is due now, to a fixed point; the clock stays."""
        with self._reporting() as report:
            self._exhaust()
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
                self._move_to(due)

    def run_until(self, moment: datetime) -> Report:
        """Let time pass until ``moment``; each item runs at its own due instant."""
        with self._reporting() as report:
            self._pass_until(moment)
        return report()

    def _pass_until(self, moment: datetime) -> None:
        while True:
            self._exhaust()
            due = self.next_due()
            if due is None or due > moment:
                break
            self._move_to(due)
        if moment > self.time.now:
            self._move_to(moment)
            self._exhaust()

    def _exhaust(self, *, limit: int | None = None, max_runs: int = 0) -> None:
        while self._take_step():
            if limit is not None and self.starts > limit:
                raise RunBudgetExceeded(explain.run_budget(self, max_runs))

    def _move_to(self, moment: datetime) -> None:
        self._generation.clear()
        self.time.move_to(moment)

    @contextmanager
    def _reporting(self) -> Iterator[Callable[[], Report]]:
        # In eager mode the work was done at the calls, before the verb: it belongs to the verb's report.
        seq = self._reported if self.eager else len(self.timeline)
        before = self.time.now
        yield lambda: Report.since(self.timeline, seq, elapsed=self.time.now - before)
        self._reported = len(self.timeline)

    # -- somebody waits, sleeps or looks

    def wait_until(self, ready: Callable[[], bool], *, timeout: float | None, waiting_for: list[str]) -> None:
        """Drive until ``ready()``.

        Raises:
            celery.exceptions.TimeoutError: ``timeout`` virtual seconds have passed.
            Deadlock: Nothing can happen any more (with a timeout, it is a TimeoutError too).
        """
        deadline = None if timeout is None else self.time.now + timedelta(seconds=timeout)
        execution = self.stack[-1][1] if self._executing_here() else None
        if execution is not None:
            execution.waiting_for = tuple(waiting_for)
        while not ready():
            if self._take_step():
                continue
            due = self.next_due()
            if deadline is not None and (due is None or due > deadline):
                self._move_to(deadline)
                self._time_out(timeout, due=due, waiting_for=waiting_for)
            if due is None:
                error = Deadlock(explain.deadlock(self, waiting_for))
                raise error if execution is None else self._broke(error)
            self._move_to(due)
        if execution is not None:
            execution.waiting_for = ()

    def _time_out(self, timeout: float | None, *, due: datetime | None, waiting_for: list[str]) -> None:
        text = f"the operation timed out after {timeout:g} virtual seconds"
        if due is None:
            raise DeadlockTimeout(f"{text}.\n{explain.deadlock(self, waiting_for)}")
        raise CeleryTimeoutError(f"{text}; the next thing that can happen is due at {due.isoformat()}.")

    def wait_for_event(self, timeout: float | None) -> bool:
        """Somebody blocks in ``drain_events``, for a reply to ``inspect()`` perhaps: do something, or pass the time."""
        if self._obey(self._all_nodes()) or self._take_step():
            return True
        due = self.next_due()
        if timeout is None and due is None:
            raise Deadlock(explain.deadlock(self, []))
        deadline = self.time.now + timedelta(seconds=timeout or 0)
        if due is not None and (timeout is None or due <= deadline):
            self._move_to(due)
            return True
        self._move_to(deadline)
        return False

    def looked_at_pending(self, task_id: str) -> None:
        """A state that is not ready was read: the hundredth time in a row, somebody is waiting for it in a loop."""
        self._reads[task_id] = self._reads.get(task_id, 0) + 1
        if self._reads[task_id] < BUSY_READS or self._executing_here():
            return
        if not self._take_step():
            due = self.next_due()
            if due is not None:
                self._move_to(due)
            else:
                self._waited_for_nothing()

    def sleep(self, seconds: float) -> None:
        """``time.sleep``: in a task's body the clock moves; in the test the world moves on."""
        if self._executing_here():
            self._sleep_in_body(self.time.now + timedelta(seconds=seconds))
            return
        steps = len(self.timeline)
        self._reads = dict.fromkeys(self._reads, 0)  # a loop that sleeps is not a busy one
        self._pass_until(self.time.now + timedelta(seconds=seconds))
        if all(event.kind == "clock jump" for event in self.timeline.events[steps:]):
            self._waited_for_nothing()

    def _waited_for_nothing(self) -> None:
        if self._reads and self.next_due() is None:
            self._idle += 1
            if self._idle > IDLE_WAITS:
                raise Deadlock(explain.deadlock(self, list(self._reads)))

    def _sleep_in_body(self, until: datetime) -> None:
        execution = self.stack[-1][1]
        deadline = execution.deadline()
        if deadline is not None and deadline <= until:
            self.time.move_to(deadline)
            execution.strike(self.time.now)
        self.time.move_to(until)

    def _stay_dead(self) -> None:
        if self._executing_here():
            self.stack[-1][1].stay_dead()

    def lives_here(self) -> bool:
        """Whether the calling thread lives in virtual time: the test's own, and one that runs a task."""
        return threading.get_ident() == self._owner or self._executing_here()

    def _executing_here(self) -> bool:
        return bool(self.stack) and self.stack[-1][0] == threading.get_ident()

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """While a body runs."""
        self.starts += 1
        self.stack.append((threading.get_ident(), execution))
        try:
            yield
        finally:
            self.stack.pop()

    # -- what Celery reports

    def _published(self, event: Event) -> None:
        if event.id is None:
            return
        self._descends(event.id, event.id if event.detail["retries"] else event.detail.get("parent_id"))
        if self.eager and not (event.detail["retries"] and self._is_running(event.id)):
            self.complete(event.id)

    def _is_running(self, task_id: str) -> bool:
        return any(execution.task_id == task_id for _, execution in self.stack)

    def _descends(self, task_id: str, parent_id: str | None) -> None:
        generation = self._generation.get(parent_id or "", 0) + 1
        self._generation[task_id] = generation
        if generation > MAX_GENERATIONS:
            raise self._broke(RunBudgetExceeded(explain.generations(self, task_id, MAX_GENERATIONS)))

    def rejected(self, identity: dict[str, Any], *, requeue: bool) -> None:
        """A delivery was refused."""
        if requeue and self.eager:
            text = (
                f"{identity['task']} rejected its message with requeue=True. In eager mode there is no broker that "
                "could deliver it again; run this test with mode='memory'."
            )
            raise self._broke(FidelityError(text))
        if requeue and identity.get("id"):
            self._descends(identity["id"], identity["id"])

    def _revoked(self, request: Any = None, expired: bool = False, terminated: bool = False, **_: Any) -> None:
        if World._open[-1] is not self and self not in World._open:
            return
        task_id = getattr(request, "id", None)
        if task_id is None or not self.timeline.of(task_id):
            return
        note = "expired" if expired else "terminated" if terminated else "revoked"
        self.recorder.record("revoke", task=getattr(request, "task", None), id=task_id, state="REVOKED", note=note)

    # -- eager

    def complete(self, task_id: str) -> None:
        """Run one task to its end, through its retries; an eta that the caller set is left to the clock."""
        while not self._is_complete(task_id):
            if self._take_step():
                continue
            due = self.next_due()
            if due is None or self._waits_for_eta(task_id):
                return
            self._move_to(due)

    def _is_complete(self, task_id: str) -> bool:
        run = self.timeline.run(task_id)
        return run is not None and run.finished

    def _waits_for_eta(self, task_id: str) -> bool:
        run = self.timeline.run(task_id)
        return run is not None and not run.attempts and run.eta is not None and run.eta > self.time.now
