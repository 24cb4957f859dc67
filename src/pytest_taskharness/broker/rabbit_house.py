"""What a harness itself does on its RabbitMQ, beside what the app and its workers do there.

AMQP cannot look into a queue.  Whoever wants to see what waits takes all of it and gives it back, and the server says
from then on that it was delivered before: so what was only looked at is remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from amqp import spec
from kombu.transport import pyamqp

from .rabbit_channel import NamedChannel
from .rabbit_names import Names

__all__ = ["House"]


class _HouseChannel(NamedChannel):
    """A channel of our own."""

    def close(self, *args: Any, **options: Any) -> None:
        """Nobody uses it any more."""
        if self.connection is not None:
            self.connection.put_aside(self)

    def give_back(self, last: int) -> None:
        """All that was taken, up to this one; py-amqp has no ``basic_nack``."""
        self.send_method(spec.Basic.Nack, "Lbb", (last, True, True))

    def put(self, message: Any, exchange: str, routing_key: str) -> None:
        """Publish by the server's own names, and wait until the message is there."""
        self.name_headers(message)
        self.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, False, False), message)
        self.wait([spec.Basic.Ack, spec.Basic.Nack])


class House:
    """A channel of a harness for looking, for putting back, and for tidying up."""

    def __init__(self, access: Any, broker: Any) -> None:
        """It connects when it is first needed."""
        self._access = access
        self._broker = broker
        self._names: Names = broker.names
        self._connection: Any = None
        self._channel: Any = None
        self._back: set[str] = set()
        self._lock = threading.RLock()

    @property
    def channel(self) -> Any:
        """The channel; a forked child has one of its own."""
        if self._connection is None or not self._access.is_ours(self._connection):
            self._connection = self._access.take(self._broker)
            self._channel = self._connection.channel_of(_HouseChannel)
        return self._channel

    @contextmanager
    def taken(self, queue: str) -> Iterator[list[Any]]:
        """While entered, all that waits in a queue is ours; what is still in the list at the end goes back."""
        with self._lock:
            taken: list[Any] = []
            while (message := self.channel.basic_get(queue)) is not None:
                taken.append(message)
            last = taken[-1].delivery_tag if taken else 0
            try:
                yield taken
            finally:
                if last:
                    self._end(queue, taken, last)

    def _end(self, queue: str, kept: list[Any], last: int) -> None:
        if kept:
            self.channel.give_back(last)  # what was acknowledged meanwhile is none of it
        self.channel.queue_declare(queue, passive=True)  # the server answers in order: it has done that

    def discard(self, taken: list[Any], message: Any) -> None:
        """One of them does not go back."""
        self.channel.basic_ack(message.delivery_tag)
        taken.remove(message)

    def put_back(self, queue: str, message: Any, exchange: str, routing_key: str) -> None:
        """Append a message to a queue, and to no other, as if it had come by its exchange."""
        with self._lock:
            names = self._names
            if exchange or routing_key != queue:
                name = names.back_to(queue, exchange)
                self._lead_back(name, names.queue(queue))
            else:
                name = ""
            self.channel.put(message, name, names.queue(routing_key))

    def _lead_back(self, name: str, queue: str) -> None:
        if name not in self._back:
            self._broker.lease.declare_exchange(self.channel, name, "fanout", auto_delete=False)
            pyamqp.Channel.queue_bind(self.channel, queue, name)
            self._back.add(name)

    def delete(self, queues: Iterable[str], exchanges: Iterable[str] = ()) -> None:
        """Delete what is called so; nobody waits until the server has."""
        with self._lock:
            for queue in queues:
                self.channel.queue_delete(queue, nowait=True)
            for exchange in exchanges:
                self.channel.exchange_delete(exchange, nowait=True)

    def close(self) -> None:
        """Give the connection back."""
        for name in self._back:
            pyamqp.Channel.exchange_delete(self.channel, name, nowait=True)
        if self._access.is_shared:
            self._broker.lease.end(self.channel)
        if self._connection is not None:
            self._connection.release()
            self._connection = None
