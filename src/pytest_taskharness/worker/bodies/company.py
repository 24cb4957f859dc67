"""Bodies that are not alone: copies of a task that run at once, and bodies that are held while others run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from types import CodeType
from typing import TYPE_CHECKING

from ...clock.timer import Due
from ...errors import ConfigurationError, Deadlock, FidelityError
from ...timeline import short_id
from .strand import Step, Strand
from .strands import Strands
from .thread_bound import complaints

if TYPE_CHECKING:
    from ..node import Node
    from ..world import World
    from .pool import Execution, Job

__all__ = ["Alarm", "Company", "Hold", "Together"]

#: Whether the lines of a code object are places to switch at.
Lines = Callable[[CodeType], bool]


class Together:
    """Two deliveries of one task id that run at once.

    Attributes:
        task_id: Their task id.
        schedule: How many lines each runs in turn, the first delivery first; None for one line each, to the end.
        lines: Whose lines these are; those of the task's body if None.
        ran: Whether they have; a copy whose other one never came has run alone.
    """

    def __init__(self, task_id: str, schedule: Sequence[int] | None, lines: Lines | None) -> None:
        """None is there yet."""
        self.task_id = task_id
        self.schedule = schedule
        self.lines = lines
        self.ran = False
        self.jobs: list[Job] = []
        self.strands: Strands | None = None

    @property
    def steps(self) -> list[Step]:
        """The lines of both, in the order in which they ran."""
        return [] if self.strands is None else self.strands.steps

    def __str__(self) -> str:
        """As in the timeline."""
        if self.schedule is None:
            return "line by line"
        return f"schedule {','.join(map(str, self.schedule))}" if self.schedule else "one after the other"


class Hold:
    """Keeps the next run of a task on a worker, or the one of a task id on any worker, in the beginning of its body."""

    def __init__(
        self, company: Company, *, worker: str | None = None, task: str | None = None, run: str | None = None
    ) -> None:  # fmt: skip
        """Nothing is held yet."""
        self._company = company
        self.worker = worker
        self.task = task
        self._run = run
        self.strands: Strands | None = None

    def is_for(self, job: Job) -> bool:
        """Whether this is what it waits for."""
        if self._run is not None:
            return bool(self._run == job.task_id)
        return (self.worker, self.task) == (job.node.name, job.task_name)

    def release(self) -> bool:
        """Let the body go on with the next step; where none has begun, hold none.  Whether one may have come."""
        return self._company.release(self)


class Alarm:
    """A limit on the time of a body that is held."""

    def __init__(self, company: Company, strands: Strands) -> None:
        """Strike these."""
        self._strike = partial(company.wake, strands)

    def __call__(self) -> None:
        """The instant has come."""
        self._strike()


class Company:
    """The bodies of one world that have a thread of their own."""

    def __init__(self, world: World) -> None:
        """None."""
        self._world = world
        self._pairs: dict[str, Together] = {}
        self._holds: list[Hold] = []
        self._running: list[Strands] = []
        self._condemned: list[Execution] = []

    # -- what is asked for

    def together(
        self, task_id: str, schedule: Sequence[int] | None = None, *, lines: Lines | None = None
    ) -> Together:  # fmt: skip
        """Let the next two deliveries of this id run at once; where a second one never comes, the first runs alone.

        Raises:
            ConfigurationError: The schedule is none.
            FidelityError: There is no worker.
        """
        if self._world.eager:
            raise FidelityError(
                "two copies of a task at once need a worker that has two messages; in eager mode the body runs at the "
                "call. Run this test with mode='memory'."
            )
        if not _is_schedule(schedule):
            raise ConfigurationError(
                f"a schedule is a tuple of line counts, such as (2, 1): the first copy runs 2 lines, the other one 1, "
                f"and so on; given: {schedule!r}"
            )
        self._pairs[task_id] = pair = Together(task_id, schedule, lines)
        return pair

    def hold(self, node: Node, task: str) -> Hold:
        """Keep the next body of this task on this worker in its beginning."""
        return self._held_back(Hold(self, worker=node.name, task=task))

    def hold_run(self, task_id: str) -> Hold:
        """Keep the next body of this task id in its beginning, whichever worker has it."""
        return self._held_back(Hold(self, run=task_id))

    def _held_back(self, hold: Hold) -> Hold:
        self._holds.append(hold)
        return hold

    def release(self, hold: Hold) -> bool:
        """Let it go on; False where none has come, and no thread drives that may have been about to start it."""
        with self._world.exclusively():
            awaited = hold in self._holds
            if awaited:
                self._holds.remove(hold)
            if hold.strands is not None:
                hold.strands.release()
        return not awaited or bool(self._world.turn.attendants)

    def never_held(self) -> list[tuple[str, str]]:
        """What was to be held, and on which worker, and has not come."""
        return [(each.task, each.worker) for each in self._holds if each.task and each.worker]

    # -- starting

    def start(self, job: Job) -> None:
        """Run what the pool was given: alone, beside its copy, or until it is held."""
        if not (self._pairs or self._holds):
            job.run()
            return
        pair = self._pairs.get(job.task_id)
        if pair is not None:
            self._pair(pair, job)
            return
        hold = next((each for each in self._holds if each.is_for(job)), None)
        if hold is not None:
            self._hold(hold, job)
        else:
            job.run()

    def _pair(self, pair: Together, job: Job) -> None:
        pair.jobs.append(job)
        if len(pair.jobs) < 2:
            return
        del self._pairs[pair.task_id]
        job.node.record("fault", task=job.task_name, id=job.task_id, note=f"two copies at once, {pair}")
        pair.strands = strands = self._strands(repeat(1) if pair.schedule is None else pair.schedule)
        pair.ran = True
        for each in pair.jobs:
            strand = strands.add(partial(_run, each))
            each.on_line, each.lines = strand.on_line, pair.lines
        self._go_on(strands)

    def _hold(self, hold: Hold, job: Job) -> None:
        self._holds.remove(hold)
        hold.strands = strands = self._strands(())
        strand = strands.add(partial(_run, job))
        job.on_begin = partial(self._keep, strand)
        self._go_on(strands)

    def _strands(self, schedule: Sequence[int] | repeat[int]) -> Strands:
        time = self._world.time
        return Strands(schedule, now=lambda: time.now, pass_until=self._world.meanwhile.pass_beside_bodies)

    def _keep(self, strand: Strand, execution: Execution) -> None:
        """The body begins: stay there."""
        tell = partial(execution.node.record, "fault", task=execution.task_name, id=execution.task_id)
        tell(note="held in the beginning of its body")
        execution.held = True
        strand.hold()
        execution.held = False
        tell(note="released")
        execution.strike(self._world.time.now)

    def _go_on(self, strands: Strands) -> None:
        if strands not in self._running:
            self._running.append(strands)
        try:
            strands.go_on()
        finally:
            if strands.has_ended:
                self._running.remove(strands)

    # -- stepping

    def go_on(self) -> bool:
        """Let a body go on that was released; False where there is none."""
        if not self._running:
            return False
        strands = next((each for each in self._running if each.can_go_on and not each.is_going), None)
        if strands is not None:
            self._go_on(strands)
        return strands is not None

    def start_lonely(self) -> bool:
        """Nothing else can happen: run a copy whose other one has not come; False where there is none."""
        for pair in self._pairs.values():
            if pair.jobs and pair.jobs[0].node.goes_on:
                del self._pairs[pair.task_id]
                _begin(self, pair.jobs[0])
                return True
        return False

    def reserved(self, node: Node) -> int:
        """How many slots of a worker are taken by copies that wait for their other one."""
        return sum(job.node is node for pair in self._pairs.values() for job in pair.jobs) if self._pairs else 0

    def dues(self, node: Node) -> list[Due]:
        """When the time limits of bodies that are held will strike."""
        found = ((strands, life, life.deadline()) for strands in self._running for life in _held(strands, node))
        return [Due(at, 0, Alarm(self, strands)) for strands, _, at in found if at is not None]

    def wake(self, strands: Strands) -> None:
        """The time of a body that is held is up."""
        strands.release()
        self._go_on(strands)

    # -- who is here

    def strand_here(self) -> Strand | None:
        """The strand that calls, if it is one."""
        if not self._running:
            return None
        found = (strands.strand_here() for strands in self._running)
        return next((strand for strand in found if strand is not None), None)

    # -- ending

    def forget(self, node: Node) -> None:
        """A worker has lost what it had not started."""
        for pair in self._pairs.values():
            pair.jobs = [job for job in pair.jobs if job.node is not node]

    def bury(self, node: Node) -> None:
        """A worker ends: so do the bodies that are held on it."""
        self.forget(node)
        for strands in list(self._running):
            held = _held(strands, node)
            for execution in held:
                execution.killed = True
            if held:
                self.wake(strands)

    def terminate(self, pid: int, node: Node, *, unwinds: bool) -> None:
        """``revoke(terminate=True)``: a body that is held ends now, another one where it sleeps, waits or publishes."""
        for execution in [each for each in node.running if each.pid == pid]:
            execution.was_told = unwinds
            if execution.held:
                execution.killed = True
                self.wake(next(strands for strands in self._running if execution in _held(strands, node)))
            else:
                self._condemned.append(execution)

    def strike_down(self) -> None:
        """The main process has told everybody of those that it has terminated: now they are dead."""
        while self._condemned:
            self._condemned.pop().killed = True

    def finish(self, node: Node) -> None:
        """A warm shutdown lets the bodies end that can.

        Raises:
            Deadlock: One of them is held.
        """
        while found := next((each for each in self._running if each.can_go_on and _held(each, node)), None):
            self._go_on(found)
        self._check_shutdown(node)

    def _check_shutdown(self, node: Node) -> None:
        """Refuse to wait for what is held.

        Raises:
            Deadlock: A warm shutdown waits for the bodies that run.
        """
        held = next((execution for strands in self._running for execution in _held(strands, node)), None)
        if held is not None:
            raise Deadlock(
                f"a warm shutdown of {node.name} waits for the bodies that run there, and {held.task_name} "
                f"{short_id(held.task_id)} is held by hold_in(). Release it before, or use shutdown(warm=False) or "
                "kill()."
            )

    def end(self) -> None:
        """The world ends."""
        for strands in self._running:
            strands.end()
        self._running.clear()

    def check(self, job: Job, error: BaseException | None) -> None:
        """A body has ended, or failed: because of its thread?"""
        strand = self.strand_here()
        for complaint in complaints(job.task_name, error, transactions=strand.transactions if strand else ()):
            self._world.broke(complaint)


def _is_schedule(given: object) -> bool:
    counts = given if isinstance(given, (tuple, list)) else None
    return given is None or (counts is not None and all(isinstance(count, int) and count >= 0 for count in counts))


def _begin(company: Company, job: Job) -> None:
    job.node.outlive(company.start, job)


def _run(job: Job, strand: Strand) -> None:
    """What happens in the thread."""
    job.strand = strand
    job.node.outlive(job.run)


def _held(strands: Strands, node: Node) -> list[Execution]:
    lives: list[Execution] = [strand.life for strand in strands.strands if strand.life is not None]  # type: ignore[misc]
    return [execution for execution in lives if execution.held and execution.node is node]
