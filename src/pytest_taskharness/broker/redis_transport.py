"""kombu's own redis transport for somebody who steps: it never blocks, and it tells what it holds.

Queues, priorities, acknowledgements, the visibility timeout and pub/sub are kombu's code.  What differs is how a
message is fetched: kombu's event loop sends BRPOP and waits for the socket; here the same BRPOP goes inside
MULTI/EXEC, where Redis answers at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import cached_property, partial
from queue import Empty
from typing import Any

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from kombu.utils.scheduling import cycle_by_name
from redis.exceptions import ConnectionError as RedisConnectionError

from . import canary
from .driven import DrivenTransport
from .redis_broker import Held, RedisBroker, broker_named
from .redis_fanout import FanoutChannel

__all__ = ["Channel", "QoS", "Transport", "connect"]

#: kombu finds the transport by this name; a class could not be shown in the reply to ``inspect().stats()``.
SCHEME = "taskharness-redis"
#: The transport option that names the broker.
BROKER = "taskharness_broker"


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """kombu's, telling the broker what is held, and since when."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivery."""
        super().append(message, delivery_tag)
        self.channel.broker.hold(delivery_tag, message.headers or {})

    def restore_now(self) -> list[Held]:
        """Put back what has been held for longer than the visibility timeout, and tell what that was."""
        broker, channel = self.channel.broker, self.channel
        overdue = broker.overdue()
        self.restore_visible(num=channel.unacked_restore_limit, interval=1)
        restored = [held for tag, held in overdue.items() if tag not in broker.held]
        assert restored or not overdue, "kombu restores what is overdue, unless another process holds its mutex"
        return restored

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        self.channel.broker.forget([bytes_to_str(delivery_tag)])  # bytes where the server has named it
        return super()._remove_from_indices(delivery_tag, pipe)


class Channel(FanoutChannel):
    """kombu's redis channel on the connections that all harnesses share."""

    QoS = QoS

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        """As kombu's transport makes it."""
        self.broker: RedisBroker = connection.broker
        self._fanout_queues = self.broker.fanout_queues
        super().__init__(connection, **kwargs)
        # kombu does so where it makes a pool.
        database = self.broker.access.pool.connection_kwargs.get("db") or 0
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=database)
        self._order = cycle_by_name(self.queue_order_strategy)()
        self._ordered: list[str] = []

    # -- connections

    def _get_pool(self, asynchronous: bool = False) -> Any:
        return self.broker.access.pool

    def _disconnect_pools(self) -> None:
        self._pool = self._async_pool = None  # the pool is not this channel's own

    def _close_clients(self) -> None:
        subscriber = self.__dict__.pop("subclient", None)
        if subscriber is not None:
            subscriber.close()

    def _create_client(self, asynchronous: bool = False) -> Any:
        if self.broker.closed:
            raise _closed()
        if self.broker.is_out:
            text = f"Error {errno.ECONNREFUSED} connecting to the broker. Connection refused."
            self.broker.refuse(RedisConnectionError(text))
        return self.broker.prefixing_client

    def close(self) -> None:
        """Close; where all that is there is about to be deleted, without a word to the server."""
        if self.broker.ending:
            self.active_fanout_queues.clear()
            self.auto_delete_queues.clear()
            self.abandon()
        elif self.broker.is_out:
            self._drop_bindings()
        elif self._binds():
            self.broker.flush_bindings()
        super().close()

    def abandon(self) -> None:
        """Forget what is held without telling the server: the process is dead."""
        self.qos._delivered.clear()

    # -- queues

    def _next_delivery_tag(self) -> str:
        """Counted: of what is lost at the same instant, kombu restores by the order of the tags."""
        return self.broker.next_tag()

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":  # kombu needs to know before it is written
            self._fanout_queues[queue] = (exchange, routing_key.replace("#", "*"))
        write = partial(super()._queue_bind, exchange, routing_key, pattern, queue)
        key = (exchange, routing_key, pattern, queue)
        self.broker.bindings[key] = self._bound[key] = write

    @cached_property
    def _bound(self) -> dict[Any, Callable[[], object]]:
        """The bindings that this channel was to write: once it is closed, it cannot."""
        return {}

    def _binds(self) -> list[Any]:
        return [key for key, write in self._bound.items() if self.broker.bindings.get(key) is write]

    def _drop_bindings(self) -> None:
        for key in self._binds():
            del self.broker.bindings[key]

    def get_table(self, exchange: str) -> Any:
        """The bindings of an exchange, as they are on the server."""
        self.broker.flush_bindings()
        return super().get_table(exchange)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self.broker.flush_bindings()
        super()._delete(queue, *args, **kwargs)

    def _new_queue(self, queue: str, auto_delete: bool = False, **kwargs: Any) -> None:
        super()._new_queue(queue, auto_delete=auto_delete, **kwargs)
        if queue not in self._fanout_queues:
            self._lists(queue)

    def _get_queue_expire(self, args: Any) -> None:
        """``x-expires`` would count real seconds, on the server's clock."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        self._lists(queue)
        self.broker.written.add(queue)
        stamped = canary.stamped(message, self.broker.name)
        super()._put(queue, stamped, **kwargs)
        self.broker.remember(queue, stamped)

    def _lists(self, queue: str) -> tuple[str, ...]:
        """The Redis lists of a queue, one for each priority, first come first."""
        if queue not in self.broker.lists:
            self.broker.lists[queue] = tuple(self._q_for_pri(queue, step) for step in self.priority_steps)
        return self.broker.lists[queue]

    def _size(self, queue: str) -> int:
        # Each declaration asks; of what nobody has written to, the answer is known.
        return int(super()._size(queue)) if queue in self.broker.written else 0

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        super()._restore(message, leftmost)
        self.broker.forget([message.delivery_tag])

    # -- fetching

    def take_any(self, queues: list[str]) -> tuple[Any, str] | None:
        """Take one message off one of these queues, in kombu's order, and hold it."""
        try:
            payload, queue = self.pop_any(queues)
        except Empty:
            return None
        message = self.Message(payload, channel=self)
        self.qos.append(message, message.delivery_tag)
        return message, queue

    def pop_any(self, queues: list[str]) -> tuple[Any, str]:
        """Pop one message off one of these queues.

        Raises:
            Empty: There is none.
        """
        if self.broker.on_hold:
            queues = [queue for queue in queues if queue not in self.broker.on_hold]
        broadcast = self.active_fanout_queues.intersection(queues)
        for queue in sorted(broadcast):
            if (payload := self._heard_on(queue)) is not None:
                return payload, queue
        payload, queue = self._pop(self._in_order([queue for queue in queues if queue not in broadcast]))
        self._order.rotate(queue)
        return payload, queue

    def _in_order(self, queues: list[str]) -> list[str]:
        """As the app's ``queue_order_strategy`` has it."""
        if self._ordered != queues:
            self._ordered = queues
            self._order.update(queues)
        return list(self._order.consume(len(queues)))

    def _heard_on(self, queue: str) -> Any:
        try:
            return self.get_broadcast(queue)
        except Empty:
            return None

    def _get(self, queue: str, timeout: Any = None) -> Any:
        if queue in self.broker.on_hold:
            raise Empty
        if queue in self.active_fanout_queues:
            return self.get_broadcast(queue)
        return self._pop([queue])[0]

    def _pop(self, queues: list[str]) -> tuple[Any, str]:
        """BRPOP as kombu sends it: a more urgent message of any queue goes first."""
        if not queues:
            raise Empty
        by_priority = zip(*map(self._lists, queues), strict=True)
        lists = {name: queue for names in by_priority for name, queue in zip(names, queues, strict=True)}
        with self._create_client().pipeline() as pipe:
            pipe.execute_command("BRPOP", *lists, 0)
            (popped,) = pipe.execute()
        if not popped:
            raise Empty
        queue = lists[bytes_to_str(popped[0])[len(self.broker.prefix) :]]
        payload = loads(bytes_to_str(popped[1]))
        canary.check(payload, self.broker.name, queue=queue)
        return payload, queue


class Poller:
    """In the place of kombu's MultiChannelPoller: asks each channel in turn, and never waits."""

    _in_protected_read = False

    def __init__(self) -> None:
        """No channels yet."""
        self._channels: list[Channel] = []

    def add(self, channel: Channel) -> None:
        """Poll this one too."""
        self._channels.append(channel)

    def discard(self, channel: Channel) -> None:
        """Poll it no longer."""
        if channel in self._channels:
            self._channels.remove(channel)

    def close(self) -> None:
        """Poll nobody."""
        self._channels.clear()

    def get(self, callback: Callable[[Any, str], object], timeout: float | None = None) -> None:
        """Deliver one message.

        Raises:
            Empty: There was nothing.
        """
        for channel in list(self._channels):
            if channel.receive_broadcasts() or self._get_from(channel, callback):
                return
        raise Empty

    def _get_from(self, channel: Channel, callback: Callable[[Any, str], object]) -> bool:
        queues = channel.active_queues if channel.qos.can_consume() else []
        if not queues:
            return False
        try:
            callback(*channel.pop_any(queues))
        except Empty:
            return False
        return True


class Transport(DrivenTransport, kombu_redis.Transport):  # type: ignore[misc]
    """kombu's redis transport without its poller."""

    Channel = Channel
    broker: RedisBroker

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Find the broker that the options of the connection name."""
        super().__init__(client, **kwargs)
        broker = broker_named(client.transport_options[BROKER])
        if broker is None or broker.closed:
            raise _closed()
        self.broker = broker
        self.state = broker.state
        self.cycle = Poller()


def connect(broker: RedisBroker) -> Connection:
    """A connection to a broker, whatever an app's configuration says."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    return Connection(broker.access.url, transport=SCHEME, transport_options={**broker.options, BROKER: broker.name})


def _closed() -> RedisConnectionError:
    return RedisConnectionError(
        "this Redis broker belonged to a harness that is closed. A connection or producer was kept from one test to "
        "the next."
    )
