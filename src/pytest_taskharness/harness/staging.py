"""What each mode is made of.  The only place that knows all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from ..broker.profiles import Profile, profile_for, visibility_timeout_in
from ..clock.virtual import VirtualTime
from ..errors import ConfigurationError, FidelityError
from ..faults import Script
from ..servers.given import GivenURL
from ..timeline import Run, Timeline
from ..worker.report import Report

if TYPE_CHECKING:
    from ..worker.supply import Supply

__all__ = ["Node", "Stage", "World"]

#: What pip installs for a mode that needs more than Celery itself.
EXTRAS = {"fakeredis": "fakeredis", "redis": "redis", "redis+process": "redis"}
#: Where a broker's patience can end.
_MODES_OF = {
    "visibility_timeout": "mode='memory', 'fakeredis', 'redis' or 'redis+process'",
    "consumer_timeout": "mode='memory'",
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


@dataclass(frozen=True)
class Stage:
    """How one harness was asked to be set up.

    Attributes:
        mode: The name of the mode.
        config: Celery settings of this test.
        redis: A Redis that runs already; one is started where a mode needs it and none is given.
        visibility_timeout: Seconds after which Redis' clients take an unacknowledged delivery for lost.
        consumer_timeout: Seconds after which RabbitMQ closes the channel of who has not acknowledged.
        pool: The kind of pool of a real worker process.
        fresh_workers: Whether no worker process of an earlier test goes on.
    """

    mode: str
    config: Mapping[str, Any]
    redis: GivenURL | None = None
    visibility_timeout: float | None = None
    consumer_timeout: float | None = None
    pool: str | None = None
    fresh_workers: bool = False

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
        if self.consumer_timeout is not None:
            self._check_seconds("consumer_timeout", self.consumer_timeout)
            if self.mode not in {"memory", "eager"}:
                raise FidelityError(
                    f"consumer_timeout={self.consumer_timeout!r} belongs to RabbitMQ; mode {self.mode!r} runs on "
                    "Redis, which has visibility_timeout= instead. Run this test with mode='memory', with an app "
                    "whose broker_url is amqp://."
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
        from ..worker.settings import check_names

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
            yield stack.enter_context(
                stepped_world(app, supply, time=time, config=self.config, seed=seed, eager=self.mode == "eager")
            )

    @contextmanager
    def _real(self, app: Any, *, start: datetime | None, seed: int, clock: str | None) -> Iterator[World]:
        self._needs_libraries()
        from ..process.rig import process_world
        from ..servers.redis import the_redis

        with process_world(
            app, the_redis(self.redis), config=self.config, visibility_timeout=self.visibility_timeout,
            pool=self.pool, start=start, seed=seed, clock=clock, reuse=not self.fresh_workers,
        ) as world:  # fmt: skip
            yield world

    def supply(self, app: Any, time: VirtualTime) -> Supply:
        """The broker and the result backend of this mode.

        Raises:
            ConfigurationError: The mode needs a library that is not installed.
            ServerError: No Redis can be had.
        """
        if self.mode in {"memory", "eager"}:
            from ..worker.supply import memory_supply

            return memory_supply(app, time=time, profile=self._profile(app))
        self._needs_libraries()
        from ..worker import redis_supply
        from ..worker.supply import options_for

        options = options_for(app, self.config, self.visibility_timeout)
        if self.mode == "fakeredis":
            return redis_supply.fakeredis_supply(app, options, time=time)
        from ..servers.redis import the_redis

        server = the_redis(self.redis)
        return redis_supply.redis_supply(app, options, time=time, url=server.url, server=server)

    def _profile(self, app: Any) -> Profile:
        """How the broker behaves that the app is configured for."""
        from ..worker.supply import broker_url, options_for

        url = broker_url(app, self.config)
        profile = profile_for(url)
        if self.mode == "eager":
            return replace(profile, visibility_timeout=None, consumer_timeout=None)
        if self.consumer_timeout is not None:
            profile = self._with_consumer_timeout(profile, url)
        if profile.visibility_timeout is not None:
            timeout = visibility_timeout_in(options_for(app, self.config, self.visibility_timeout))
            return replace(profile, visibility_timeout=timeout)
        if self.visibility_timeout is not None:
            raise FidelityError(
                f"visibility_timeout={self.visibility_timeout!r} belongs to Redis; mode 'memory' follows the app's "
                f"broker_url, which is {_scheme(url)}. Run this test with mode='fakeredis', 'redis' or "
                "'redis+process', or with config={'broker_url': 'redis://'}."
            )
        return profile

    def _with_consumer_timeout(self, profile: Profile, url: str | None) -> Profile:
        if profile.consumer_timeout is None:
            raise FidelityError(
                f"consumer_timeout={self.consumer_timeout!r} belongs to RabbitMQ; mode 'memory' follows the app's "
                f"broker_url, which is {_scheme(url)}. Leave it out, or run this test with "
                "config={'broker_url': 'amqp://'}."
            )
        return replace(profile, consumer_timeout=self.consumer_timeout)

    def _needs_libraries(self) -> None:
        wanted = ["redis", *(["fakeredis", "lupa"] if self.mode == "fakeredis" else [])]
        missing = [name for name in wanted if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"mode {self.mode!r} needs {' and '.join(missing)}. Install it with\n"
                f"    pip install 'pytest-taskharness[{EXTRAS[self.mode]}]'"
            )


def _scheme(url: str | None) -> str:
    """A URL may have a password."""
    return f"'{url.partition('://')[0]}://…'" if url else "not set"
