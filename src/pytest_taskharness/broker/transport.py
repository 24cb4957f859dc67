"""The kombu transport of the memory broker: AMQP's verbs, by kombu's own virtual transport, on our queues."""

from __future__ import annotations

import errno
from collections import OrderedDict
from itertools import count
from queue import Empty
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, virtual

from . import canary
from .driven import DrivenTransport
from .memory import MemoryBroker, Payload, QueuedMessage

__all__ = ["SCHEME", "Channel", "Transport", "address", "connect"]

SCHEME = "taskharness-memory"

#: A broker is found by the host name of its URL, so that any code that connects to the app's broker_url meets it.
_brokers: WeakValueDictionary[str, MemoryBroker] = WeakValueDictionary()
#: Never given twice: a connection that outlives its harness must not meet the next one's broker.
_names: WeakKeyDictionary[MemoryBroker, str] = WeakKeyDictionary()
_numbers = count(1)
_states: WeakKeyDictionary[MemoryBroker, virtual.BrokerState] = WeakKeyDictionary()


def address(broker: MemoryBroker) -> str:
    """The URL of a broker, good as long as the broker lives."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    if broker not in _names:
        _names[broker] = f"broker-{next(_numbers)}"
        _brokers[_names[broker]] = broker
    return f"{SCHEME}://{_names[broker]}//"


def connect(broker: MemoryBroker, **transport_options: Any) -> Connection:
    """A connection to a broker, whatever an app's configuration says."""
    return Connection(address(broker), transport_options=transport_options)


class QoS:
    """What a channel has delivered and not yet seen acknowledged."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        """As kombu's virtual channel makes it."""
        self.channel = channel
        self.prefetch_count = prefetch_count
        self._delivered: OrderedDict[str, QueuedMessage] = OrderedDict()

    def can_consume(self) -> bool:
        """Whether the prefetch limit leaves room for one more."""
        return not self.prefetch_count or len(self._delivered) < self.prefetch_count

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivery."""
        queued = self.channel.taken.pop(delivery_tag)
        self._delivered[delivery_tag] = self.channel.broker.unacked[delivery_tag] = queued

    def ack(self, delivery_tag: str) -> None:
        """Forget a delivery for good."""
        self._forget(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget a delivery, or put it back at the head of its queue."""
        message = self._forget(delivery_tag)
        if requeue and message is not None:
            self.channel.broker.put_back(message)

    def restore_by_tag(self, delivery_tag: str) -> None:
        """The broker takes a delivery, of any channel, for lost: by the name that kombu has for it on Redis."""
        self.channel.broker.take_for_lost(delivery_tag)

    def restore_unacked(self) -> None:
        """Put everything back, oldest first in line: what a broker does when a connection is lost."""
        for delivery_tag in reversed(list(self._delivered)):
            self.reject(delivery_tag, requeue=True)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The same, by the name that a closing channel uses."""
        self.restore_unacked()

    def _forget(self, delivery_tag: str) -> QueuedMessage | None:
        """What the broker still knows to be delivered here."""
        self._delivered.pop(delivery_tag, None)
        return self.channel.broker.unacked.pop(delivery_tag, None)


class Channel(virtual.Channel):  # type: ignore[misc]
    """A virtual channel on a memory broker."""

    QoS = QoS
    supports_fanout = True
    do_restore = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        """As kombu's virtual transport makes it."""
        super().__init__(connection, **kwargs)
        self.broker: MemoryBroker = connection.broker
        #: Taken off a queue and on the way to :meth:`QoS.append`.
        self.taken: dict[str, QueuedMessage] = {}
        self._turn = 0

    def _get(self, queue: str, timeout: Any = None) -> Payload:
        message = self._reached_broker().get(queue)
        if message is None:
            raise Empty
        canary.check(message.payload, self.broker.name, queue=queue)
        # A delivery tag belongs to a delivery, not to a message: a redelivered one gets a new tag.
        tag = self.broker.next_tag()
        properties = {**message.payload["properties"], "delivery_tag": tag}
        self.taken = {tag: message}
        return {**message.payload, "properties": properties}

    def take_any(self, queues: list[str]) -> tuple[Any, str] | None:
        """Take one message off one of these queues, each in turn, and hold it."""
        for offset in range(len(queues)):
            queue = queues[(self._turn + offset) % len(queues)]
            message = self.basic_get(queue)
            if message is not None:
                self._turn = (self._turn + offset + 1) % len(queues)
                return message, queue
        return None

    def _put(self, queue: str, message: Payload, **kwargs: Any) -> None:
        self._open_broker().publish(queue, canary.stamped(message, self.broker.name))

    def _open_broker(self) -> MemoryBroker:
        if self.broker.closed:
            raise _closed(_names[self.broker])
        return self._reached_broker()

    def _reached_broker(self) -> MemoryBroker:
        if self.broker.is_out:
            self.broker.refuse(_refused())
        return self.broker

    def receive_broadcasts(self) -> bool:
        """Hand over one message of the queues that this channel consumes; whether there was one."""
        for queue in self._active_queues:
            try:
                message = self._get(queue)
            except Empty:
                continue
            self.connection._deliver(message, queue)
            return True
        return False

    def _put_fanout(self, exchange: str, message: Payload, routing_key: str | None = None, **kwargs: Any) -> None:
        for queue in sorted(self._lookup(exchange, routing_key)):
            self._open_broker().put(queue, canary.stamped(message, self.broker.name))

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._reached_broker().declare(queue, max_priority=(kwargs.get("arguments") or {}).get("x-max-priority"))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._reached_broker().has(queue)

    def _queue_bind(self, *args: Any) -> None:
        """The exchange's table, which kombu keeps, is all that is needed."""

    def _size(self, queue: str) -> int:
        return self._reached_broker().depth(queue)

    def _purge(self, queue: str) -> int:
        return self._reached_broker().purge(queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self.broker.delete(queue)

    def _next_delivery_tag(self) -> str:
        return self.broker.next_tag()


class Transport(DrivenTransport):
    """kombu's transport for ``taskharness-memory://`` URLs."""

    Channel = Channel
    broker: MemoryBroker
    driver_type = "memory"
    driver_name = "taskharness-memory"
    #: As of the drivers of real brokers: Celery retries the publish, and raises kombu's OperationalError.
    connection_errors = (*virtual.Transport.connection_errors, ConnectionError)
    recoverable_connection_errors = connection_errors
    implements = virtual.Transport.implements.extend(exchange_type=frozenset(["direct", "topic", "fanout"]))

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Find the broker that the URL names; its bindings are the broker's, not the connection's."""
        super().__init__(client, **kwargs)
        self.broker = _found(client.hostname)
        self.state = _state(self.broker)

    def establish_connection(self) -> Any:
        """Connect."""
        self.broker.refuse(_refused())
        return super().establish_connection()

    def driver_version(self) -> str:
        """There is no driver."""
        return "N/A"


def _found(name: str) -> MemoryBroker:
    broker = _brokers.get(name)
    if broker is None or broker.closed:
        raise _closed(name)
    return broker


def _closed(name: str) -> ConnectionRefusedError:
    return ConnectionRefusedError(
        f"{SCHEME}://{name}: this broker belonged to a harness that is closed. A connection or producer was kept from "
        "one test to the next."
    )


def _refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def _state(broker: MemoryBroker) -> virtual.BrokerState:
    if broker not in _states:
        _states[broker] = virtual.BrokerState()
    return _states[broker]
