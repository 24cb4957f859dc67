"""Declarations on a RabbitMQ: what the server is told at once, what later, and what it is not told at all."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

from amqp.protocol import queue_declare_ok_t

from .rabbit_channel import NamedChannel

__all__ = ["MAILBOX", "DeclaringChannel"]

#: What queues of remote control are called.
MAILBOX = ".pidbox"
_numbers = count(1)


def _made(broker: Any, exchange: str, on: NamedChannel, **how: Any) -> None:
    """An exchange, by its name on the server."""
    arguments = broker.names.arguments(how.pop("arguments", None))
    broker.lease.declare_exchange(on, broker.names.exchange(exchange), arguments=arguments, **how)


class DeclaringChannel(NamedChannel):
    """The part of a channel that declares."""

    #: The harness's.
    broker: Any

    def exchange_declare(  # type: ignore[override]
        self, exchange: str, type: str, passive: bool = False, nowait: bool = False, **kwargs: Any  # noqa: A002
    ) -> None:  # fmt: skip
        """Make an exchange, unless it is there."""
        if passive:
            self.broker.later.flush()
            super().exchange_declare(exchange, type, passive=True, **kwargs)
            return
        kwargs.setdefault("auto_delete", False)
        act = partial(_made, self.broker, exchange, type=type, **kwargs)
        if kwargs["auto_delete"] or kwargs.get("arguments"):
            self.broker.later.end()
        self.broker.later.declare(("exchange", exchange), f"{type} {sorted(kwargs.items())}", act, on=self)
        self.broker.routes.exchanges.setdefault(exchange, type)

    def exchange_delete(self, exchange: str, *args: Any, **kwargs: Any) -> Any:
        """Delete an exchange."""
        self.broker.later.end()
        self.broker.later.forget("exchange", exchange)
        self.broker.routes.delete_exchange(exchange)
        return super().exchange_delete(exchange, *args, **kwargs)

    def exchange_bind(self, *args: Any, **kwargs: Any) -> Any:
        """Let an exchange lead to another one."""
        self.broker.later.end()
        return super().exchange_bind(*args, **kwargs)

    def queue_declare(  # type: ignore[override]
        self, queue: str = "", passive: bool = False, durable: bool = False, exclusive: bool = False,
        auto_delete: bool = True, arguments: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Make a queue, unless it is there; whoever consumes it is known here alone, and so is when it is deleted."""
        queue = queue or f"amq.gen-{next(_numbers)}"
        told = None if passive else self.broker.told(arguments)
        if queue.endswith(MAILBOX) and not passive:
            return self._mailbox(queue, arguments, durable=durable, told=told)
        how = {"passive": passive, "durable": durable, "auto_delete": False, "arguments": told}
        declared = super().queue_declare(queue, **how, **kwargs)
        if not passive:
            self.broker.declared(queue, arguments, auto_delete=auto_delete)
            if exclusive:
                self.connection.exclusive.append(queue)
        return declared and declared._replace(consumer_count=self.broker.consumers[queue])

    def _mailbox(self, queue: str, arguments: Any, *, durable: bool, told: Any) -> Any:
        """A mailbox of remote control, which may never get a message."""
        how = {"durable": durable, "auto_delete": False, "arguments": told}
        act: Any = partial(NamedChannel.queue_declare, queue=queue, **how)
        self.broker.later.declare(("queue", queue), repr(how), act, on=self)
        self.broker.declared(queue, arguments, auto_delete=True)
        if not self.broker.later.is_waiting("queue", queue):
            return act(self)
        return queue_declare_ok_t(queue, 0, self.broker.consumers[queue])

    def queue_bind(
        self, queue: str, exchange: str = "", routing_key: str = "", nowait: bool = False, **kwargs: Any
    ) -> None:  # fmt: skip
        """Let an exchange lead to a queue."""
        broker = self.broker
        if exchange not in broker.routes.exchanges or queue not in broker.routes.queues:
            broker.later.end()  # let the server say so
        act = partial(NamedChannel.queue_bind, queue=queue, exchange=exchange, routing_key=routing_key, **kwargs)
        key = ("binding", queue, exchange, routing_key, repr(kwargs.get("arguments")))
        broker.later.declare(key, "", act, on=self)
        broker.routes.bind(queue, exchange, routing_key, kwargs.get("arguments"))

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", **kwargs: Any) -> Any:
        """Let it lead there no longer."""
        self.broker.later.end()
        self.broker.later.forget_binding(queue, exchange, routing_key)
        self.broker.routes.unbind(queue, exchange, routing_key)
        return super().queue_unbind(queue, exchange, routing_key, **kwargs)

    def queue_delete(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Delete a queue."""
        known = self.broker.later.forget("queue", queue)
        deleted = super().queue_delete(queue, *args, **kwargs) if known else 0
        self.broker.routes.delete_queue(queue)
        self.broker.changed()
        return deleted

    def queue_purge(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Drop what waits in a queue."""
        self.broker.later.flush()
        purged = super().queue_purge(queue, *args, **kwargs)
        self.broker.changed()
        return purged
