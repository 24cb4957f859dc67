"""An in-memory broker with delivery semantics: the queues of one test, and of no other.

kombu's own ``memory://`` keeps its queues in a process-wide dictionary, forgets unacknowledged messages, ignores
priorities and never sets ``redelivered``.  This one belongs to one harness and dies with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from math import inf
from typing import Any

from . import canary, dead_letters
from .arguments import NONE, QueueArguments
from .holding import Holding
from .profiles import AMQP, Profile
from .queued import Overdue, Payload, Queue, QueuedMessage
from .tampered import Tampered, id_in

__all__ = ["MemoryBroker"]


class MemoryBroker(Holding, Tampered):
    """Queues, and who holds what."""

    def __init__(self, now: Callable[[], datetime], *, profile: Profile = AMQP) -> None:
        """Make an empty broker on a clock."""
        Tampered.__init__(self)
        Holding.__init__(self, now, profile)
        #: What its messages are stamped with.
        self.name = canary.new_name()
        self._queues: dict[str, Queue] = {}
        self._tags = count(1)
        #: Its harness has ended; whoever still holds it must not believe that somebody will deliver.
        self.closed = False
        #: Its harness is about to end.
        self.ending = False
        #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
        self.wait_for_event: Callable[[float | None], bool] = lambda timeout: False
        #: Called with a message that left its queue undelivered because its time had passed.
        self.on_expired: Callable[[QueuedMessage], object] = lambda message: None
        #: Called with a message that leaves a queue otherwise, why, its dead letter exchange, and where that leads to.
        self.on_gone: Callable[..., object] = lambda message, reason, **where: None
        #: The queues that an exchange leads to, by its bindings; kombu keeps them.
        self.route: Callable[[str, str], list[str]] = lambda exchange, routing_key: []
        #: The queues of their own that consumers have for one that is broadcast to.
        self.copies: dict[str, list[str]] = {}
        #: Whether a queue has dead letters.
        self._buries = False

    def next_tag(self) -> str:
        """A delivery tag: counted, so that two runs of a test have the same ones."""
        return str(next(self._tags))

    def declare(self, queue: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Make a queue, unless it is there; its arguments are RabbitMQ's."""
        if queue not in self._queues:
            read = QueueArguments.read(arguments, heeded=self.profile.heeds_arguments)
            self._queues.setdefault(queue, Queue(queue, read))  # another thread may publish as well
            self._buries |= read.dead_letter_exchange is not None

    def put(self, queue: str, payload: Payload) -> bool:
        """Append a message, by order of arrival within its priority; False where the queue is full and refuses it."""
        self.declare(queue)
        arguments = self._queues[queue].arguments
        message = QueuedMessage(_copied(payload), queue, self._expiry(payload, arguments.ttl))
        if arguments.max_length is not None and self._refuses(message, arguments):
            return False
        self._line(message).append(message)
        if arguments.max_length is not None:
            self._shorten(self._queues[queue], arguments.max_length)
        return True

    def publish(self, queue: str, payload: Payload) -> bool:
        """The same for a message that a test may want to put there once more."""
        if not self.put(queue, payload):
            if self._queues[queue].arguments.overflow == "reject-publish":
                self.drop(payload, f"queue {queue!r} is full, and refuses it (x-overflow)")
            return False
        self.remember(queue, payload)
        return True

    def drop(self, payload: Payload, why: str) -> None:
        """A message that no queue takes."""
        task_id = id_in(payload)
        if task_id is not None:
            self.dropped[task_id] = why

    def put_back(self, message: QueuedMessage, *, at_end: bool = False) -> None:
        """Requeue a delivered message, marked as redelivered, at the head of its priority."""
        properties = dict(message.payload["properties"])
        properties["delivery_info"] = {**properties.get("delivery_info", {}), "redelivered": True}
        message.payload = {**message.payload, "properties": properties, "redelivered": True}
        message.holder = None
        message.returns += 1
        arguments = self.arguments_of(message.queue)
        if self.visibility_timeout is not None:  # as kombu writes it on Redis
            message.payload["headers"] = {**message.headers, "redelivered": True}
        elif arguments.is_quorum:
            message.payload["headers"] = {**message.headers, "x-delivery-count": message.returns}
        if arguments.delivery_limit is not None and message.returns > arguments.delivery_limit:
            self._bury(message, "delivery_limit")
            return
        line = self._line(message)
        (line.append if at_end else line.appendleft)(message)

    def reject(self, message: QueuedMessage) -> None:
        """A consumer does not want it: it is a dead letter, or gone."""
        self._bury(message, dead_letters.REJECTED)

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
                self._expire(message)
        return None

    def rank_of_next(self, queue: str) -> float:
        """How urgent the next message of a queue is, the lowest first; an empty queue comes last."""
        found = self._queues.get(queue)
        ranks = [rank for rank, line in found.ranks.items() if line] if found else []
        return min(ranks, default=inf)

    def peek(self, queue: str) -> list[QueuedMessage]:
        """What waits in a queue, in the order in which it would be delivered."""
        self.expire_now()
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

    # -- what becomes of messages by themselves

    def restore_due(self) -> datetime | None:
        """The next instant at which a delivery has been held for too long, or None."""
        return self.held_too_long_at() if self.unacked else None

    def restore_now(self) -> list[Overdue]:
        """Take back what was held for too long, oldest first; RabbitMQ closes the channel, and that gives it back."""
        overdue = self.overdue()
        if self.profile.visibility_timeout is None:
            self.close_channels(overdue)
            return []
        for tag in reversed(list(overdue)):
            self.take_for_lost(tag)
        return list(map(Overdue.of, overdue.values()))

    def expiry_due(self) -> datetime | None:
        """When a message next becomes a dead letter because its time is over, or None."""
        return min(self._expiries(), default=None) if self._buries else None

    def _expiries(self) -> Iterator[datetime]:
        """When the heads of queues with dead letters expire: RabbitMQ looks at nothing behind them."""
        for queue in list(self._queues.values()):
            if queue.arguments.dead_letter_exchange is not None:
                yield from (line[0].expires_at for line in queue.ranks.values() if line and line[0].expires_at)

    def expire_now(self) -> None:
        """Let those become dead letters whose time is over."""
        if not self._buries:
            return
        now = self._now()
        for queue in [each for each in list(self._queues.values()) if each.arguments.dead_letter_exchange is not None]:
            for line in list(queue.ranks.values()):
                while line and line[0].expires_at is not None and line[0].expires_at <= now:
                    self._expire(line.popleft())

    def _expire(self, message: QueuedMessage) -> None:
        self.on_expired(message)
        self._bury(message, "expired")

    def _bury(self, message: QueuedMessage, reason: str) -> None:
        """To the dead letter exchange of its queue, where that has one."""
        arguments = self.arguments_of(message.queue)
        if arguments.dead_letter_exchange is None:
            if reason not in {dead_letters.REJECTED, "expired"}:
                self.on_gone(message, reason)
            return
        payload = dead_letters.buried(message.payload, message.queue, reason, at=self._now(), arguments=arguments)
        info = payload["properties"]["delivery_info"]
        targets = [
            target
            for target in self.route(info["exchange"], info["routing_key"])
            if reason == dead_letters.REJECTED or not dead_letters.goes_round(payload, target)
        ]
        self.on_gone(message, reason, exchange=arguments.dead_letter_exchange, targets=targets)
        for target in targets:
            self.put(target, payload)

    def _refuses(self, message: QueuedMessage, arguments: QueueArguments) -> bool:
        full = len(self._queues[message.queue]) >= (arguments.max_length or 0)
        if not full or not arguments.overflow.startswith("reject-publish"):
            return False
        if arguments.overflow == "reject-publish-dlx":
            self._bury(message, "maxlen")
        return True

    def _shorten(self, queue: Queue, length: int) -> None:
        """What is delivered next goes first, also where it is more urgent."""
        while len(queue) > length:
            self._bury(next(line for line in queue.ranks.values() if line).popleft(), "maxlen")

    def lose(self, connection: Any) -> None:
        """A client's connection is lost: its deliveries come again, at once or after the visibility timeout."""
        if self.profile.visibility_timeout is not None:
            for channel in connection.transport.channels:
                channel.abandon()
        connection.close()

    def close(self) -> None:
        """Its harness has ended."""
        self.closed = True

    def arguments_of(self, queue: str) -> QueueArguments:
        """What a queue was declared with."""
        found = self._queues.get(queue)
        return NONE if found is None else found.arguments

    @property
    def queues(self) -> list[str]:
        """All queues, in the order in which they were declared."""
        return list(self._queues)

    # -- what a test does to it

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more: at the end, as a producer does, or at the head, as a broker redelivers."""
        properties = {**payload["properties"], "delivery_tag": self.next_tag()}
        if redelivered:
            self.put_back(QueuedMessage(_copied({**payload, "properties": properties}), queue, self._expiry(payload)))
        else:
            self.put(queue, {**payload, "properties": properties})

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
            self.put_back(QueuedMessage(message.payload, message.queue, message.expires_at, message.returns))

    def redeliver_at_once(self) -> None:
        """Take a delivery for lost as soon as its connection is, and never before, whatever the broker."""
        self.profile = replace(self.profile, visibility_timeout=None, consumer_timeout=None)

    @property
    def visibility_timeout(self) -> float | None:
        """In seconds; None where its clients have none."""
        return self.profile.visibility_timeout

    def _line(self, message: QueuedMessage) -> deque[QueuedMessage]:
        self.declare(message.queue)
        queue = self._queues[message.queue]
        priority = message.payload["properties"].get("priority") or 0
        return queue.line(self.profile.rank(int(priority), queue.arguments.max_priority))

    def _expiry(self, payload: Mapping[str, Any], ttl: float | None = None) -> datetime | None:
        # AMQP: the expiration property is a string of milliseconds.
        expiration = payload["properties"].get("expiration")
        if expiration is None and ttl is None:
            return None
        return self._now() + timedelta(milliseconds=min(float(each) for each in (expiration, ttl) if each is not None))

    def _has_expired(self, message: QueuedMessage) -> bool:
        if not self.profile.expires_messages or message.expires_at is None:
            return False
        return self._now() > message.expires_at


def _copied(payload: Mapping[str, Any]) -> Payload:
    """A message on a wire shares nothing with its sender."""
    return {**payload, "headers": dict(payload.get("headers") or {}), "properties": dict(payload["properties"])}
