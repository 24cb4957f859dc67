"""What all workers of a world have in common, and how one of them is started, or goes on from an earlier test."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, FidelityError, hide_frames
from ..between.faketime import environment, microseconds, write_start
from ..between.spec import ModuleSource, WorkerSpec
from .crew import Crew
from .node import WorkerProcess
from .whereabouts import app_source, is_local, task_sources

__all__ = ["POOLS", "Hiring", "checked_arguments", "checked_pool"]

__tracebackhide__ = hide_frames

#: The kinds of pool that a worker may have here; the first is the default, as it is Celery's.
POOLS = ("prefork", "threads", "solo")
#: With these there is no worker, or it goes away.
NO_WORKER = frozenset({"--help", "--version", "-D", "--detach"})
#: Whatever the app says: the test decides who runs a task, and waits for the broker that it has started.
NEEDED = {"task_always_eager": False, "broker_connection_retry_on_startup": True}
#: Of what an earlier test has done, these would tell the next one.
COUNTED = ("worker_max_tasks_per_child", "worker_max_memory_per_child")
COUNTING = ("--max-", "--autoscale", "-B", "--beat", "--statedb", "-S")
#: What is another in each test, and says nothing to a worker.
OF_ONE_TEST = frozenset({"PYTEST_CURRENT_TEST", "COLUMNS", "LINES"})


@dataclass
class Hiring:
    """The employer of one world's workers.

    Attributes:
        app: The app.
        pool: The kind of pool.
        arguments: More of the command line.
        library: libfaketime, where the clock is virtual.
        time: The clock.
        settings: What Celery is to be told.
        crew: The workers that are there already, and those that will be left for others.
        key: What these have in common with others that could stand in for them; None: nobody can.
        make_key: Makes it anew.
    """

    app: Any
    pool: str
    arguments: tuple[str, ...]
    library: Path | None
    time: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    crew: Crew = field(default_factory=Crew)
    key: bytes | None = None
    make_key: Callable[[], bytes | None] = lambda: None

    @property
    def leaves_workers(self) -> bool:
        """Whether they may go on for others: those that count what they do would tell of it."""
        counting = any(each.startswith(COUNTING) for command in self.crew.working for each in command)
        return self.key is not None and not counting

    def __post_init__(self) -> None:
        self.source = app_source(self.app)
        # Before the app is borrowed: what the harness sets for this process is not for workers.
        self.carried = {**_portable(self.app), **NEEDED, "worker_pool": self.pool}

    def hire(
        self, name: str, *, queues: list[str] | None, concurrency: int, pool: str | None = None,
        arguments: Sequence[str] = (),
    ) -> WorkerProcess:  # fmt: skip
        """One worker, ready or not; ``pool`` and ``arguments`` are its own."""
        pool, more = checked_pool(pool or self.pool), checked_arguments(arguments)
        if self.make_key() != self.key:  # the test has changed its environment, or imported more, since it began
            self.key = None
            self.crew.send_others_home()
        command = [
            "-n", f"{name}@taskharness", "-l", "INFO", f"--pool={pool}", f"--concurrency={concurrency}",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
            *(["-Q", ",".join(queues)] if queues else []), *self.arguments, *more,
        ]  # fmt: skip
        node = self.crew.take(tuple(command))
        if node is None:
            node = self._started(name, command, everything=queues is None, concurrency=concurrency, pool=pool)
            self.crew.working[tuple(command)] = node
        elif self.library is not None:
            write_start(node.directory, self.time.now)
        return node

    def _started(
        self, name: str, command: list[str], *, everything: bool, concurrency: int, pool: str
    ) -> WorkerProcess:  # fmt: skip
        threads = pool == "threads"
        spec = WorkerSpec(
            name, self.source, modules=task_sources(self.app), path=tuple(sys.path), arguments=tuple(command),
            pickled=_pickled({**self.settings, "worker_pool": pool}), django_databases=_django_databases(),
            instant=microseconds(self.time.now) if self.library else None,
            reloads_clock=threads and self.library is not None,
        )  # fmt: skip
        prepare = partial(self._prepare_clock, threads=threads)
        return WorkerProcess(self.app, spec, everything=everything, concurrency=concurrency, prepare=prepare)

    def _prepare_clock(self, directory: Path, *, threads: bool) -> Mapping[str, str]:
        if self.library is None:
            return {}
        write_start(directory, self.time.now)
        return environment(self.library, directory, threads=threads)

    # -- from test to test

    def key_with(self, config: Mapping[str, Any], *more: Any) -> bytes | None:
        """What a worker has to have in common with another one to stand in for it; None: nobody can stand in.

        Only pool processes can be replaced: in other pools, bodies change the worker itself.
        """
        if self.pool != POOLS[0] or any({**self.carried, **config}.get(name) for name in COUNTED):
            return None
        modules = [_version(source) for source in (self.source[0], *task_sources(self.app))]
        tasks = sorted(name for name, task in self.app.tasks.items() if not is_local(task))
        environ = sorted((name, value) for name, value in os.environ.items() if name not in OF_ONE_TEST)
        what = [self.source, modules, tasks, self.carried, self.arguments, self.library, _django_databases()]
        try:
            return pickle.dumps([what, environ, str(Path.cwd()), sys.path, dict(config), more])
        except Exception:  # noqa: BLE001 - objects raise what they like
            return None


def checked_arguments(arguments: object) -> tuple[str, ...]:
    """More of a worker's command line.

    Raises:
        ConfigurationError: It is no list of texts, or there would be no worker.
    """
    if not isinstance(arguments, (list, tuple)) or not all(isinstance(each, str) for each in arguments):
        raise ConfigurationError(f"arguments= takes a list of texts, as on a command line; given: {arguments!r}")
    for each in arguments:
        if each in NO_WORKER:
            raise ConfigurationError(f"arguments=[…, {each!r}] would start no worker that a test could hold")
    return tuple(arguments)


def checked_pool(pool: str | None) -> str:
    """The kind of pool.

    Raises:
        ConfigurationError: There is no such one.
    """
    if pool is not None and pool not in POOLS:
        raise ConfigurationError(f"pool= takes one of {', '.join(POOLS)}; given: {pool!r}")
    return pool or POOLS[0]


def _portable(app: Any) -> dict[str, Any]:
    """What was changed on the app in this process, as far as it can be carried over to another one."""
    app.finalize()
    return {name: value for name, value in app.conf.maps[0].items() if _can_be_pickled(value)}


def _pickled(settings: Mapping[str, Any]) -> bytes:
    try:
        return pickle.dumps(settings)
    except Exception as error:
        names = ", ".join(name for name, value in settings.items() if not _can_be_pickled(value))
        raise FidelityError(
            f"{names} cannot be given to a worker process: {error}. Give the function a name at the top level of a "
            "module, or run this test with mode='memory', 'fakeredis', 'redis' or 'rabbitmq'."
        ) from error


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects raise what they like
        return False
    return True


def _version(source: ModuleSource) -> tuple[str, str | None, int]:
    try:
        changed = Path(source.file or "").stat().st_mtime_ns
    except OSError:
        changed = 0
    return source.name, source.file, changed


def _django_databases() -> dict[str, str]:
    """Where a Django test has its databases, which are not those that the settings file names."""
    if "django.db" not in sys.modules:
        return {}
    connections = sys.modules["django.db"].connections
    if not sys.modules["django.conf"].settings.configured:
        return {}
    return {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
