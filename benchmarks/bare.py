"""Celery's own worker and nothing of ours, driven by hand: what a stepped worker cannot be faster than.

A real ``WorkController`` with its consumer, request, tracer and solo pool, on kombu's ``memory://`` and Celery's
``cache+memory://``; no thread, and no polling, because nobody waits for a message that is not there.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty
from types import TracebackType
from typing import Any

from celery import _state
from celery.worker import WorkController
from celery.worker.consumer import Consumer
from kombu.asynchronous.timer import Timer

from .shop import make_app

__all__ = ["BareWorker"]


class _Consumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, except that it returns from its loop at once."""

    def start(self) -> None:
        """Connect and get ready."""
        self.blueprint.start(self)

    def loop(self, *args: Any) -> None:
        """The beginning of ``celery.worker.loops.synloop``."""
        self.task_consumer.on_message = self.create_task_handler()
        self.task_consumer.consume()
        self.on_ready()


class BareWorker:
    """A worker that is stepped by :meth:`run`; use it as a context manager."""

    def __init__(self) -> None:
        """Make the app; nothing runs yet."""
        self.app = make_app("bare", broker="memory://", backend="cache+memory://")

    def __enter__(self) -> BareWorker:
        """Boot."""
        self._before = _state._tls.current_app
        self.app.set_current()
        self._worker = WorkController(
            app=self.app, pool_cls="solo", consumer_cls=_Consumer, timer_cls=Timer, use_eventloop=False,
            without_heartbeat=True, without_mingle=True, without_gossip=True,
        )  # fmt: skip
        self._worker.blueprint.start(self._worker)
        # Booting a pool forbids result.get() in the whole process.
        _state._set_task_join_will_block(False)
        return self

    def task(self, name: str) -> Any:
        """A task of :mod:`benchmarks.shop`, on this worker's app."""
        return self.app.tasks[f"bench._{name}"]

    def run(self) -> None:
        """Publish a no-op, consume it, read its result."""
        result = self.app.tasks["bench._noop"].delay()
        self._turn()
        result.get()

    def drain(self) -> None:
        """Consume until the queues are empty."""
        with suppress(TimeoutError, Empty):
            while True:
                self._turn()

    def _turn(self) -> None:
        """One turn of ``celery.worker.loops.synloop``."""
        consumer = self._worker.consumer
        if consumer.qos.prev != consumer.qos.value:
            consumer.qos.update()
        consumer.perform_pending_operations()
        consumer.connection.drain_events(timeout=0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop, and give the process its current app back."""
        self._worker.stop()
        self._worker.consumer.blueprint.shutdown(self._worker.consumer)
        _state._set_current_app(self._before)
