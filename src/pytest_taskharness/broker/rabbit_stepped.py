"""kombu's channel on a RabbitMQ for somebody who steps: nobody is sent anything, whoever wants a message asks for it.

Queues, exchanges, routing, acknowledgements, redelivery, priorities and dead letters are the server's.  What differs is
how a message is fetched: a consumer of Celery's is sent it, here ``basic_get`` asks, and the server answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from amqp import spec
from amqp.exceptions import MessageNacked, NotFound
from kombu.utils.scheduling import round_robin_cycle

from .broadcast import BROADCAST
from .queued import Overdue
from .rabbit_declaring import MAILBOX, DeclaringChannel
from .rabbit_message import Delivery

__all__ = ["Channel", "QoS"]

_tags = count(1)


@dataclass(frozen=True)
class Consumer:
    """Somebody who wants the messages of a queue."""

    queue: str
    callback: Callable[[Any], object]
    no_ack: bool


class QoS:
    """What a channel holds, in the words of kombu's virtual transports, which stepped workers speak."""

    visibility_timeout = None

    def __init__(self, channel: Channel) -> None:
        """Nothing is held."""
        self.channel = channel
        self.prefetch_count = 0

    def can_consume(self) -> bool:
        """Whether the prefetch limit leaves room for one more."""
        return not self.prefetch_count or len(self.channel.delivered) < self.prefetch_count

    def restore_by_tag(self, delivery_tag: str) -> None:
        """The server takes a delivery, of any channel, for lost."""
        self.channel.broker.take_for_lost(delivery_tag)

    def restore_now(self) -> list[Overdue]:
        """Close the channels on which something was held for too long; the server takes that back."""
        self.channel.broker.restore_now()
        return []


class Channel(DeclaringChannel):
    """A channel that asks for each message.

    Attributes:
        delivered: What it holds, by the server's delivery tag.
        own: What this channel has of each broadcast queue, by its name.
    """

    def __init__(self, connection: Any, *args: Any, **options: Any) -> None:
        """As py-amqp makes it."""
        super().__init__(connection, *args, **options)
        self.broker: Any = connection.broker
        self.qos = QoS(self)
        self.delivered: dict[int, Delivery] = {}
        self.own: dict[str, str] = {}
        self._consumers: dict[str, Consumer] = {}
        self._lost: set[int] = set()
        self._returned: tuple[Any, ...] | None = None
        self._order = round_robin_cycle()
        self._ordered: list[str] = []

    @property
    def closed(self) -> bool:
        """Whether nobody uses it any more."""
        return self.connection is None

    def send_method(self, *args: Any, **options: Any) -> Any:
        """Tell the server, where it can be reached."""
        if self.broker is not None:
            self.broker.check_reachable()
        try:
            return super().send_method(*args, **options)
        except OSError as error:
            if self.connection is None:
                raise
            self.connection.explained(error)

    # -- the end

    def close(self, *args: Any, **options: Any) -> None:
        """Nobody uses it any more: what it holds goes back, and its number is free for the next one."""
        connection = self.connection
        if connection is None:
            return
        with self.broker.reached():
            for tag in list(self._consumers):
                self.basic_cancel(tag)
            if self.delivered and connection.connected:
                self._give_back()
        connection.put_aside(self)

    def _give_back(self) -> None:
        """What a server does when a connection is lost."""
        held = list(self.delivered.values())
        super().basic_recover(requeue=True)
        for queue in {message.queue for message in held}:
            self.settle(queue)
        self._forget_all()

    def _do_revive(self) -> None:
        """The server has closed it; py-amqp opens it again."""
        self._forget_all()
        super()._do_revive()
        self.confirm_select()

    def _forget_all(self) -> None:
        for message in self.delivered.values():
            self.broker.given_back(message)
        self.delivered.clear()
        self._lost.clear()

    # -- publishing

    def basic_publish(
        self, msg: Any, exchange: str = "", routing_key: str = "", mandatory: bool = False, **kwargs: Any
    ) -> None:  # fmt: skip
        """Publish; when this returns, the message is where it belongs, so that nobody looks for it too early."""
        broker, names = self.broker, self.names
        if exchange or routing_key.endswith(MAILBOX):
            broker.later.flush()
        payload = broker.sign(msg, exchange, routing_key)
        self.name_headers(msg)
        self._returned = None
        full = broker.about_to_overflow(exchange, routing_key)
        where = (0, names.exchange(exchange), names.queue(routing_key), True, False)
        try:
            self.send_method(spec.Basic.Publish, "Bssbb", where, msg)
            accepted = self._confirmed()
        except NotFound:
            if broker.confirms:
                raise
            broker.drop(payload, f"there is no exchange {exchange!r}")
            return
        self._tell(payload, exchange, routing_key, accepted=accepted, mandatory=mandatory)
        broker.overflowed(full, accepted=accepted)

    def _tell(self, payload: Any, exchange: str, routing_key: str, *, accepted: bool, mandatory: bool) -> None:
        if self._returned is not None:
            self.broker.drop(payload, _unroutable(exchange, routing_key))
            if mandatory:
                super()._on_basic_return(*self._returned)
        elif accepted:
            self.broker.published(payload, exchange, routing_key)
        elif self.broker.confirms:
            raise MessageNacked
        else:
            self.broker.refused(payload, exchange, routing_key)

    def _confirmed(self) -> bool:
        heard: list[Any] = []
        self.wait([spec.Basic.Ack, spec.Basic.Nack], callback=lambda method, *args: heard.append(method))
        return bool(heard[0] == spec.Basic.Ack)

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> None:
        """The same: py-amqp has two."""
        self.basic_publish(*args, **kwargs)

    def _on_basic_return(self, *returned: Any) -> None:
        self._returned = returned

    # -- consuming

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool, **kwargs: Any) -> None:
        """How much may be held; whoever asks for each message counts that himself."""
        self.qos.prefetch_count = prefetch_count

    def basic_consume(
        self, queue: str = "", consumer_tag: str = "", no_local: bool = False, no_ack: bool = False,
        exclusive: bool = False, nowait: bool = False, callback: Any = None, **kwargs: Any,
    ) -> str:  # fmt: skip
        """Want the messages of a queue: from now on, :meth:`receive_broadcasts` fetches them."""
        if queue.startswith(BROADCAST) and queue not in self.own:
            self.own[queue] = self.broker.own_copy(self, queue)
        tag = consumer_tag or f"taskharness-{next(_tags)}"
        self._consumers[tag] = Consumer(queue, callback, no_ack)
        self.broker.consumers[self.own.get(queue, queue)] += 1
        return tag

    def basic_cancel(self, consumer_tag: str, *args: Any, **kwargs: Any) -> None:
        """Want them no longer."""
        consumer = self._consumers.pop(consumer_tag, None)
        if consumer is not None:
            self.broker.left(self, self.own.pop(consumer.queue, consumer.queue))

    def receive_broadcasts(self) -> bool:
        """Hand over one message of the queues that this channel consumes; whether there was one."""
        for tag, consumer in list(self._consumers.items()):
            message = self._fetch(consumer.queue, no_ack=consumer.no_ack) if self.qos.can_consume() else None
            if message is not None:
                message.delivery_info["consumer_tag"] = tag
                consumer.callback(message)
                return True
        return False

    def take_any(self, queues: list[str]) -> tuple[Any, str] | None:
        """Take one message off one of these queues, each in turn, and hold it."""
        for queue in self._in_order(queues):
            message = self._fetch(queue)
            if message is not None:
                self._order.rotate(queue)
                self.delivered[message.delivery_tag].holder = self
                return self.message_to_python(message), queue
        return None

    def _in_order(self, queues: list[str]) -> list[str]:
        """Who has waited longest first."""
        if self._ordered != queues:
            self._ordered = queues
            self._order.update(queues)
        return list(self._order.consume(len(queues)))

    def basic_get(self, queue: str = "", no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message, or None."""
        return self._fetch(queue, no_ack=no_ack)

    def _fetch(self, queue: str, *, no_ack: bool = False) -> Any:
        name = self.own.get(queue, queue)
        if not self.broker.may_have(name):
            return None
        while (message := super().basic_get(name)) is not None:
            delivery = self.broker.read(message, name)
            if not self.broker.is_late(delivery):
                self._hold(message, delivery)
                if no_ack:
                    self.basic_ack(message.delivery_tag)
                return message
            self._let_expire(delivery)
        self.broker.found_empty(name)
        return None

    def _let_expire(self, delivery: Delivery) -> None:
        """The server would not have delivered it."""
        if self.broker.arguments_of(delivery.queue).dead_letter_exchange is None:
            super().basic_ack(delivery.number)
            self.broker.expired(delivery)
        else:
            super().basic_reject(delivery.number, True)
            self.settle(delivery.queue)
            self.broker.expire_heads(delivery.queue)

    def _hold(self, message: Any, delivery: Delivery) -> None:
        info = message.delivery_info
        del info["message_count"]  # which only those see who ask
        tags = (tag for tag, each in self._consumers.items() if self.own.get(each.queue, each.queue) == delivery.queue)
        info["consumer_tag"] = next(tags, "")
        delivery.channel = self
        self.delivered[delivery.number] = delivery
        self.broker.taken(f"{id(self)}.{delivery.number}", delivery)

    # -- acknowledging

    def basic_ack(self, delivery_tag: int, multiple: bool = False, **kwargs: Any) -> None:
        """Acknowledge; of what the server has taken for lost, it means nothing."""
        for tag in self._meant(delivery_tag, multiple):
            if self._forget(tag):
                super().basic_ack(tag)

    def basic_reject(self, delivery_tag: int, requeue: bool, **kwargs: Any) -> None:
        """Refuse; when this returns, the message is where it belongs."""
        message = self._forget(delivery_tag)
        if message is None:
            return
        super().basic_reject(delivery_tag, requeue)
        self.settle(message.queue)
        if requeue:
            self.broker.given_back(message)
        else:
            self.broker.bury(message, "rejected")

    def basic_recover(self, requeue: bool = False) -> None:
        """Give back all that is held."""
        if self.delivered:
            self._give_back()

    def take_back(self, number: int) -> None:
        """The server takes a delivery for lost; whoever holds it goes on, and his acknowledgement means nothing."""
        message = self.delivered[number]
        super().basic_reject(number, True)
        self._lost.add(number)
        self.settle(message.queue)
        self.broker.given_back(message)

    def settle(self, queue: str) -> None:
        """Wait until the server has done what it was told about a queue: it answers in order."""
        super().queue_declare(queue, passive=True)

    def _meant(self, delivery_tag: int, multiple: bool) -> list[int]:
        return [tag for tag in self.delivered if tag <= delivery_tag] if multiple else [delivery_tag]

    def _forget(self, number: int) -> Delivery | None:
        """What the server still knows to be delivered here."""
        message = self.delivered.pop(number, None)
        if message is None or number in self._lost:
            self._lost.discard(number)
            return None
        self.broker.unacked.pop(f"{id(self)}.{number}", None)
        return message


def _unroutable(exchange: str, routing_key: str) -> str:
    if not exchange:
        return f"there is no queue {routing_key!r}"
    return f"no queue is bound to exchange {exchange!r} for routing key {routing_key!r}"
