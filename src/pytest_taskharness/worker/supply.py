"""What a mode supplies to a world: where its messages and its results are.  The worker is the same on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ..broker.memory import MemoryBroker, QueuedMessage, profile_for
from ..broker.transport import address, connect
from ..clock.virtual import VirtualTime
from ..recorder import Recorder
from .awaiting import Waiting
from .backend import MemoryBackend

__all__ = ["Broker", "Supply", "broker_url", "memory_supply"]


class Broker(Protocol):
    """What a world asks of its broker."""

    #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
    wait_for_event: Callable[[float | None], bool]
    #: The harness is about to end: nobody will look at what is left.
    ending: bool

    @property
    def queues(self) -> list[str]:
        """The names of all queues."""

    @property
    def unacked(self) -> Mapping[str, Any]:
        """What is delivered and not acknowledged, by delivery tag; each has ``headers``."""

    def peek(self, queue: str) -> list[Any]:
        """The messages that wait in a queue; each has ``headers``."""

    def restore_due(self) -> datetime | None:
        """When the broker's clients next take an unacknowledged delivery for lost, or None."""

    def lose(self, connection: Any) -> None:
        """A client dies: this connection is not closed, it is gone."""

    def close(self) -> None:
        """The harness has ended."""


@dataclass
class Supply:
    """A broker and a backend, ready to be used by one app.

    Attributes:
        broker: Where messages are.
        settings: The Celery settings that lead there.
        connect: A new kombu connection to the broker.
        make_backend: The result backend, which waits by the waits that it is given.
        attach: Called with the recorder, which may want to know more than the world does.
    """

    broker: Broker
    settings: Mapping[str, Any]
    connect: Callable[[], Any]
    make_backend: Callable[[Waiting], Any]
    attach: Callable[[Recorder], object] = field(default=lambda recorder: None)


def memory_supply(app: Any, *, time: VirtualTime) -> Supply:
    """A broker and a backend in this process, of this harness alone."""
    broker = MemoryBroker(lambda: time.now, profile=profile_for(broker_url(app)))
    url = address(broker)

    def attach(recorder: Recorder) -> None:
        broker.on_expired = lambda message: _expired(recorder, message)

    return Supply(
        broker,
        {"broker_url": url, "broker_read_url": url, "broker_write_url": url, "result_backend": url},
        lambda: connect(broker),
        lambda waits: MemoryBackend(app, waits=waits),
        attach,
    )


def broker_url(app: Any) -> str | None:
    """The app's own first broker."""
    url = app.conf.get("broker_url")
    return str(url[0] if isinstance(url, (list, tuple)) and url else url) if url else None


def _expired(recorder: Recorder, message: QueuedMessage) -> None:
    headers = message.headers
    recorder.record(
        "expire", task=headers.get("task"), id=headers.get("id"), queue=message.queue, note=f"in {message.queue!r}"
    )
