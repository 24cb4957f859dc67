"""The world of a real worker: nobody steps it, it goes on by itself, and is waited for by counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from ..broker.redis_broker import RedisBroker
from ..clock.real import Real
from ..errors import FidelityError, WorkerDied, hide_frames
from ..faults import Script
from ..recorder import Recorder
from ..servers.guarded import GuardedProcess
from ..timeline import Event, Run, Timeline
from ..worker.perform import perform
from ..worker.report import Report
from ..worker.sources import Source
from . import explain
from .beats import Beats
from .bringing import bring
from .census import Census, count
from .ledger import Delivery, Ledger
from .listening import Ear
from .moments import Moments
from .node import WorkerProcess
from .quiescence import Due, Limit, Quiescence
from .telling import LEAVES_NO_TRACE, Teller
from .waits import Waits
from .weaving import Weaver

__all__ = ["ProcessWorld"]

__tracebackhide__ = hide_frames

#: How long a verb waits for what happens in real time, in seconds, unless it is told otherwise.
PATIENCE = 30.0
#: How long workers may take to get ready for another test, in real seconds; later they are not asked any more.
PARTING_SECONDS = 10.0

#: Makes the process of a worker: its name, its queues (None: all of them), and more.
Hire = Callable[..., WorkerProcess]


class ProcessWorld:
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

    def __init__(self, app: Any, *, time: Any, recorder: Recorder, broker: RedisBroker, hire: Hire) -> None:
        """Nothing runs before :meth:`add_node`."""
        self.app = app
        self.time = time
        self.recorder = recorder
        self.broker = broker
        self.nodes: list[WorkerProcess] = []
        self.ledger = Ledger()
        self.beats = Beats()
        self.waits = self._make_waits()
        self.quiescence = Quiescence(self)
        self._hire = hire
        self._ear = Ear(self.nodes)
        self._weaver = Weaver()
        self._teller = Teller(app, recorder)
        self._reported = 0
        self.moments = Moments(lambda: time.now)
        self._hearing = False
        #: Something was done to workers that a later test could notice.
        self._is_marked = False
        #: What publishes by itself, beside the workers, in the test process.
        self.sources: list[Source] = []
        recorder.on_published = self._published
        recorder.timeline.before_look = self._hear_before_look
        broker.wait_for_event = self.waits.wait_for_event
        broker.on_added, broker.on_taken_out = self._added, self.ledger.taken_out

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

    def close(self) -> None:
        """End all workers."""
        self._hearing = True
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.close)

    def is_over_for_certain(self) -> bool:
        """Whether the workers have nothing to do, and nothing was done to them: then they may work for another test."""
        if self._is_marked or not self.nodes or not all(node.goes_on for node in self.nodes):
            return False
        try:
            is_over = self.quiescence.has_nothing_left() and self._part() and self.quiescence.has_nothing_left()
        except Exception:  # noqa: BLE001 - whatever it is, they are not what they were
            return False
        self._hearing = True
        return is_over

    def _part(self) -> bool:
        """Have the workers end what bodies may have changed; whether all of them say that nothing else was changed."""
        limit = self._limit("the end of the test", PARTING_SECONDS)
        for node in self.nodes:
            node.tell("part")
        while any(node.is_fit is None for node in self.nodes):
            self.quiescence.hear(limit)
        return all(node.is_fit for node in self.nodes)

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
        self.broker.client.ping()  # a worker would try for long to connect to a server that is dead
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
        limit = self._limit(f"the start of worker {name!r}", PATIENCE)
        self.quiescence.go_round(limit, word=word)
        self.quiescence.let_beats_sleep(limit)
        self.ensure_consumers()
        return node

    def dismiss(self, node: WorkerProcess) -> None:
        """A worker that nobody asks for any more."""
        self._is_marked = True
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
        heard = self._take_in() or self._notice_deaths()
        while not heard and deadline != 0.0 and self._ear.wait(deadline):
            # The bell may ring for what was read already.
            heard = self._take_in() or self._notice_deaths()
        return heard

    def listen_to_server(self, server: GuardedProcess | None) -> None:
        """Notice its death too, whatever somebody waits for meanwhile; None: it is not ours."""
        self._ear.server = server

    def _hear_start(self, deadline: float) -> None:
        if not self._take_in() and self._ear.wait(deadline):
            self._take_in()

    def _hear_before_look(self) -> None:
        """Somebody looks at the timeline, perhaps we ourselves while we write it."""
        if not self._hearing:
            self.hear()

    def _take_in(self) -> bool:
        self._hearing, before = True, self._hearing
        try:
            return self._take_in_all()
        finally:
            self._hearing = before

    def _take_in_all(self) -> bool:
        records = self._ear.read()
        for record in records:
            self.ledger.take(record)
            if "note" in record:
                self._node(record["worker"]).take(record)
                self.beats.take(record)
            else:
                self._tell(self._weaver.take(record))
                if record["kind"] == "publish":
                    self.ensure_consumers()
        if self._weaver.is_waiting and not self.busy():
            self._tell(self._weaver.rest())
        return bool(records)

    def _tell(self, records: Iterator[dict[str, Any]]) -> None:
        for record in records:
            self._teller.tell(record)

    def _node(self, name: str) -> WorkerProcess:
        return next(node for node in self.nodes if node.name == name)

    def _published(self, event: Event) -> None:
        if event.id is not None:
            event.at = self.moments.of(event.id, eta=event.detail["eta"], otherwise=event.at)
            self._weaver.published(event.id, event.detail["retries"])
            self.ledger.published(event.id)
        self.ensure_consumers()

    def _added(self, task_id: str, retries: int) -> None:
        """The test has put a message into a queue once more."""
        self._weaver.published(task_id, retries)
        self.ledger.published(task_id)

    def ensure_consumers(self) -> None:
        """Workers that consume every queue consume also those that were created since."""
        names = self._queues()
        for node in self.nodes:
            if node.everything and node.alive:
                for queue in names:
                    node.consume(queue)

    def _queues(self) -> list[str]:
        """The queues of tasks: those that the app has here, and those that workers have published to."""
        declared = (queue.name for queue in list(self.app.amqp.queues.values()))
        return list(dict.fromkeys([*declared, *self.ledger.queues]))

    def census(self) -> Census:
        """What lies on the server now."""
        return count(self.broker, self._queues())

    def _notice_deaths(self) -> bool:
        if self._ear.has_lost_server():
            self.broker.client.ping()  # raises what became of it
        dead = [node for node in self.nodes if node.alive and node.has_ended()]
        for node in dead:
            self._take_in()  # its last words
            held = self._bury(node)
            if not (node.expected_to_end or node.is_leaving):
                raise WorkerDied(explain.death(node, held))
        self.beats.raise_failed()
        return bool(dead)

    def _bury(self, node: WorkerProcess) -> list[Delivery]:
        node.alive = False
        held = self.ledger.left(node.name)
        self.beats.left(node.name)
        unacked = self.census().unacked if held else {}
        for delivery in held:
            if delivery.tag not in unacked and not delivery.settled:
                self.ledger.returned(delivery)
        return held

    # -- what the test does to workers

    def kill(self, node: WorkerProcess) -> None:
        """SIGKILL to all processes of a worker."""
        self._is_marked = True
        node.kill()
        self._end(node)
        self.recorder.record("fault", worker=node.name, note="killed: its connection is lost")

    def stop(self, node: WorkerProcess, *, warm: bool = True) -> None:
        """SIGTERM: it ends what it runs, and gives back what it holds; or, not warm, SIGQUIT."""
        self._is_marked = True
        try:
            node.stop(warm=warm)
        finally:
            self._end(node)

    def _end(self, node: WorkerProcess) -> None:
        self._take_in()
        self._bury(node)

    def watch_control(self) -> None:
        """Remote control is a broadcast: nobody knows of it but who has sent it, and who obeys."""
        control, broadcast = self.app.control, self.app.control.broadcast

        def counted(
            command: str, arguments: Any = None, destination: Any = None, *args: Any, **kwargs: Any
        ) -> Any:  # fmt: skip
            self.recorder.before_effect()
            self._is_marked |= command not in LEAVES_NO_TRACE
            for node in self.nodes:
                if node.goes_on:
                    is_meant = destination is None or f"{node.name}@taskharness" in destination
                    node.expect_command(command if is_meant else "", arguments or {})
            return broadcast(command, arguments, destination, *args, **kwargs)

        control.broadcast = counted

    # -- driving

    def perform(self, signature: Any, *, attempt: int) -> Run:
        """One task, now, without a broker, in the first worker; what it publishes goes to the broker as ever."""
        return perform(cast("Any", self), signature, attempt=attempt)

    def _await_closed(self, tag: str) -> None:
        """Wait until a worker has dealt with a message that was handed over to it."""
        limit = self._limit("perform()", PATIENCE)
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
        bring(self, task_id, moment)

    def limit_of(self, verb: str) -> Limit:
        """How long a verb waits that is not told otherwise."""
        return self._limit(verb, PATIENCE)

    def never_held(self) -> list[tuple[str, str]]:
        """None: ``hold_in()`` is for workers that are stepped."""
        return []

    def drain(self) -> Report:
        """Until nothing is to be done but what is scheduled for later."""
        with self._reporting() as report:
            self.quiescence.reach(self._limit("drain()", PATIENCE))
        return report()

    def settle(self, *, max_time: timedelta | None = None, max_runs: int = 10_000) -> Report:
        """Until nothing is to be done at all; waits, in real time, for what is due soon."""
        limit = self._limit("settle()", PATIENCE if max_time is None else max_time.total_seconds())
        limit.max_runs, limit.max_starts = max_runs, self.ledger.starts + max_runs
        with self._reporting() as report:
            self.quiescence.reach(limit)
            while (due := self.quiescence.next_due()) is not None:
                self.await_due(due, limit)
                self.quiescence.reach(limit)
        return report()

    def _limit(self, verb: str, seconds: float) -> Limit:
        return Limit(verb, seconds, error=lambda limit: explain.out_of_time(self, limit))

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
        # Workers go on between the verbs too: what they did belongs to the verb that comes after it.
        seq, before = self._reported, self.time.now
        yield lambda: Report.since(self.timeline, seq, elapsed=self.time.now - before)
        self._reported = len(self.timeline)
