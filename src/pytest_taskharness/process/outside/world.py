"""The world of a real worker: nobody steps it, it goes on by itself, and is waited for by counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from ...clock.real import Real
from ...errors import FidelityError, hide_frames
from ...faults import Script
from ...recorder import Recorder
from ...servers.guarded import GuardedProcess
from ...timeline import Event, Run, Timeline
from ...worker.perform import perform
from ...worker.report import Report
from ...worker.sources import Source
from ...worker.waiting.turn import Turn
from ..between.moments import Moments
from . import explain
from .attending import Attended
from .beats import Beats
from .bringing import bring
from .burying import bury, notice_deaths
from .census import Census, Post, RedisPost
from .held import Delivery
from .intake import Intake
from .ledger import Ledger
from .listening import Ear
from .node import WorkerProcess
from .quiescence import Due, Limit, Quiescence
from .waits import Waits

__all__ = ["ProcessWorld"]

__tracebackhide__ = hide_frames

#: How long a verb waits for what happens in real time, in seconds, unless it is told otherwise.
PATIENCE = 30.0

#: Makes the process of a worker: its name, its queues (None: all of them), and more.
Hire = Callable[..., WorkerProcess]


class ProcessWorld(Attended):
    """The worker processes of one app, and what is known of them.

    Attributes:
        nodes: The workers, in the order in which they were started.
        ledger: What is still to be done.
        moments: When the messages of the test process were made.
    """

    eager = False
    #: Nothing goes wrong by script in a process of its own.
    script = Script()
    #: For whoever has waited too long.
    way_out = "end what does not end, or give it longer: settle(max_time=…), result.get(timeout=…)"
    #: The bodies that wait inside one another in the test's own thread: none.
    stack = ()
    #: Whether the test moves the workers' clock.
    clock_moves = False

    def __init__(self, app: Any, *, time: Any, recorder: Recorder, broker: Any, hire: Hire) -> None:
        """Nothing runs before :meth:`add_node`."""
        self.app = app
        self.time = time
        self.recorder = recorder
        self.broker = broker
        #: The server that the messages are on, and the keys that age.
        self.post: Post = RedisPost(broker)
        self.store = broker
        self.nodes: list[WorkerProcess] = []
        self.ledger = Ledger()
        self.beats = Beats()
        self.waits = self._make_waits()
        self.quiescence = Quiescence(self)
        self._hire = hire
        self._ear = Ear(self.nodes)
        self._intake = Intake(self, self._ear.read)
        self._reported = 0
        #: Who drives.
        self.turn = Turn()
        self._attendants = []
        self.moments = Moments(lambda: time.now)
        #: Something was done to workers that a later test could notice.
        self.is_marked = False
        #: What publishes by itself, beside the workers, in the test process.
        self.sources: list[Source] = []
        recorder.on_published = self._published
        recorder.timeline.before_look = self._hear_before_look
        broker.wait_for_event = self.waits.wait_for_event
        broker.on_added, broker.on_taken_out = self._intake.published, self.ledger.taken_out

    def _make_waits(self) -> Waits:
        return Waits(self)

    @property
    def timeline(self) -> Timeline:
        """What happened, as far as was heard."""
        return self.recorder.timeline

    def logs(self) -> dict[str, str]:
        """The end of each worker's log, by the worker's name."""
        return {node.name: node.process.log_tail() for node in self.nodes}

    def ferry_or_refuse(self) -> None:
        """Nothing has to be carried: a real worker's pool processes are no children of the test's."""

    def end(self) -> None:
        """Nothing yet: its workers end, or are left for another test, when what it has replaced is put back."""

    def close(self) -> None:
        """End all workers."""
        self.end_attendance()
        self.stop_hearing()
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.close)

    def stop_hearing(self) -> None:
        """What the workers do from now on is no longer this world's."""
        self._intake.is_shut = True

    def add_node(self, name: str, *, queues: list[str] | None = None, concurrency: int, **how: Any) -> WorkerProcess:
        """Start one more worker; it is ready when this returns.

        Args:
            name: What ``run.worker`` will say.
            queues: What it consumes; every queue if not given.
            concurrency: The size of its pool.
            how: ``pool`` and ``arguments``, as the rig has them otherwise.

        Raises:
            ConfigurationError: It cannot import the app, or be started so.
            WorkerDied: It did not get ready.
        """
        self.post.ping()  # a worker would try for long to connect to a server that is dead
        self.post.await_birth(name)
        node = self._hire(name, queues=queues, concurrency=concurrency, **how)
        node.await_closed = self._await_closed
        self.nodes.append(node)
        word = "renew" if node.alive else "mark"
        try:
            node.await_ready(self._hear_start)
        except BaseException:
            self.nodes.remove(node)
            raise
        # What is published from now on, also by remote control, finds it subscribed.
        limit = self.limit_of(f"the start of worker {name!r}")
        self.quiescence.go_round(limit, word=word)
        self.quiescence.let_beats_sleep(limit)
        self.ensure_consumers()
        return node

    def dismiss(self, node: WorkerProcess) -> None:
        """A worker that nobody asks for any more."""
        self.is_marked = True
        node.expected_to_end = True
        node.close()
        self.nodes.remove(node)
        self.ledger.left(node.name)
        self.beats.left(node.name)

    def real_instant(self, moment: datetime | None) -> float:
        """When that will be, by ``Real.monotonic``; None is never."""
        if moment is None:
            return float("inf")
        return float(Real.monotonic() + (moment - self.time.now).total_seconds())

    def busy(self) -> list[Delivery]:
        """What workers have to do something about now; of those that are dead or paused nothing is to be expected."""
        slots = {node.name: node.concurrency for node in self.nodes if node.goes_on}
        return self.ledger.busy(self.time.now, slots=slots)

    # -- hearing

    def hear(self, deadline: float | None = 0.0) -> bool:
        """Take in what workers tell; wait for it until the deadline (``Real.monotonic``).  Whether there was anything.

        Raises:
            WorkerDied: One has ended by itself.
        """
        heard = self._intake.take() or self._notice_deaths()
        while not heard and deadline != 0.0 and self._ear.wait(deadline):
            # The bell may ring for what was read already.
            heard = self._intake.take() or self._notice_deaths()
        return heard

    def listen(self, bell: int) -> None:
        """Wait until there is something to hear, or somebody rings a bell."""
        self._ear.wait(None, bell=bell)

    def listen_to_server(self, server: GuardedProcess | None) -> None:
        """Notice its death too, whatever somebody waits for meanwhile; None: it is not ours."""
        self._ear.server = server

    def _hear_start(self, deadline: float) -> None:
        if not self._intake.take() and self._ear.wait(deadline):
            self._intake.take()

    def _hear_before_look(self) -> None:
        """Somebody looks at the timeline, perhaps we ourselves while we write it."""
        with self._intake.lock:  # another thread may be about to tell what it has read
            is_shut = self._intake.is_shut
        if not is_shut:
            self.hear()

    def node(self, name: str) -> WorkerProcess:
        """The worker of this name."""
        return next(node for node in self.nodes if node.name == name)

    def _published(self, event: Event) -> None:
        if event.id is not None:
            event.at = self.moments.of(event.id, eta=event.detail["eta"], otherwise=event.at)
            self._intake.published(event.id, event.detail["retries"])
        with self._intake.lock:
            self.ensure_consumers()
        self.turn.wake()

    def ensure_consumers(self) -> None:
        """Workers that consume every queue consume also those that were created since."""
        names = self._queues()
        for node in self.nodes:
            if node.everything and node.alive:
                for queue in names:
                    node.consume(queue)

    def _queues(self) -> list[str]:
        """The queues of tasks: those that the app has here, and those that workers have published to."""
        declared = (queue.name for queue in list(self.app.amqp.queues.values()) if self.post.is_for_all(queue.name))
        return list(dict.fromkeys([*declared, *self.ledger.queues]))

    def census(self) -> Census:
        """What lies on the server now."""
        return self.post.census(self._queues())

    def _notice_deaths(self) -> bool:
        with self._intake.lock:
            return notice_deaths(self, self._ear, self._intake)

    # -- what the test does to workers

    def kill(self, node: WorkerProcess) -> None:
        """SIGKILL to all processes of a worker."""
        self.is_marked = True
        node.kill()
        self._end(node)
        self.recorder.record("fault", worker=node.name, note="killed: its connection is lost")

    def stop(self, node: WorkerProcess, *, warm: bool = True) -> None:
        """SIGTERM: it ends what it runs, and gives back what it holds; or, not warm, SIGQUIT."""
        self.is_marked = True
        try:
            node.stop(warm=warm)
        finally:
            self._end(node)

    def _end(self, node: WorkerProcess) -> None:
        self._intake.take()
        bury(self, node)

    # -- driving

    def perform(self, signature: Any, *, attempt: int) -> Run:
        """One task, now, without a broker, in the first worker; what it publishes goes to the broker as ever."""
        with self.exclusively():
            return perform(cast("Any", self), signature, attempt=attempt)

    def _await_closed(self, tag: str) -> None:
        """Wait until a worker has dealt with a message that was handed over to it."""
        limit = self.limit_of("perform()")
        while tag not in self.ledger.closed:
            self.quiescence.hear(limit)

    def step(self) -> Run | None:
        """There are no steps.

        Raises:
            FidelityError: Always.
        """
        raise FidelityError(
            "step() takes one step of a worker that waits for it; a real worker process goes on by itself. Run this "
            "test with mode='memory', 'fakeredis' or 'redis', or use drain() or settle()."
        )

    def bring_to(self, task_id: str, moment: str) -> None:
        """Wait until one run is at a moment."""
        with self.exclusively():
            bring(self, task_id, moment)

    def limit_of(self, verb: str, seconds: float = PATIENCE) -> Limit:
        """How long a verb waits, in real seconds."""
        return Limit(verb, seconds, error=lambda limit: explain.out_of_time(self, limit))

    def never_held(self) -> list[tuple[str, str]]:
        """None: ``hold_in()`` is for workers that are stepped."""
        return []

    def drain(self) -> Report:
        """Until nothing is to be done but what is scheduled for later."""
        with self._reporting() as report:
            self.quiescence.reach(self.limit_of("drain()"))
        return report()

    def settle(self, *, max_time: timedelta | None = None, max_runs: int = 10_000) -> Report:
        """Until nothing is to be done at all; waits, in real time, for what is due soon."""
        limit = self.limit_of("settle()", PATIENCE if max_time is None else max_time.total_seconds())
        limit.max_runs, limit.max_starts = max_runs, self.ledger.starts + max_runs
        with self._reporting() as report:
            self.quiescence.reach(limit)
            while (due := self.quiescence.next_due()) is not None:
                self.await_due(due, limit)
                self.quiescence.reach(limit)
        return report()

    def await_due(self, due: Due, limit: Limit, *, refuse: bool = True) -> None:
        """Wait in real time for what will happen by itself, or for something else.

        Raises:
            FidelityError: It is due after the limit, and ``refuse`` says not to wait for nothing.
        """
        at = self.real_instant(due.at)
        if at > limit.deadline and refuse:
            raise FidelityError(explain.due_too_late(self, due, limit))
        if self.hear(min(at, limit.deadline)):
            return
        if limit.left <= 0:
            raise limit.exceeded()
        due.nudge()
        self.quiescence.go_round(limit)

    def run_until(self, moment: datetime) -> Report:
        """Virtual time.

        Raises:
            FidelityError: There is none.
        """
        raise FidelityError(explain.needs_faketime(f"to move the clock to {moment.isoformat()}"))

    @contextmanager
    def _reporting(self) -> Iterator[Callable[[], Report]]:
        with self.exclusively():
            # Workers go on between the verbs too: what they did belongs to the verb that comes after it.
            seq, before = self._reported, self.time.now
            yield lambda: Report.since(self.timeline, seq, elapsed=self.time.now - before)
            self._reported = len(self.timeline)
