"""An in-memory broker with delivery semantics: the queues of one test, and of no other.

kombu's own ``memory://`` keeps its queues in a process-wide dictionary, forgets unacknowledged messages, ignores
priorities and never sets ``redelivered``.  This one belongs to one harness and dies with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from . import canary
from .tampered import Tampered

__all__ = ["MemoryBroker", "Profile", "QueuedMessage", "profile_for"]

Payload = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """How a real broker treats what AMQP leaves to it.

    Attributes:
        name: ``amqp``, ``rabbitmq`` or ``redis``.
        highest_first: Whether a greater priority goes first (AMQP) or last (kombu on Redis).
        steps: The priorities that exist; others are rounded down to one of them.  None: all of them.
        declared_only: Whether priorities count only on queues declared with ``x-max-priority``.
        expires_messages: Whether a message whose ``expiration`` has passed leaves the queue undelivered.
    """

    name: str
    highest_first: bool = True
    steps: tuple[int, ...] | None = None
    declared_only: bool = False
    expires_messages: bool = True

    def rank(self, priority: int, maximum: int | None) -> int:
        """Where a priority stands: the lowest rank is delivered first."""
        if self.declared_only and maximum is None:
            return 0
        if self.steps is not None:
            priority = max((step for step in self.steps if step <= priority), default=self.steps[0])
        if maximum is not None:
            priority = min(priority, maximum)
        return -priority if self.highest_first else priority


#: Where the app names no broker that we know: AMQP as the protocol describes it.
AMQP = Profile("amqp")
#: https://www.rabbitmq.com/docs/priority and https://www.rabbitmq.com/docs/ttl
RABBITMQ = Profile("rabbitmq", declared_only=True)
#: ``kombu.transport.redis``: four lists a queue, 0 first; ``expiration`` is not looked at, the worker revokes.
REDIS = Profile("redis", highest_first=False, steps=(0, 3, 6, 9), expires_messages=False)

_BY_SCHEME = {
    "amqp": RABBITMQ, "amqps": RABBITMQ, "pyamqp": RABBITMQ, "librabbitmq": RABBITMQ,
    "redis": REDIS, "rediss": REDIS, "sentinel": REDIS, "valkey": REDIS, "valkeys": REDIS,
}  # fmt: skip


def profile_for(broker_url: str | None) -> Profile:
    """The profile of the broker that the app is configured for: a test meets the rules of production."""
    return _BY_SCHEME.get((broker_url or "").partition("://")[0].partition("+")[0], AMQP)


@dataclass
class QueuedMessage:
    """A message in a queue, as the transport put it there."""

    payload: Payload
    queue: str
    expires_at: datetime | None = None

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        headers: dict[str, Any] = self.payload.get("headers") or {}
        return headers


@dataclass
class _Queue:
    name: str
    max_priority: int | None = None
    ranks: dict[int, deque[QueuedMessage]] = field(default_factory=dict)

    def line(self, rank: int) -> deque[QueuedMessage]:
        if rank not in self.ranks:
            self.ranks = dict(sorted({**self.ranks, rank: deque()}.items()))
        return self.ranks[rank]

    def __iter__(self) -> Iterator[QueuedMessage]:
        for line in self.ranks.values():
            yield from line

    def __len__(self) -> int:
        return sum(map(len, self.ranks.values()))


class MemoryBroker(Tampered):
    """Queues, and who holds what."""

    def __init__(self, now: Callable[[], datetime], *, profile: Profile = AMQP) -> None:
        """Make an empty broker on a clock."""
        super().__init__()
        #: What its messages are stamped with.
        self.name = canary.new_name()
        self.profile = profile
        self._now = now
        self._queues: dict[str, _Queue] = {}
        self._tags = 0
        #: Its harness has ended; whoever still holds it must not believe that somebody will deliver.
        self.closed = False
        #: Its harness is about to end.
        self.ending = False
        #: Delivered and not yet acknowledged, by delivery tag, in order of delivery.
        self.unacked: dict[str, QueuedMessage] = {}
        #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
        self.wait_for_event: Callable[[float | None], bool] = lambda timeout: False
        #: Called with a message that left its queue undelivered because its time had passed.
        self.on_expired: Callable[[QueuedMessage], object] = lambda message: None

    def next_tag(self) -> str:
        """A delivery tag: counted, so that two runs of a test have the same ones."""
        self._tags += 1
        return str(self._tags)

    def declare(self, queue: str, *, max_priority: int | None = None) -> None:
        """Make a queue, unless it is there."""
        self._queues.setdefault(queue, _Queue(queue, max_priority))

    def put(self, queue: str, payload: Payload) -> None:
        """Append a message; its order within its priority is the order of arrival."""
        message = QueuedMessage(_copied(payload), queue, self._expiry(payload))
        self._line(message).append(message)

    def publish(self, queue: str, payload: Payload) -> None:
        """The same for a message that a test may want to put there once more."""
        self.put(queue, payload)
        self.remember(queue, payload)

    def put_back(self, message: QueuedMessage) -> None:
        """Requeue a delivered message, marked as redelivered, at the head of its priority."""
        properties = dict(message.payload["properties"])
        properties["delivery_info"] = {**properties.get("delivery_info", {}), "redelivered": True}
        message.payload = {**message.payload, "properties": properties, "redelivered": True}
        self._line(message).appendleft(message)

    def get(self, queue: str) -> QueuedMessage | None:
        """Take the next message of a queue, or None."""
        found = self._queues.get(queue)
        if found is None or queue in self.on_hold:
            return None
        for line in found.ranks.values():
            while line:
                message = line.popleft()
                if not self._has_expired(message):
                    return message
                self.on_expired(message)
        return None

    def peek(self, queue: str) -> list[QueuedMessage]:
        """What waits in a queue, in the order in which it would be delivered."""
        return [message for message in self._queues.get(queue, ()) if not self._has_expired(message)]

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return len(self.peek(queue))

    def purge(self, queue: str) -> int:
        """Drop everything in a queue; how much that was."""
        found = self._queues.get(queue)
        count = len(found) if found else 0
        if found:
            found.ranks.clear()
        return count

    def delete(self, queue: str) -> None:
        """Drop a queue and everything in it."""
        self._queues.pop(queue, None)

    def has(self, queue: str) -> bool:
        """Whether the queue was declared."""
        return queue in self._queues

    def restore_due(self) -> None:
        """Never: this broker redelivers when a connection is lost."""

    def lose(self, connection: Any) -> None:
        """A client's connection is lost: what it had not acknowledged is redelivered."""
        connection.close()

    def close(self) -> None:
        """Its harness has ended."""
        self.closed = True

    @property
    def queues(self) -> list[str]:
        """All queues, in the order in which they were declared."""
        return list(self._queues)

    # -- what a test does to it

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more: at the end, as a producer does, or at the head, as a broker redelivers."""
        if redelivered:
            self.put_back(QueuedMessage(_copied(payload), queue, self._expiry(payload)))
        else:
            self.put(queue, dict(payload))

    def take_out(self, message: QueuedMessage) -> bool:
        """Lose a message that waits; whether it was still there."""
        line = self._line(message)
        kept = [each for each in line if each is not message]
        was_there = len(kept) < len(line)
        line.clear()
        line.extend(kept)
        return was_there

    def arrange(self, queue: str, order: Callable[[list[Any]], list[Any]]) -> None:
        """Put what waits into another order; a priority stays before another one."""
        found = self._queues.get(queue)
        for line in found.ranks.values() if found else ():
            arranged = order(list(line))
            line.clear()
            line.extend(arranged)

    def take_for_lost(self, delivery_tag: str) -> None:
        """Put a delivery back; whoever holds it goes on holding it, and his acknowledgement means nothing."""
        message = self.unacked.pop(delivery_tag, None)
        if message is not None:
            self.put_back(QueuedMessage(message.payload, message.queue, message.expires_at))

    @property
    def visibility_timeout(self) -> None:
        """There is none."""
        return None

    def _line(self, message: QueuedMessage) -> deque[QueuedMessage]:
        self.declare(message.queue)
        queue = self._queues[message.queue]
        priority = message.payload["properties"].get("priority") or 0
        return queue.line(self.profile.rank(int(priority), queue.max_priority))

    def _expiry(self, payload: Mapping[str, Any]) -> datetime | None:
        # AMQP: the expiration property is a string of milliseconds.
        expiration = payload["properties"].get("expiration")
        return None if expiration is None else self._now() + timedelta(milliseconds=float(expiration))

    def _has_expired(self, message: QueuedMessage) -> bool:
        if not self.profile.expires_messages or message.expires_at is None:
            return False
        return self._now() > message.expires_at


def _copied(payload: Mapping[str, Any]) -> Payload:
    """A message on a wire shares nothing with its sender."""
    return {**payload, "headers": dict(payload.get("headers") or {}), "properties": dict(payload["properties"])}
