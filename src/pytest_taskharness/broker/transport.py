"""The kombu transport of the memory broker: AMQP's verbs, by kombu's own virtual transport, on our queues."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from itertools import count
from queue import Empty
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.transport.virtual.exchange import STANDARD_EXCHANGE_TYPES
from kombu.utils.scheduling import round_robin_cycle

from . import canary
from .broadcast import BroadcastChannel
from .driven import DrivenTransport
from .memory import MemoryBroker
from .queued import Overdue, Payload, QueuedMessage

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
        broker.route = partial(_route, ref(broker))
    return f"{SCHEME}://{_names[broker]}//"


def queues_bound(broker: MemoryBroker, exchange: str, routing_key: str) -> list[str]:
    """The queues to which an exchange sends what has this routing key."""
    if not exchange:  # the default exchange: each queue is bound to it by its name
        return [routing_key] if broker.has(routing_key) else []
    found = _state(broker).exchanges.get(exchange)
    if found is None:
        return []
    kind = STANDARD_EXCHANGE_TYPES[found["type"]](None)
    return sorted(kind.lookup(found["table"], exchange, routing_key, None))


def _route(broker: ref[MemoryBroker], exchange: str, routing_key: str) -> list[str]:
    found = broker()
    return [] if found is None else queues_bound(found, exchange, routing_key)


def _unroutable(exchange: str, routing_key: str, exchanges: Mapping[str, Any]) -> str:
    if exchange not in exchanges:
        return f"there is no exchange {exchange!r}"
    return f"no queue is bound to exchange {exchange!r} for routing key {routing_key!r}"


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
        queued = self._delivered[delivery_tag] = self.channel.taken.pop(delivery_tag)
        self.channel.broker.hold(delivery_tag, queued)

    def ack(self, delivery_tag: str) -> None:
        """Forget a delivery for good."""
        self._forget(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget a delivery, or put it back in its queue: at the head, but on Redis at the end."""
        message, broker = self._forget(delivery_tag), self.channel.broker
        if message is None:
            return
        if requeue:
            broker.put_back(message, at_end=broker.visibility_timeout is not None)
        else:
            broker.reject(message)

    def restore_by_tag(self, delivery_tag: str) -> None:
        """The broker takes a delivery, of any channel, for lost: by the name that kombu has for it on Redis."""
        self.channel.broker.take_for_lost(delivery_tag)

    def restore_unacked(self) -> None:
        """Put everything back, oldest first in line: what a broker does when a connection is lost."""
        for delivery_tag in reversed(list(self._delivered)):
            message = self._forget(delivery_tag)
            if message is not None:
                self.channel.broker.put_back(message)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The same, by the name that a closing channel uses."""
        self.restore_unacked()

    @property
    def visibility_timeout(self) -> float | None:
        """In seconds."""
        return self.channel.broker.visibility_timeout

    def restore_now(self) -> list[Overdue]:
        """Put back what was held for longer than that."""
        return self.channel.broker.restore_now()

    def held(self, delivery_tag: str) -> QueuedMessage:
        """What was delivered."""
        return self._delivered[delivery_tag]

    def _forget(self, delivery_tag: str) -> QueuedMessage | None:
        """What the broker still knows to be delivered here."""
        self._delivered.pop(delivery_tag, None)
        return self.channel.broker.unacked.pop(delivery_tag, None)


class Channel(BroadcastChannel):
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
        self._order = round_robin_cycle()
        self._ordered: list[str] = []

    def _get(self, queue: str, timeout: Any = None) -> Payload:
        message = self._reached_broker().get(self.own.get(queue, queue))
        if message is None:
            raise Empty
        canary.check(message.payload, self.broker.name, queue=queue)
        # A delivery tag belongs to a delivery, not to a message; but on Redis kombu gives a message one for good.
        kept = None if self.broker.visibility_timeout is None else message.payload["properties"].get("delivery_tag")
        tag = kept or self.broker.next_tag()
        properties = {**message.payload["properties"], "delivery_tag": tag}
        self.taken = {tag: message}
        return {**message.payload, "properties": properties}

    def take_any(self, queues: list[str]) -> tuple[Any, str] | None:
        """Take one message off one of these queues, each in turn, and hold it."""
        for queue in self._in_order(queues):
            message = self.basic_get(queue)
            if message is not None:
                self._order.rotate(queue)
                self.qos.held(message.delivery_tag).holder = self
                return message, queue
        return None

    def _in_order(self, queues: list[str]) -> list[str]:
        """Who has waited longest first; on Redis a more urgent message of any queue goes before, by kombu's BRPOP."""
        if self._ordered != queues:
            self._ordered = queues
            self._order.update(queues)
        ordered = list(self._order.consume(len(queues)))
        if len(ordered) > 1 and self.broker.profile.ranks_across_queues:
            ordered.sort(key=lambda queue: self.broker.rank_of_next(self.own.get(queue) or queue))
        return ordered

    def abandon(self) -> None:
        """Forget what is held without giving it back: the process is dead."""
        self.qos._delivered.clear()

    def _put(self, queue: str, message: Payload, **kwargs: Any) -> None:
        self._open_broker().publish(queue, canary.stamped(message, self.broker.name))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        if not (exchange and self.broker.profile.drops_unroutable):
            return list(super()._lookup(exchange, routing_key, default))
        return queues_bound(self.broker, exchange, routing_key)

    def basic_publish(self, message: Payload, exchange: str, routing_key: str, **kwargs: Any) -> Any:
        """Publish; where no queue is bound, RabbitMQ drops the message without a word."""
        if exchange and self.broker.profile.drops_unroutable and not self._lookup(exchange, routing_key):
            self._open_broker().drop(message, _unroutable(exchange, routing_key, self.state.exchanges))
        return super().basic_publish(message, exchange, routing_key, **kwargs)

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
        for queue in self.own_queues(sorted(self._lookup(exchange, routing_key or ""))):
            self._open_broker().put(queue, canary.stamped(message, self.broker.name))

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """``Queue(max_priority=9)`` is ``x-max-priority``, where the broker heeds such a thing."""
        return to_rabbitmq_queue_arguments(arguments, **kwargs) if self.broker.profile.heeds_arguments else arguments

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._reached_broker().declare(queue, kwargs.get("arguments"))

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
