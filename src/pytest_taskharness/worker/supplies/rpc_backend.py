"""Celery's own ``rpc://`` backend, whose results are messages, awaited by driving the world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from celery import states
from celery.backends.rpc import RPCBackend

from ...errors import hide_frames
from .awaiting import Waiting

__all__ = ["SteppedRPCBackend", "wants_rpc"]

__tracebackhide__ = hide_frames


def wants_rpc(backend: object) -> bool:
    """Whether a setting asks for it."""
    return isinstance(backend, str) and backend.partition(":")[0] == "rpc"


class SteppedRPCBackend(RPCBackend):  # type: ignore[misc]
    """Queues and messages are Celery's; whoever waits for one lets the world go on."""

    #: Chords that have lost their parts, by group: this backend has no chords.
    lost_chords: dict[str, Any] = {}  # noqa: RUF012 - never written to

    def __init__(self, app: Any, *, waits: Waiting, **kwargs: Any) -> None:
        """Be the backend of ``app``."""
        super().__init__(app, **kwargs)
        self.waits = waits
        self.result_consumer.drainer = _Drainer(self)

    def as_uri(self, include_password: bool = True) -> str:
        """What the worker would print at its start."""
        return "rpc://"

    def get_task_meta(self, task_id: str, *args: Any, **kwargs: Any) -> Any:
        """``AsyncResult.state`` and friends."""
        meta = super().get_task_meta(task_id, *args, **kwargs)
        if meta["status"] not in states.READY_STATES:
            self.waits.looked_at_pending(task_id)
        return meta

    def expired_at(self, task_id: str) -> None:
        """A result that nobody fetches waits in its queue."""

    def image(self) -> None:
        """The broker has the results, also those that a forked child has sent."""

    def restore_image(self, image: None) -> None:
        """There is nothing to take over."""


class _Drainer:
    """In the place of Celery's, which asks the connection once a second."""

    def __init__(self, backend: SteppedRPCBackend) -> None:
        """Nobody waits yet."""
        self._backend = backend

    def start(self) -> None:
        """Nothing runs in the background."""

    stop = start

    def drain_events_until(
        self, p: Any, timeout: float | None = None, interval: float = 1, on_interval: Any = None, wait: Any = None
    ) -> Iterator[None]:  # fmt: skip
        """Drive until the promise is kept, and hand over what has come meanwhile."""
        pending = [task_id for waiting in self._backend._pending_results for task_id in waiting]
        self._backend.waits.wait_until(
            self._asking(p), timeout=timeout, waiting_for=pending, on_idle=on_interval
        )  # fmt: skip
        yield

    def _asking(self, p: Any) -> Callable[[], bool]:
        def ready() -> bool:
            with suppress(TimeoutError):
                while not p.ready:
                    self._backend.result_consumer.drain_events(timeout=0)
            return bool(p.ready)

        return ready
