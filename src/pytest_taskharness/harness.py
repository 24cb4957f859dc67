"""The harness: what users hold.  The only place where the rooms are put together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from . import modes
from .asserting import Assertions
from .clock.virtual import Clock, VirtualTime
from .errors import ConfigurationError, FidelityError, HarnessClosed, LeftoverWork, hide_frames
from .timeline import Message, Run, Tally, Timeline
from .worker.apps import checked_app, load_app
from .worker.memory_rig import memory_world
from .worker.node import Node
from .worker.perform import perform
from .worker.report import Report
from .worker.world import World

__all__ = ["Harness", "Worker"]

__tracebackhide__ = hide_frames

#: How many bodies may wait inside one another where the app does not say ``worker_concurrency``.  A fixed number:
#: Celery's default, the number of cores, would make a test depend on the machine.
DEFAULT_CONCURRENCY = 4
NAMES = "abcdefghijklmnopqrstuvwxyz"


class Harness(Assertions):
    """A Celery app under test: its messages, its workers and its clock.

    Get one from the ``harness`` fixture, or from :meth:`open` where fixtures do not reach (``@given``, unittest,
    scripts).
    """

    clock: Clock[Report]

    #: A harness that nobody closes must not be taken apart by the garbage collector in the middle of another test.
    _never_closed: ClassVar[list[Harness]] = []

    def __init__(self, app: Any, mode: str, *, stack: ExitStack) -> None:
        """Use :meth:`open`."""
        self.app = app
        self.mode = mode
        self._stack = stack
        self._closed = False
        self._default_workers = True
        self.strict_leftovers = False

    @classmethod
    def open(
        cls, app: Any, mode: str = modes.DEFAULT, *, start: datetime | str | None = None, seed: int = 0,
        config: Mapping[str, Any] | None = None, workers: int = 1, pool: str | None = None,
        visibility_timeout: float | None = None, strict_leftovers: bool = False, clock: str | None = None,
    ) -> Harness:  # fmt: skip
        """Borrow an app and stop the clock; close the harness to give both back.

        Use it as a context manager: ``with Harness.open(app) as harness: …``.

        Args:
            app: The Celery app, or a path to it as ``celery -A`` takes it.
            mode: ``memory`` or ``eager``.
            start: The first instant of the virtual clock (aware, or ISO 8601 with an offset); the real now if not
                given.
            seed: Makes what is random repeatable: the jitter of retries.
            config: Celery settings that hold as long as the harness is open.
            workers: How many workers consume every queue; with more than one they are called a, b, c, …
            pool: Only for modes with a real worker process.
            visibility_timeout: Only for modes with a Redis.
            strict_leftovers: Whether closing raises :class:`LeftoverWork` where something is still pending.
            clock: ``freezegun`` or ``time-machine``; time-machine where it is installed if not given.

        Raises:
            ConfigurationError: ``mode``, ``app``, ``start`` or ``workers`` cannot be used.
            FidelityError: The mode has no such thing.
        """
        modes.check(mode, origin="Harness.open(mode=…)")
        _check_fidelity(mode, pool=pool, visibility_timeout=visibility_timeout)
        _check_types(config, seed)
        app = load_app(app) if isinstance(app, str) else checked_app(app, origin="Harness.open(app=…)")
        with ExitStack() as stack:
            harness = cls(app, mode, stack=stack)
            harness._build(_moment(start), seed=seed, config=config or {}, clock=clock)
            harness._employ(workers)
            harness.strict_leftovers = strict_leftovers
            harness._stack = stack.pop_all()
        cls._never_closed.append(harness)
        return harness

    def _build(self, start: datetime | None, *, seed: int, config: Mapping[str, Any], clock: str | None) -> None:
        time = VirtualTime(start, library=clock)
        self._stack.callback(time.close)
        built = memory_world(self.app, time=time, config=config, seed=seed, eager=self.mode == "eager")
        self._world, self._broker = self._stack.enter_context(built)
        self.seed = seed
        self.timeline: Timeline = self._world.timeline
        self.clock = Clock(time, self._run_until)
        super().__init__(self._world.timeline, world=_Driven(self), registry=_Registry(self.app))

    def _employ(self, workers: object) -> None:
        if not isinstance(workers, int) or not 1 <= workers <= len(NAMES):
            raise ConfigurationError(f"workers= takes a number from 1 to {len(NAMES)}; given: {workers!r}")
        for name in ["worker"] if workers == 1 else NAMES[:workers]:
            self._world.add_node(name, concurrency=self._concurrency())

    def _concurrency(self) -> int:
        configured = self.app.conf.worker_concurrency
        if configured in (None, 0, "auto"):  # all of them mean the cores of a machine
            return DEFAULT_CONCURRENCY
        if not str(configured).isdigit():
            raise ConfigurationError(f"worker_concurrency is a number, or 'auto'; the app has {configured!r}")
        return int(configured)

    # -- life

    def __enter__(self) -> Harness:
        """Already open."""
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        """Close; leftovers are only complained about where nothing else went wrong."""
        if exc_type is not None:
            self.strict_leftovers = False
        self.close()

    def close(self) -> None:
        """Give the app, Celery's globals and the clock back exactly as they were; closing twice is fine.

        Raises:
            LeftoverWork: With ``strict_leftovers``, where messages, deliveries or timers are still pending.
        """
        if self._closed:
            return
        self._closed = True
        self._never_closed.remove(self)
        leftovers = self._leftovers() if self.strict_leftovers else []
        self._stack.close()
        if leftovers:
            raise LeftoverWork("the test ended with work still pending:\n" + "\n".join(leftovers))

    def _leftovers(self) -> list[str]:
        waiting = [
            f"  in queue {queue!r}: {message.headers.get('task')}"
            for queue in self._broker.queues
            for message in self._broker.peek(queue)
            if "task" in message.headers
        ]
        held = [f"  held, not acknowledged: {message.headers.get('task')}" for message in self._broker.unacked.values()]
        return waiting + held

    def _open(self) -> World:
        if self._closed:
            raise HarnessClosed("this harness is closed: its test, or its with block, has ended")
        return self._world

    # -- driving

    def perform(self, sig: Any, *, attempt: int = 0) -> Run:
        """Run one task, now, without a broker, through Celery's own consumer, request and tracer.

        Args:
            sig: A Celery signature; when and where it would travel (``countdown``, ``queue``, …) does not matter.
            attempt: What ``self.request.retries`` says: 0 for the first attempt.

        Raises:
            NotRegistered: The app has no such task.
            TypeError: The arguments do not fit the task.
        """
        return perform(self._open(), sig, attempt=attempt)

    def step(self) -> Run | None:
        """Take exactly one step: one due timer, or else one delivery; None where there is nothing to do now.

        Raises:
            FidelityError: In ``eager`` mode, where the calls have already done everything.
        """
        if self.mode == "eager":
            raise FidelityError(
                "step() needs messages that wait for a worker; in eager mode the body runs at the call. Run this test "
                "with mode='memory'."
            )
        return self._open().step()

    def drain(self) -> Report:
        """Do all that is due now, and what comes of it, to a fixed point; the clock stays.

        Raises:
            RunBudgetExceeded: Messages go on publishing one another.
        """
        return self._open().drain()

    def settle(self, *, max_time: timedelta | float | None = None, max_runs: int = 10_000) -> Report:
        """Go on until nothing can happen any more; when idle, jump to the next due instant.

        Args:
            max_time: Virtual time (seconds, or a timedelta) after which there must be nothing left to do.
            max_runs: How many task bodies may start.

        Raises:
            RunBudgetExceeded: Either is not enough; the text shows the retry chain.
        """
        limit = timedelta(seconds=max_time) if isinstance(max_time, (int, float)) else max_time
        return self._open().settle(max_time=limit, max_runs=max_runs)

    def _run_until(self, moment: datetime) -> Report:
        return self._open().run_until(moment)

    # -- looking

    @property
    def outbox(self) -> list[Message]:
        """Every message that was published, oldest first, retries included."""
        return self.timeline.messages()

    @property
    def tally(self) -> Tally:
        """What was lost, duplicated, unexpected or unknown."""
        return self.timeline.tally

    # -- workers

    def worker(
        self, name: str | None = None, *, queues: list[str] | None = None, concurrency: int | None = None
    ) -> Worker:  # fmt: skip
        """A worker by name, started where it is not there yet; without a name, the only one.

        The first worker that is named replaces the default one, which consumes every queue.

        Args:
            name: What ``run.worker`` will say.
            queues: The queues it consumes; every queue if not given.
            concurrency: How many bodies may wait inside one another on it.

        Raises:
            ConfigurationError: No name, and more than one worker.
            FidelityError: In ``eager`` mode, which has none.
        """
        world = self._open()
        _check_queues(queues)
        if self.mode == "eager":
            raise FidelityError("eager mode has no worker. Run this test with mode='memory'.")
        found = [node for node in world.nodes if name in (None, node.name)]
        if name is None and len(found) != 1:
            raise ConfigurationError(f"worker() means the only worker; there are {[node.name for node in found]}")
        if found:
            return Worker(found[0])
        if self._default_workers:
            self._default_workers = False
            for node in world.nodes:
                node.stop()
            world.nodes.clear()
        assert name is not None
        return Worker(world.add_node(name, queues=queues, concurrency=concurrency or self._concurrency()))

    def __repr__(self) -> str:
        """As ``<Harness memory of shop at t+0.000s>``."""
        return f"<Harness {self.mode} of {self.app.main}{' (closed)' if self._closed else ''}>"


class Worker:
    """The handle of one worker."""

    def __init__(self, node: Node) -> None:
        """Use ``harness.worker()``."""
        self._node = node

    @property
    def name(self) -> str:
        """What ``run.worker`` says."""
        return self._node.name

    @property
    def queues(self) -> list[str]:
        """The queues that it consumes."""
        return self._node.queues()

    def pause(self) -> None:
        """Take no message and run no timer until :meth:`resume`."""
        self._node.paused = True

    def resume(self) -> None:
        """Go on."""
        self._node.paused = False

    def kill(self) -> None:
        """Die as a node does: the connection is lost, and what is not acknowledged is redelivered."""
        self._node.kill()

    def shutdown(self, *, warm: bool = True) -> None:
        """Stop: warm as on SIGTERM, or cold as on SIGQUIT; either way what is held goes back to the broker.

        https://docs.celeryq.dev/en/stable/userguide/workers.html#stopping-the-worker
        """
        if warm:
            self._node.stop()
        else:
            self._node.kill()

    def __repr__(self) -> str:
        """As ``<Worker a>``."""
        return f"<Worker {self.name}>"


class _Driven:
    """What assertions may do to the world."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    @property
    def now(self) -> datetime:
        return self._harness.clock.now

    def drain(self) -> Report:
        return self._harness.drain()

    def run_until(self, when: datetime) -> Report:
        return self._harness.clock.advance_to(when)


class _Registry:
    """What assertions may ask about the app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def signature_of(self, task_name: str) -> inspect.Signature | None:
        task = self._app.tasks.get(task_name)
        return None if task is None else inspect.signature(task.run)

    def route_hint(self, task_name: str, queue: str) -> str | None:
        routes = self._app.conf.task_routes
        count = len(routes) if isinstance(routes, (dict, list, tuple)) else int(routes is not None)
        entries = f"{count} entr{'y' if count == 1 else 'ies'}"
        return f"no route sends {task_name} to {queue!r} (task_routes has {entries})"


def _check_fidelity(mode: str, *, pool: str | None, visibility_timeout: float | None) -> None:
    if pool is not None:
        raise FidelityError(
            f"pool={pool!r} means a real worker process; mode {mode!r} steps its worker in the test's thread. The mode "
            "that can is 'redis+process', which is not in this version."
        )
    if visibility_timeout is not None:
        raise FidelityError(
            f"visibility_timeout={visibility_timeout!r} belongs to Redis; mode {mode!r} redelivers when a connection "
            "is lost. The modes that can are 'fakeredis' and 'redis', which are not in this version."
        )


def _check_types(config: object, seed: object) -> None:
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError(f"config= takes a dict of Celery settings; given: {config!r}")
    if not isinstance(seed, int):
        raise ConfigurationError(f"seed= takes a whole number; given: {seed!r}")


def _check_queues(queues: object) -> None:
    names = queues if isinstance(queues, (list, tuple)) else [queues]
    if queues is not None and (names is not queues or not all(isinstance(name, str) for name in names)):
        raise ConfigurationError(f"queues= takes a list of names of queues; given: {queues!r}")


def _moment(start: datetime | str | None) -> datetime | None:
    if start is None:
        return None
    try:
        moment = datetime.fromisoformat(start.replace("Z", "+00:00")) if isinstance(start, str) else start
    except ValueError as error:
        raise ConfigurationError(f"start={start!r} is no ISO 8601 time: {error}") from None
    if not isinstance(moment, datetime):
        raise ConfigurationError(f"start= takes an aware datetime or an ISO 8601 text; given: {start!r}")
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"start={start!r} is naive. Say which zone is meant, for instance '2030-01-01T00:00+00:00' or 'Z'."
        )
    return moment.astimezone(timezone.utc)
