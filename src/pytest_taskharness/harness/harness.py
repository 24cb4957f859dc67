"""The harness itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, ClassVar

from .. import modes
from ..asserting import Assertions
from ..clock.virtual import Clock
from ..errors import FidelityError, HarnessClosed, LeftoverWork, UnconsumedMessage, hide_frames
from ..report.attaching import attach_harness
from ..servers.given import GivenURL
from ..servers.given_rabbitmq import GivenRabbitMQ
from ..timeline import Message, Run, Tally, Timeline
from ..worker.borrowing.apps import checked_app, load_app
from ..worker.report import Report
from .answers import Driven, Registry
from .arguments import check_types, given_rabbitmq, given_redis, limits, moment
from .background import Waiting
from .beat import Beats
from .bringing import bring_to
from .broker_handle import Broker
from .exploring import Exploring
from .faults import Faults, check_struck
from .handle import Worker, check_held
from .interruption import end_interruptions
from .layers import lay, taken_off
from .staging import Stage, World
from .unconsumed import left_behind, nobody
from .workforce import Workforce

__all__ = ["Harness"]

__tracebackhide__ = hide_frames


class Harness(Assertions, Exploring, Waiting):
    """A Celery app under test: its messages, its workers and its clock.

    Get one from the ``harness`` fixture, or from :meth:`open` where fixtures do not reach (``@given``, unittest,
    scripts).
    """

    clock: Clock[Report]

    #: Whether it starts workers by itself, makes its app the current one, and shows in its configuration.
    _leads: ClassVar[bool] = True
    #: A harness that nobody closes must not be taken apart by the garbage collector in the middle of another test.
    _never_closed: ClassVar[list[Harness]] = []

    def __init__(self, app: Any, mode: str, *, stack: ExitStack) -> None:
        """Use :meth:`open`."""
        self.app = app
        self.mode = mode
        self._stack = stack
        self._closed = False
        self._workforce = Workforce(app, mode, self._open)
        self.strict_leftovers = False
        self._forgiven = False

    @classmethod
    def open(  # noqa: PLR0913 - the words of the marker, and four more
        cls, app: Any, mode: str = modes.DEFAULT, *, start: datetime | str | None = None, seed: int = 0,
        config: Mapping[str, Any] | None = None, workers: int = 1, pool: str | None = None,
        visibility_timeout: float | None = None, consumer_timeout: float | None = None,
        strict_leftovers: bool = False, clock: str | None = None, redis_url: str | GivenURL | None = None,
        rabbitmq_url: str | GivenRabbitMQ | None = None, fresh_workers: bool = False,
    ) -> Harness:  # fmt: skip
        """Borrow an app and stop the clock; close the harness to give both back.

        Use it as a context manager: ``with Harness.open(app) as harness: …``.

        Args:
            app: The Celery app, or a path to it as ``celery -A`` takes it.
            mode: ``memory``, ``eager``, ``fakeredis``, ``redis``, ``redis+process``,
                ``rabbitmq`` or ``rabbitmq+process``.
            start: The first instant of the virtual clock (aware, or ISO 8601 with an offset); the real now if not
                given.
            seed: Makes what is random repeatable: the jitter of retries.
            config: Celery settings that hold as long as the harness is open.
            workers: How many workers consume every queue; with more than one they are called a, b, c, …
            pool: ``prefork`` (Celery's default), ``threads`` or ``solo``; only for a real worker process.
            visibility_timeout: Seconds after which an unacknowledged delivery is taken for lost; only on a Redis.
            consumer_timeout: Seconds after which RabbitMQ closes the channel of a worker that has not acknowledged;
                ``float("inf")`` where it never does.
            strict_leftovers: Whether closing raises :class:`LeftoverWork` where something is still pending.
            redis_url: A Redis that runs already, for the modes that need one; a server is started if not given.
            rabbitmq_url: The same for a RabbitMQ.
            clock: ``freezegun`` or ``time-machine``; time-machine where it is installed if not given.  With
                real workers also ``real``: no virtual time, although libfaketime is installed.
            fresh_workers: Whether worker processes are started anew, also where those of another test could go on.

        Raises:
            ConfigurationError: ``mode``, ``app``, ``start`` or ``workers`` cannot be used.
            FidelityError: The mode has no such thing.
        """
        modes.check(mode, origin="Harness.open(mode=…)")
        check_types(config, seed)
        stage = Stage(
            mode, config or {}, given_redis(redis_url), given_rabbitmq(rabbitmq_url),
            visibility_timeout=visibility_timeout, consumer_timeout=consumer_timeout, pool=pool,
            fresh_workers=fresh_workers, discreet=not cls._leads,
        )  # fmt: skip
        stage.check()
        app = load_app(app) if isinstance(app, str) else checked_app(app, origin="Harness.open(app=…)")
        with ExitStack() as stack:
            harness = cls(app, mode, stack=stack)
            harness._given = {  # what a twin is opened with
                "config": config, "workers": workers, "pool": pool, "visibility_timeout": visibility_timeout,
                "consumer_timeout": consumer_timeout, "clock": clock, "redis_url": redis_url,
                "rabbitmq_url": rabbitmq_url,
            }  # fmt: skip
            harness._build(stage, moment(start), seed=seed, clock=clock)
            if cls._leads:
                harness._workforce.employ(workers)
            harness.strict_leftovers = strict_leftovers
            harness._stack = stack.pop_all()
        lay(harness, harness._stack)
        cls._never_closed.append(harness)
        return harness

    def _build(self, stage: Stage, start: datetime | None, *, seed: int, clock: str | None) -> None:
        self._world: World = self._stack.enter_context(stage.world(self.app, start=start, seed=seed, clock=clock))
        self.seed = seed
        self.timeline: Timeline = self._world.timeline
        self.clock = Clock(self._world.time, self._run_until)
        self.faults = Faults(self, self._world.script, check_forks=self._world.ferry_or_refuse)
        self.broker = Broker(self, self._open)
        self._stack.callback(end_interruptions, self._world)
        self.beat = Beats(self, self._open, at_end=self._stack.callback)
        super().__init__(self._world.timeline, world=Driven(self), registry=Registry(self.app))

    # -- life

    def __enter__(self) -> Harness:
        """Already open."""
        return self

    def __exit__(self, exc_type: object, error: BaseException | None, traceback: object) -> None:
        """Close; leftovers are only complained about where nothing else went wrong."""
        if error is not None:
            self.forgive()
            attach_harness(error, self)
        self.close()

    def forgive(self) -> None:
        """The test has failed: what it leaves behind, or has not come to, is not worth a second error."""
        self._forgiven = True

    def close(self) -> None:
        """Give the app, Celery's globals and the clock back exactly as they were; closing twice is fine.

        Inside another harness, that is: one that was opened later is closed first, or this one waits for it.

        Raises:
            FaultNeverStruck: No run has come to a fault that the test asked for.
            LeftoverWork: With ``strict_leftovers``, where messages, deliveries or timers are still pending.
        """
        if self._closed:
            return
        self._closed = True
        self._never_closed.remove(self)
        with taken_off(self):  # also where the broker cannot be asked any more
            leftovers = self._leftovers() if self.strict_leftovers and not self._forgiven else []
            unconsumed = left_behind(self._world, self.app) if not (self._forgiven or leftovers) else []
        if leftovers:
            raise LeftoverWork("the test ended with work still pending:\n" + "\n".join(leftovers))
        if not self._forgiven:
            check_struck(self._world.script)
            check_held(self._world)
        for text in unconsumed:
            warnings.warn(UnconsumedMessage(text), stacklevel=2)

    def _leftovers(self) -> list[str]:
        broker = self._world.broker
        waiting = [
            f"  in queue {queue!r}: {message.headers.get('task')}{nobody(self._world, queue)}"
            for queue in broker.queues
            for message in broker.peek(queue)
            if "task" in message.headers
        ]
        held = [f"  held, not acknowledged: {message.headers.get('task')}" for message in broker.unacked.values()]
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
        return self._open().perform(sig, attempt=attempt)

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
            ConfigurationError: Either is no such limit.
        """
        time, runs = limits(max_time, max_runs)
        return self._open().settle(max_time=time, max_runs=runs)

    def bring_to(self, x: Any, moment: str) -> Run:
        """Drive until one run is at a moment, and not one step further: to revoke it there, say, or to kill its worker.

        Args:
            x: A result, an id, a message, a run, or a task that has one run.
            moment: ``"queued"``, its message lies in a queue; ``"held_for_eta"``, a worker has it and waits for its
                eta; ``"running"``, its body has begun, and goes on with the next step.

        Raises:
            ConfigurationError: There is no such moment, or ``x`` is a group.
            MomentMissed: The run has been there before, or never comes there.
            FidelityError: The mode has no such moment.
        """
        return bring_to(self, x, moment)

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

    @property
    def worker_logs(self) -> dict[str, str]:
        """The last lines of the log of each real worker process, by its name; empty where the worker is stepped."""
        return {} if self._closed else self._world.logs()

    # -- workers

    def worker(
        self, name: str | None = None, *, queues: list[str] | None = None, concurrency: int | None = None,
        pool: str | None = None, arguments: Sequence[str] = (),
    ) -> Worker:  # fmt: skip
        """A worker by name, started where it is not there yet; without a name, the only one.

        The first worker that is named replaces the default one, which consumes every queue.

        Args:
            name: What ``run.worker`` will say.
            queues: The queues it consumes; every queue if not given.
            concurrency: The size of its pool; of a stepped worker, how many bodies may wait inside one another.
            pool: ``prefork``, ``threads`` or ``solo``; only for a real worker process.
            arguments: More of the command line of ``celery worker``; only for a real worker process.

        Raises:
            ConfigurationError: No name, and more than one worker.
            FidelityError: In ``eager`` mode, which has none; or the mode's worker is no process.
        """
        return self._workforce.worker(
            name, queues=queues, concurrency=concurrency, pool=pool, arguments=arguments
        )  # fmt: skip

    def __repr__(self) -> str:
        """As ``<Harness memory of shop at t+0.000s>``."""
        return f"<Harness {self.mode} of {self.app.main}{' (closed)' if self._closed else ''}>"
