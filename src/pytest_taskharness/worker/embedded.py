"""A stepped worker in the place of the one that ``celery.contrib.testing.worker`` starts in a thread."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.contrib.testing.worker import TestWorkController
from celery.result import allow_join_result
from celery.utils.nodenames import anon_nodename, nodesplit
from kombu.utils.functional import maybe_list

from ..errors import FidelityError, hide_frames
from .bodies.pool import Execution, SteppedPool
from .consumer import SteppedConsumer, SteppedController, Strategies
from .node import Node

if TYPE_CHECKING:
    from .world import World

__all__ = ["embed", "lead"]

__tracebackhide__ = hide_frames

#: Pools that need a process of their own from its very beginning.
GREEN = {"eventlet", "gevent"}
#: Pools that enforce time limits; the others let a body take as long as it likes.
LIMITING = {"prefork", "processes"}
#: The loggers of what becomes of each task.
TELLING = ("celery.worker.strategy", "celery.app.trace")
#: What ``start_worker`` wants to know of its thread, and no worker.
OF_THREADS = {"perform_ping_check", "shutdown_timeout", "ping_task_timeout"}


class _Embedded(SteppedController):
    """Celery's worker as tests know it from ``start_worker``."""

    node: EmbeddedNode

    @property
    def harness(self) -> Any:
        """What steps it."""
        return self.node.harness

    def stop(self, *args: Any, **kwargs: Any) -> None:
        """A test that stops it says so to the one that steps it."""
        if self.node.alive:
            self.node.stop()
        else:
            super().stop(*args, **kwargs)


class _StrategiesOfThen(Strategies):
    """Celery asks once, at the start of a worker, whether anybody reads that a task was received, or has succeeded."""

    silent: list[logging.Logger]

    def __missing__(self, name: str) -> Any:
        levels = [logger.level for logger in self.silent]
        try:
            for logger in self.silent:
                logger.setLevel(logging.WARNING)
            return super().__missing__(name)
        finally:
            for logger, level in zip(self.silent, levels, strict=True):
                logger.setLevel(level)


class _EmbeddedConsumer(SteppedConsumer):
    """Logs what it would log if all had been made ready at the start, or by the last ``reload()``."""

    Strategies = _StrategiesOfThen

    def update_strategies(self) -> None:
        """Make them anew, when they are needed."""
        super().update_strategies()
        loggers = map(logging.getLogger, TELLING)
        self.strategies.silent = [logger for logger in loggers if not logger.isEnabledFor(logging.INFO)]


class _UnlimitedPool(SteppedPool):
    """As ``solo`` and ``threads``, which know no time limits."""

    options: dict[str, Any]

    def on_start(self) -> None:
        """It does not say that it had any, either."""
        self.options = {**self.options, "soft_timeout": None, "timeout": None}

    def _job(self, target: Any, args: Any, kwargs: Any, *, limits: Any) -> Any:
        return super()._job(target, args, kwargs, limits=(None, None))


class EmbeddedNode(Node):
    """Consumes what the worker in a thread would: the queues that the app is configured for, or those it was given."""

    def __init__(
        self, world: World, name: str, *, hostname: str, kind: type, options: Mapping[str, Any], harness: Any
    ) -> None:  # fmt: skip
        """``kind`` is what tests find it to be an instance of; ``options`` are those of Celery's WorkController."""
        queues = list(maybe_list(_names(options.get("queues"))) or ())
        super().__init__(world, name, queues=queues or None, concurrency=int(options.get("concurrency") or 1))
        self._hostname = hostname
        self._options = {name: value for name, value in options.items() if name != "pool"}
        self._is_limiting = _pool_name(options.get("pool")) in LIMITING
        self._kind = kind
        self._given = options
        self.harness = harness

    def controller(self, *, pool_cls: type, hostname: str, ready_callback: Any, **given: Any) -> Any:
        """Celery's worker, with the options that the suite has for it; it announces itself as the one in a thread."""
        pool = pool_cls if self._is_limiting else type("SteppedPool", (_UnlimitedPool,), {"node": self})
        given["consumer_cls"] = type("SteppedConsumer", (_EmbeddedConsumer,), {"node": self})
        controller = type("EmbeddedWorker", (_Embedded, self._kind), {"__test__": False})
        return controller(**{**self._options, **given}, pool_cls=pool, hostname=self._hostname, ready_callback=None)

    def start(self) -> None:
        """Boot it; from then on it consumes what it has found at its start, and nothing that comes later."""
        super().start()
        self.everything = False
        self._named = [queue.name for queue in self.consumer.task_consumer.queues]

    def again(self) -> EmbeddedNode:
        """Another one like it."""
        return EmbeddedNode(
            self.world, self.name, hostname=self._hostname, kind=self._kind, options=self._given, harness=self.harness
        )

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """A body may wait for a result: a worker in a thread does not forbid it."""
        with super().executing(execution), allow_join_result():
            yield


def lead(app: Any, options: Mapping[str, Any]) -> None:
    """What ``start_worker`` does with an app before it starts a worker, but for its logging, which is left alone."""
    app.finalize()
    app.set_current()
    app.set_default()
    if options.get("perform_ping_check", True) and "celery.ping" not in app.tasks:
        raise AssertionError(
            f"expected the task 'celery.ping' on app {app.main or app!r}, by which start_worker finds out that "
            "its worker is there; no such task is registered. Import celery.contrib.testing.tasks, or pass "
            "perform_ping_check=False."
        )


def embed(world: World, given: Mapping[str, Any], *, harness: Any) -> EmbeddedNode:
    """One more worker of a world, from the arguments of ``start_worker``; tests find ``harness`` at it.

    Raises:
        FidelityError: Its pool is a green one.
    """
    options = {name: value for name, value in given.items() if name not in OF_THREADS}
    kind = options.pop("WorkController", TestWorkController)
    hostname = options.pop("hostname", None) or _free_hostname(world)
    _check_pool(options.get("pool"))
    taken = {node.name for node in world.nodes}
    name = "worker" if "worker" not in taken else str(nodesplit(hostname)[0])
    node = EmbeddedNode(world, name, hostname=hostname, kind=kind, options=options, harness=harness)
    world.employ(node)
    return node


def _check_pool(pool: object) -> None:
    name = _pool_name(pool)
    if name in GREEN:
        raise FidelityError(
            f"pool={name!r} means green threads, for which the whole process is patched; this worker is stepped in the "
            "test's thread. Use 'solo', 'threads' or 'prefork' in celery_worker_pool, or start_worker(pool=…), or "
            "leave it to Celery's own worker: this test with @pytest.mark.taskharness(replace=False), the whole suite "
            "with taskharness_replace_celery_fixtures = false."
        )


def _pool_name(pool: object) -> str:
    """As ``celery worker -P`` has it, for a class or a path to one too."""
    module = str(pool).partition(":")[0] if isinstance(pool, str) else getattr(pool, "__module__", "")
    return str(module).rpartition(".")[2]


def _names(queues: object) -> object:
    """``-Q`` may be one text."""
    return [name.strip() for name in queues.split(",") if name.strip()] if isinstance(queues, str) else queues


def _free_hostname(world: World) -> str:
    """Celery's own, ``gen<pid>@<host>``, which all of one process would share."""
    taken = {node.worker.hostname for node in world.nodes}
    names = (anon_nodename(prefix="gen" if not number else f"gen{number}-") for number in range(len(taken) + 1))
    return str(next(name for name in names if name not in taken))
