"""Broadcasts on Redis for somebody who steps: remote control, events, ``Broadcast`` queues.

kombu publishes them with PUBLISH, and its event loop waits for the socket of a subscriber.  Here whoever wants to know
whether there is one publishes a message of his own after it: what comes before that one has arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cached_property
from queue import Empty
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from kombu.utils.uuid import uuid

from . import canary
from .redis_broker import RedisBroker

__all__ = ["FanoutChannel"]


class FanoutChannel(kombu_redis.Channel):  # type: ignore[misc]
    """kombu's redis channel, as far as its fanout queues are concerned."""

    broker: RedisBroker
    keyprefix_fanout: str
    #: Up to which of the broker's broadcasts this channel has read.
    _heard = 0

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume a queue; to a fanout exchange it will be subscribed before somebody publishes to it."""
        tag = super().basic_consume(queue, *args, **kwargs)
        if queue in self.active_fanout_queues and self not in self.broker.listeners:
            self.broker.listeners.append(self)
        return tag

    def receive_broadcasts(self) -> bool:
        """Deliver one message of the fanout queues that are consumed here; whether there was one."""
        for queue in sorted(self.active_fanout_queues):
            try:
                message = self.get_broadcast(queue)
            except Empty:
                continue
            self.connection._deliver(message, queue)
            return True
        return False

    def get_broadcast(self, queue: str) -> Any:
        """Take one message of a fanout queue.

        Raises:
            Empty: There is none.
        """
        self._hear()
        if not self._inbox.get(queue):
            raise Empty
        return self._inbox[queue].popleft()

    def close(self) -> None:
        """Close; nobody listens here any more."""
        if self in self.broker.listeners:
            self.broker.listeners.remove(self)
        super().close()

    def _put_fanout(self, exchange: str, message: Any, routing_key: str | None, **kwargs: Any) -> None:
        for listener in self.broker.listeners:
            listener.subscribe_now()
        super()._put_fanout(exchange, canary.stamped(message, self.broker.name), routing_key, **kwargs)
        self.broker.fanned_out += 1

    def subscribe_now(self) -> None:
        """Be subscribed to all that is consumed, for certain: the server has said so."""
        topics = [topic for queue in sorted(self.active_fanout_queues) for topic in self._topics(queue)]
        topics = list(dict.fromkeys([*topics, self._barrier]))  # two queues of one exchange have the same one
        wanted = [topic for topic in topics if topic not in self._subscribed]
        if wanted:
            self.subclient.psubscribe(*wanted)
            self._subscribed.update(wanted)
            self._read(until=lambda kind, *_: kind == "psubscribe", times=len(wanted))

    @cached_property
    def _subscribed(self) -> set[str]:
        return set()

    @property
    def _barrier(self) -> str:
        return f"{self.keyprefix_fanout}taskharness.barrier"

    def _topics(self, queue: str) -> list[str]:
        several = getattr(self, "_get_subscribe_topics", None)  # since kombu 5.7
        return list(several(queue) if several else [self._get_subscribe_topic(queue)])

    def _hear(self) -> None:
        """Read all that was published so far: a message is on its way as soon as PUBLISH has returned."""
        if self._heard == self.broker.fanned_out or not self._subscribed:
            return
        self._heard = self.broker.fanned_out
        token = uuid()
        with self.conn_or_acquire() as client:
            client.publish(self._barrier, token)
        self._read(until=lambda kind, *rest: kind == "pmessage" and rest[-1] == token)

    def _read(self, *, until: Callable[..., bool], times: int = 1) -> None:
        while times:
            kind, *rest = map(_text, self.subclient.parse_response())
            if until(kind, *rest):
                times -= 1
            elif kind == "pmessage" and rest[1] != self._barrier:
                self._take_in(*rest[1:])

    def _take_in(self, topic: str, data: str) -> None:
        """Keep a message for the queue that is bound to its exchange: topics are ``/{db}.exchange/routing key``."""
        if topic.startswith("/"):
            topic = topic.partition(".")[2]
        queue, message = self._fanout_to_queue[topic.partition("/")[0]], loads(data)
        canary.check(message, self.broker.name, queue=queue)
        self._inbox.setdefault(queue, deque()).append(message)

    @cached_property
    def _inbox(self) -> dict[str, deque[Any]]:
        return {}


def _text(value: Any) -> Any:
    return bytes_to_str(value) if isinstance(value, bytes) else value
