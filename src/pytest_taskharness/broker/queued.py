"""Messages in the queues of the memory broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from .arguments import NONE, QueueArguments
from .tampered import id_in

__all__ = ["Overdue", "Payload", "Queue", "QueuedMessage"]

Payload = dict[str, Any]

_adding = Lock()


@dataclass
class QueuedMessage:
    """A message in a queue, as the transport put it there."""

    payload: Payload
    queue: str
    expires_at: datetime | None = None
    #: How often it was delivered in vain: a quorum queue counts.
    returns: int = 0
    #: Since when a consumer holds it, and the channel of that worker.
    held_since: datetime | None = None
    holder: Any = None

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        headers: dict[str, Any] = self.payload.get("headers") or {}
        return headers


@dataclass(frozen=True)
class Overdue:
    """A delivery that was held for too long."""

    task: str | None
    id: str | None

    @classmethod
    def of(cls, message: QueuedMessage) -> Overdue:
        """The delivery of a message."""
        return cls(message.headers.get("task"), id_in(message.payload))


@dataclass
class Queue:
    """The messages that wait, by rank and order of arrival."""

    name: str
    arguments: QueueArguments = NONE
    ranks: dict[int, deque[QueuedMessage]] = field(default_factory=dict)

    def line(self, rank: int) -> deque[QueuedMessage]:
        """Those of one rank."""
        if rank not in self.ranks:
            with _adding:  # of two threads, one would lose the line of the other
                self.ranks = dict(sorted({rank: deque(), **self.ranks}.items()))
        return self.ranks[rank]

    def __iter__(self) -> Iterator[QueuedMessage]:
        """In the order of delivery."""
        for line in self.ranks.values():
            yield from line

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self.ranks.values()))
