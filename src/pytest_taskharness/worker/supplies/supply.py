"""What a mode supplies to a world: where its messages and its results are.  The worker is the same on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from ...broker.memory import MemoryBroker
from ...broker.profiles import Profile
from ...broker.queued import QueuedMessage
from ...broker.transport import address, connect
from ...clock.virtual import VirtualTime
from ...recorder import Recorder
from ..bodies.forked import Ferry
from .awaiting import Waiting
from .backend import MemoryBackend

__all__ = ["Broker", "Supply", "broker_at", "broker_url", "memory_supply", "options_for", "record_deaths"]


class Broker(Protocol):
    """What a world asks of its broker."""

    #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
    wait_for_event: Callable[[float | None], bool]
    #: The queues of which a text has said already that no worker consumes them.
    reported: set[str]
    #: Called with a channel that is to be closed, the deliveries that were held there for too long, and how long.
    on_consumer_timeout: Callable[[Any, list[Any], float], object]
    #: The harness is about to end: nobody will look at what is left.
    ending: bool
    #: Nobody can reach it.
    is_out: bool
    #: The queues that deliver nothing for now.
    on_hold: set[str]
    #: What this process has put into a queue, oldest first, by task id; each has a queue, a payload and headers.
    sent: dict[str, list[Any]]
    #: Why no queue has taken a message, by its task id.
    dropped: dict[str, str]
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

    def expiry_due(self) -> datetime | None:
        """When a message next becomes a dead letter because its time is over, or None."""

    def expire_now(self) -> None:
        """Let those become dead letters whose time is over."""

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


def memory_supply(app: Any, *, time: VirtualTime, profile: Profile) -> Supply:
    """A broker and a backend in this process, of this harness alone."""
    broker = MemoryBroker(lambda: time.now, profile=profile)
    url = address(broker)

    return Supply(
        broker,
        {**broker_at(url), "result_backend": url},
        lambda: connect(broker),
        lambda waits: MemoryBackend(app, waits=waits),
        partial(record_deaths, broker),
        lambda backend: Ferry(broker, backend, land=broker.publish),
    )


def record_deaths(broker: Any, recorder: Recorder) -> None:
    """Write down what expires in a broker, and what becomes a dead letter there."""
    broker.on_expired = partial(_expired, recorder)
    broker.on_gone = partial(_gone, recorder)


def broker_at(url: str) -> dict[str, str]:
    """The settings that lead an app to a broker, whichever of its URLs it would use."""
    return {"broker_url": url, "broker_read_url": url, "broker_write_url": url}


def broker_url(app: Any, config: Mapping[str, Any]) -> str | None:
    """The first broker of the app, or of this test's settings."""
    url = config.get("broker_url") or app.conf.get("broker_url")
    return str(url[0] if isinstance(url, (list, tuple)) and url else url) if url else None


def options_for(app: Any, config: Mapping[str, Any], visibility_timeout: float | None) -> dict[str, Any]:
    """The transport options that the app would have in production, and the test's word on top."""
    options = {**(app.conf.get("broker_transport_options") or {}), **config.get("broker_transport_options", {})}
    return options if visibility_timeout is None else {**options, "visibility_timeout": visibility_timeout}


def _expired(recorder: Recorder, message: QueuedMessage) -> None:
    headers = message.headers
    recorder.record(
        "expire", task=headers.get("task"), id=headers.get("id"), queue=message.queue, note=f"in {message.queue!r}"
    )


def _gone(
    recorder: Recorder, message: QueuedMessage, reason: str, *, exchange: str | None = None, targets: Sequence[str] = ()
) -> None:  # fmt: skip
    """A message has left its queue: it is a dead letter in others, or nowhere any more."""
    headers = message.headers
    gone = int(reason in {"maxlen", "delivery_limit"})  # rejected, expired: that is an event of its own
    note = f"{reason} in {message.queue!r}"
    if exchange is not None:
        where = ", ".join(map(repr, targets)) or f"no queue: none is bound to its exchange {exchange!r}"
        note, gone = f"{note}, goes to {where}", gone - len(targets)
    recorder.record(
        "drop" if exchange is None else "dead letter", task=headers.get("task"), id=headers.get("id"),
        queue=message.queue, note=note, reason=reason, to=list(targets), gone=gone,
    )  # fmt: skip
