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
from .forked import Ferry

__all__ = ["Broker", "Supply", "broker_url", "memory_supply"]


class Broker(Protocol):
    """What a world asks of its broker."""

    #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
    wait_for_event: Callable[[float | None], bool]
    #: The harness is about to end: nobody will look at what is left.
    ending: bool
    #: Nobody can reach it.
    is_out: bool
    #: The queues that deliver nothing for now.
    on_hold: set[str]
    #: What this process has put into a queue, oldest first, by task id; each has a queue, a payload and headers.
    sent: dict[str, list[Any]]
    #: Called with the task id, and the number of the retry, of a message that is put into a queue once more.
    on_added: Callable[[str, int], object]

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more."""

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
        ferry: Given the backend, what carries messages and results back from a forked child; None where nothing can.
    """

    broker: Broker
    settings: Mapping[str, Any]
    connect: Callable[[], Any]
    make_backend: Callable[[Waiting], Any]
    attach: Callable[[Recorder], object] = field(default=lambda recorder: None)
    ferry: Callable[[Any], Ferry | None] = field(default=lambda backend: None)


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
        lambda backend: Ferry(broker, backend, land=broker.publish),
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
