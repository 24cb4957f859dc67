"""What each mode is made of.  The only place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from ..broker.profiles import RABBITMQ
from ..clock.virtual import VirtualTime
from ..errors import ConfigurationError, FidelityError
from ..faults import Script
from ..servers.given import GivenURL
from ..servers.given_rabbitmq import GivenRabbitMQ
from ..timeline import Run, Timeline
from ..worker.report import Report
from .following import profile_of

if TYPE_CHECKING:
    from ..worker.supplies.supply import Supply

__all__ = ["Attendant", "Node", "Stage", "World"]

#: What pip installs for a mode that needs more than Celery itself.
EXTRAS = {"fakeredis": "fakeredis", "redis": "redis", "redis+process": "redis", "rabbitmq+process": "redis"}
#: Where a broker's patience can end.
_MODES_OF = {
    "visibility_timeout": "mode='memory', 'fakeredis', 'redis' or 'redis+process'",
    "consumer_timeout": "mode='memory' or 'rabbitmq'",
}


class Node(Protocol):
    """What a handle asks of its worker."""

    @property
    def name(self) -> str:
        """What ``run.worker`` says."""

    def queues(self) -> list[str]:
        """The names of the queues that it consumes."""

    def pause(self) -> None:
        """Do nothing until :meth:`resume`."""

    def resume(self) -> None:
        """Go on."""


class Attendant(Protocol):
    """A thread that drives, while a block of the test lasts."""

    steps: int
    patience: float
    has_ended: bool
    error: BaseException | None
    on_end: Callable[[], object]

    def start(self) -> None:
        """Begin."""

    def ask_to_finish(self) -> None:
        """End as soon as nothing is left to do."""

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""

    def give_up(self) -> None:
        """End it, whatever is left."""

    def raise_error(self) -> None:
        """Raise what has gone wrong in it."""


class World(Protocol):
    """What the harness asks of a world, whether somebody steps it or it goes on by itself."""

    nodes: Any
    sources: Any
    recorder: Any
    broker: Any
    time: Any
    script: Script

    @property
    def timeline(self) -> Timeline:
        """What happened."""

    def never_held(self) -> list[tuple[str, str]]:
        """The tasks, and their workers, of which a run was to be held, and none has come."""

    def ferry_or_refuse(self) -> object:
        """Refuse where a body cannot run in a forked child."""

    def logs(self) -> dict[str, str]:
        """The end of the log of each worker that has one of its own."""

    def add_node(self, name: str, *, queues: list[str] | None = None, concurrency: int, **how: Any) -> Any:
        """Start one more worker."""

    def dismiss(self, node: Any) -> None:
        """A worker that nobody asks for any more."""

    def kill(self, node: Any) -> None:
        """SIGKILL."""

    def stop(self, node: Any, *, warm: bool = True) -> None:
        """SIGTERM, or SIGQUIT."""

    def perform(self, signature: Any, *, attempt: int) -> Run:
        """Run one task, now."""

    def step(self) -> Run | None:
        """Take one step."""

    def bring_to(self, task_id: str, moment: str) -> None:
        """Drive until one run is at a moment."""

    def drain(self) -> Report:
        """All that is due now."""

    def settle(self, *, max_time: timedelta | None = None, max_runs: int = 10_000) -> Report:
        """All there is."""

    def run_until(self, moment: datetime) -> Report:
        """Let time pass."""

    def attend(self, budget: Any) -> Attendant:
        """A thread that drives whenever nobody else does."""

    def exclusively(self) -> AbstractContextManager[None]:
        """While entered, no other thread drives."""

    async def wait_in_loop(self, result: Any, *, timeout: float | None) -> None:
        """Drive from an event loop until a result is there."""

    def driving_waits(self) -> AbstractContextManager[None]:
        """While entered, waits of the standard library in the test's thread drive."""


@dataclass(frozen=True)
class Stage:
    """How one harness was asked to be set up.

    Attributes:
        mode: The name of the mode.
        config: Celery settings of this test.
        redis: A Redis that runs already; one is started where a mode needs it and none is given.
        rabbitmq: The same for a RabbitMQ.
        visibility_timeout: Seconds after which Redis' clients take an unacknowledged delivery for lost.
        consumer_timeout: Seconds after which RabbitMQ closes the channel of who has not acknowledged.
        pool: The kind of pool of a real worker process.
        fresh_workers: Whether no worker process of an earlier test goes on.
        discreet: Whether the app looks as ever, and does not become the current one.
    """

    mode: str
    config: Mapping[str, Any]
    redis: GivenURL | None = None
    rabbitmq: GivenRabbitMQ | None = None
    visibility_timeout: float | None = None
    consumer_timeout: float | None = None
    pool: str | None = None
    fresh_workers: bool = False
    discreet: bool = False

    @property
    def is_real(self) -> bool:
        """Whether the worker is a process of its own."""
        return self.mode.endswith("+process")

    def check(self) -> None:
        """Refuse what the mode cannot represent.

        Raises:
            FidelityError: The text names a mode that can.
            ConfigurationError: A value cannot be used.
        """
        if self.pool is not None and not self.is_real:
            raise FidelityError(
                f"pool={self.pool!r} means a real worker process; mode {self.mode!r} steps its worker in the test's "
                "thread. Run this test with mode='redis+process'."
            )
        if self.visibility_timeout is not None:
            self._check_seconds("visibility_timeout", self.visibility_timeout)
            if self.mode.startswith("rabbitmq"):
                raise FidelityError(
                    f"visibility_timeout={self.visibility_timeout!r} belongs to Redis; RabbitMQ has consumer_timeout= "
                    f"instead. Run this test with {_MODES_OF['visibility_timeout']}."
                )
        if self.consumer_timeout is not None:
            self._check_seconds("consumer_timeout", self.consumer_timeout)
            if self.mode == "rabbitmq+process":
                raise FidelityError(
                    f"consumer_timeout={self.consumer_timeout!r} passes by the clock of the RabbitMQ, which is real in "
                    f"mode {self.mode!r}. Run this test with {_MODES_OF['consumer_timeout']}."
                )
            if self.mode not in {"memory", "eager", "rabbitmq"}:
                raise FidelityError(
                    f"consumer_timeout={self.consumer_timeout!r} belongs to RabbitMQ; mode {self.mode!r} runs on "
                    "Redis, which has visibility_timeout= instead. Run this test with mode='rabbitmq', or with "
                    "mode='memory' and an app whose broker_url is amqp://."
                )

    def _check_seconds(self, name: str, given: object) -> None:
        if self.mode == "eager":
            raise FidelityError(
                f"{name}={given!r} belongs to deliveries; in eager mode the body runs at the call. Run "
                f"this test with {_MODES_OF[name]}."
            )
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not given > 0:
            raise ConfigurationError(f"{name}= takes seconds, more than 0; given: {given!r}")

    @contextmanager
    def world(self, app: Any, *, start: datetime | None, seed: int, clock: str | None) -> Iterator[World]:
        """The world of this mode, without workers yet.

        Raises:
            ConfigurationError: The mode needs a library that is not installed, or a setting is misspelt.
            FidelityError: The mode has no such clock.
            ServerError: No Redis can be had.
        """
        from ..worker.borrowing.settings import check_names

        check_names(app, self.config)
        if self.is_real:
            with self._real(app, start=start, seed=seed, clock=clock) as real:
                yield real
            return
        if clock == "real":
            raise FidelityError(
                f"clock='real' is for a real worker process; mode {self.mode!r} steps its worker under a virtual "
                "clock. Run this test with mode='redis+process'."
            )
        from ..worker.rig import stepped_world

        time = VirtualTime(start, library=clock)
        with ExitStack() as stack:
            stack.callback(time.close)
            supply = self.supply(app, time)
            eager = self.mode == "eager"
            world = stepped_world(
                app, supply, time=time, config=self.config, seed=seed, eager=eager, discreet=self.discreet
            )  # fmt: skip
            yield stack.enter_context(world)

    @contextmanager
    def _real(self, app: Any, *, start: datetime | None, seed: int, clock: str | None) -> Iterator[World]:
        self._needs_libraries()
        from ..process.rig import process_world
        from ..servers.redis import the_redis

        amqp = self._amqp(app)
        with process_world(
            app, the_redis(self.redis), amqp=amqp, config=self.config, visibility_timeout=self.visibility_timeout,
            pool=self.pool, start=start, seed=seed, clock=clock, reuse=not self.fresh_workers,
        ) as world:  # fmt: skip
            yield world

    def _amqp(self, app: Any) -> Any:
        """The RabbitMQ of real workers, None where they are on the Redis that has the results."""
        if not self.mode.startswith("rabbitmq"):
            return None
        from ..servers.rabbitmq import the_rabbitmq

        backend = str(self.config.get("result_backend") or app.conf.result_backend or "")
        if backend.startswith("rpc"):
            raise FidelityError(
                f"result_backend={backend!r} sends results by the broker; mode {self.mode!r} has them on a Redis.\n"
                "Run this test with mode='rabbitmq', or with config={'result_backend': 'redis://'}."
            )
        return the_rabbitmq(self.rabbitmq)

    def supply(self, app: Any, time: VirtualTime) -> Supply:
        """The broker and the result backend of this mode.

        Raises:
            ConfigurationError: The mode needs a library that is not installed.
            ServerError: No Redis can be had.
        """
        if self.mode in {"memory", "eager"}:
            from ..worker.supplies.supply import memory_supply

            return memory_supply(app, time=time, profile=profile_of(self, app))
        if self.mode == "rabbitmq":
            return self._rabbitmq(app, time)
        self._needs_libraries()
        from ..worker.supplies import redis_supply
        from ..worker.supplies.supply import options_for

        options = options_for(app, self.config, self.visibility_timeout)
        if self.mode == "fakeredis":
            return redis_supply.fakeredis_supply(app, options, time=time)
        from ..servers.redis import the_redis

        server = the_redis(self.redis)
        return redis_supply.redis_supply(app, options, time=time, url=server.url, server=server)

    def _rabbitmq(self, app: Any, time: VirtualTime) -> Supply:
        from ..servers.rabbitmq import the_rabbitmq
        from ..worker.supplies.rabbit_supply import rabbit_supply

        profile = RABBITMQ
        if self.consumer_timeout is not None:
            profile = replace(profile, consumer_timeout=self.consumer_timeout)
        return rabbit_supply(app, self.config, time=time, server=the_rabbitmq(self.rabbitmq), profile=profile)

    def _needs_libraries(self) -> None:
        wanted = ["redis", *(["fakeredis", "lupa"] if self.mode == "fakeredis" else [])]
        missing = [name for name in wanted if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"mode {self.mode!r} needs {' and '.join(missing)}. Install it with\n"
                f"    pip install 'pytest-taskharness[{EXTRAS[self.mode]}]'"
            )
