"""Puts one world of real workers together: an app, a Redis, the workers' command line, and what is recorded."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from ..broker.redis_broker import RedisBroker
from ..clock.sleep import Sleeper, sleep_virtually
from ..clock.virtual import VirtualTime
from ..errors import ConfigurationError, FidelityError, hide_frames
from ..recorder import Recorder
from ..servers.redis import RedisServer
from ..timeline import Timeline
from ..worker.redis_supply import options_for, redis_supply
from ..worker.takeover import borrowed, virtual_readers
from .backend import ProcessRedisBackend
from .explain import needs_faketime
from .faketime import environment, find_library, microseconds, write_instant
from .node import WorkerProcess
from .spec import WorkerSpec
from .virtual import VirtualProcessWorld, VirtualWaits
from .walltime import WallTime
from .whereabouts import app_source, task_sources
from .world import ProcessWorld

__all__ = ["POOLS", "REAL", "process_world"]

__tracebackhide__ = hide_frames

#: The kinds of pool that a worker may have here; the first is the default, as it is Celery's.
POOLS = ("prefork", "threads", "solo")
#: With these there is no worker, or it goes away.
NO_WORKER = frozenset({"--help", "--version", "-D", "--detach"})
#: The word for a clock that nobody moves.
REAL = "real"


@contextmanager
def process_world(
    app: Any, server: RedisServer, *, config: Mapping[str, Any], visibility_timeout: float | None = None,
    pool: str | None = None, arguments: Sequence[str] = (), start: datetime | None = None, seed: int = 0,
    clock: str | None = None,
) -> Iterator[ProcessWorld]:  # fmt: skip
    """A world without workers yet; its time is virtual where libfaketime is installed.

    Args:
        app: The app; a worker has to be able to import it.
        server: Where broker and result backend are.
        config: Celery settings of this test, for its own process and for workers.
        visibility_timeout: Seconds after which an unacknowledged delivery is taken for lost.
        pool: ``prefork``, ``threads`` or ``solo``.
        arguments: More of the command line of ``celery worker``.
        start: The first instant of the clock.
        seed: Makes what is random in the test process repeatable.
        clock: What freezes the test process (``freezegun``, ``time-machine``), or ``real`` for the real clock.

    Raises:
        ConfigurationError: No worker could import the app, or there is no such pool.
        FidelityError: A real clock starts now, and nowhere else.
    """
    library = None if clock == REAL else find_library()
    if start is not None and library is None:
        raise FidelityError(needs_faketime(f"start={start.isoformat()}"))
    hiring = _Hiring(app, pool=_checked_pool(pool), arguments=_checked_arguments(arguments), library=library)
    with ExitStack() as stack:
        time: Any = WallTime() if library is None else VirtualTime(start, library=clock)
        if library is not None:
            stack.callback(time.close)
        hiring.time = time
        recorder = Recorder(Timeline(time.now), time)
        supply = redis_supply(
            app, options_for(app, config, visibility_timeout), time=time, url=server.url, server=server
        )  # fmt: skip
        settings = {**config, **supply.settings}
        hiring.settings = {**hiring.carried, **settings}
        broker = cast("RedisBroker", supply.broker)
        stack.callback(broker.close)
        _write_bindings_at_once(broker)
        make = ProcessWorld if library is None else VirtualProcessWorld
        world = make(app, time=time, recorder=recorder, broker=broker, hire=hiring.hire)
        backend = _backend_maker(app, world)
        amqp = stack.enter_context(borrowed(app, config=settings, connect=supply.connect, make_backend=backend))
        recorder.wrap_amqp(amqp)
        world.moments.watch(amqp)
        world.watch_control()
        if isinstance(world, VirtualProcessWorld):
            stack.enter_context(virtual_readers(time, seed))
            sleeper = Sleeper(time.monotonic, cast("VirtualWaits", world.waits).sleep, world.lives_here)
            stack.enter_context(sleep_virtually(sleeper))
        stack.enter_context(world.opened())
        yield world


class _AtOnce(dict[Any, Any]):
    """Bindings that somebody else reads too: they cannot be put off until we read them ourselves."""

    def __setitem__(self, key: Any, write: Callable[[], object]) -> None:
        write()


def _write_bindings_at_once(broker: RedisBroker) -> None:
    broker.bindings = _AtOnce()
    broker.flush_bindings = lambda: None  # type: ignore[method-assign]


def _backend_maker(app: Any, world: ProcessWorld) -> Callable[[], Any]:
    def make_backend() -> Any:
        backend = ProcessRedisBackend(app, broker=world.broker, waits=world.waits)
        world.recorder.wrap_backend(backend)
        return backend

    return make_backend


def _checked_arguments(arguments: object) -> tuple[str, ...]:
    if not isinstance(arguments, (list, tuple)) or not all(isinstance(each, str) for each in arguments):
        raise ConfigurationError(f"arguments= takes a list of texts, as on a command line; given: {arguments!r}")
    for each in arguments:
        if each in NO_WORKER:
            raise ConfigurationError(f"arguments=[…, {each!r}] would start no worker that a test could hold")
    return tuple(arguments)


def _checked_pool(pool: str | None) -> str:
    if pool is not None and pool not in POOLS:
        raise ConfigurationError(f"pool= takes one of {', '.join(POOLS)}; given: {pool!r}")
    return pool or POOLS[0]


@dataclass
class _Hiring:
    """What all workers of a world have in common.

    Attributes:
        app: The app.
        pool: The kind of pool.
        arguments: More of the command line.
        library: libfaketime, where the clock is virtual.
        time: The clock.
        settings: What Celery is to be told.
    """

    app: Any
    pool: str
    arguments: tuple[str, ...]
    library: Path | None
    time: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source = app_source(self.app)
        # Before the app is borrowed: what the harness sets for this process is not for workers.
        self.carried = {**_portable(self.app), **_NEEDED, "worker_pool": self.pool}

    def hire(
        self, name: str, *, queues: list[str] | None, concurrency: int, pool: str | None = None,
        arguments: Sequence[str] = (),
    ) -> WorkerProcess:  # fmt: skip
        """Start the process of one worker; ``pool`` and ``arguments`` are its own."""
        pool = _checked_pool(pool or self.pool)
        command = [
            "-n", f"{name}@taskharness", "-l", "INFO", f"--pool={pool}", f"--concurrency={concurrency}",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
            *(["-Q", ",".join(queues)] if queues else []), *self.arguments, *_checked_arguments(arguments),
        ]  # fmt: skip
        spec = WorkerSpec(
            name, self.source, modules=task_sources(self.app), path=tuple(sys.path), arguments=tuple(command),
            settings={**self.settings, "worker_pool": pool}, django_databases=_django_databases(),
            instant=microseconds(self.time.now) if self.library else None, reloads_clock=pool == "threads",
        )  # fmt: skip
        prepare = partial(self._prepare_clock, threads=pool == "threads")
        return WorkerProcess(self.app, spec, everything=queues is None, concurrency=concurrency, prepare=prepare)

    def _prepare_clock(self, directory: Path, *, threads: bool) -> Mapping[str, str]:
        if self.library is None:
            return {}
        write_instant(directory, self.time.now)
        return environment(self.library, directory, threads=threads)


def _portable(app: Any) -> dict[str, Any]:
    """What was changed on the app in this process, as far as it can be carried over to another one."""
    app.finalize()
    return {name: value for name, value in app.conf.maps[0].items() if _can_be_pickled(value)}


#: Whatever the app says: the test decides who runs a task, and waits for the broker that it has started.
_NEEDED = {"task_always_eager": False, "broker_connection_retry_on_startup": True}


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects raise what they like
        return False
    return True


def _django_databases() -> dict[str, str]:
    """Where a Django test has its databases, which are not those that the settings file names."""
    if "django.db" not in sys.modules:
        return {}
    connections = sys.modules["django.db"].connections
    if not sys.modules["django.conf"].settings.configured:
        return {}
    return {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
