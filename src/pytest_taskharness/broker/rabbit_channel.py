"""kombu's channel on a RabbitMQ, where everything on the server is called by the names of one harness."""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp

from .rabbit_names import Names

__all__ = ["NamedChannel", "NamedConnection", "NamedTransport"]

#: The transport option that says what the harness is called.
NAME = "taskharness_name"


class NamedChannel(pyamqp.Channel):  # type: ignore[misc]
    """kombu's, which puts the prefix before each name, and takes it off what the server says."""

    @property
    def names(self) -> Names:
        """Those of the connection."""
        names: Names = self.connection.names
        return names

    # -- exchanges

    def exchange_declare(self, exchange: str, *args: Any, arguments: Any = None, **kwargs: Any) -> Any:
        """Make an exchange, unless it is there."""
        arguments = self.names.arguments(arguments)
        return super().exchange_declare(self.names.exchange(exchange), *args, arguments=arguments, **kwargs)

    def exchange_delete(self, exchange: str, *args: Any, **kwargs: Any) -> Any:
        """Delete an exchange."""
        return super().exchange_delete(self.names.exchange(exchange), *args, **kwargs)

    def exchange_bind(self, destination: str, source: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """Let an exchange lead to another one."""
        names = self.names
        return super().exchange_bind(
            names.exchange(destination), names.exchange(source), names.queue(routing_key), **kwargs
        )

    def exchange_unbind(self, destination: str, source: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """Let it lead there no longer."""
        names = self.names
        return super().exchange_unbind(
            names.exchange(destination), names.exchange(source), names.queue(routing_key), **kwargs
        )

    # -- queues

    def queue_declare(self, queue: str = "", *args: Any, arguments: Any = None, **kwargs: Any) -> Any:
        """Make a queue, unless it is there."""
        arguments = self.names.arguments(arguments)
        declared = super().queue_declare(self.names.queue(queue), *args, arguments=arguments, **kwargs)
        return declared if declared is None else declared._replace(queue=self.names.seen_queue(declared.queue))

    def queue_bind(self, queue: str, exchange: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """Let an exchange lead to a queue."""
        names = self.names
        return super().queue_bind(names.queue(queue), names.exchange(exchange), names.queue(routing_key), **kwargs)

    def queue_unbind(self, queue: str, exchange: str, routing_key: str = "", **kwargs: Any) -> Any:
        """Let it lead there no longer."""
        names = self.names
        kwargs.pop("nowait", None)  # there is no such thing
        return super().queue_unbind(names.queue(queue), names.exchange(exchange), names.queue(routing_key), **kwargs)

    def queue_delete(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Delete a queue."""
        return super().queue_delete(self.names.queue(queue), *args, **kwargs)

    def queue_purge(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Drop what waits in a queue."""
        return super().queue_purge(self.names.queue(queue), *args, **kwargs)

    # -- messages

    def _basic_publish(self, msg: Any, exchange: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """Publish; py-amqp calls it so with ``confirm_publish`` and without."""
        names = self.names
        self.name_headers(msg)
        return super()._basic_publish(msg, names.exchange(exchange), names.queue(routing_key), **kwargs)

    basic_publish = _basic_publish

    def name_headers(self, msg: Any) -> None:
        """What a message says of queues, it says to the server."""
        headers = msg.properties.get("application_headers")
        if headers and "x-death" in headers:
            msg.properties["application_headers"] = self.names.headers(headers)

    def basic_consume(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Consume a queue."""
        return super().basic_consume(self.names.queue(queue), *args, **kwargs)

    def basic_get(self, queue: str = "", *args: Any, **kwargs: Any) -> Any:
        """Take one message, or None."""
        return super().basic_get(self.names.queue(queue), *args, **kwargs)

    def _on_get_ok(self, delivery_tag: Any, redelivered: Any, exchange: str, routing_key: str, *args: Any) -> Any:
        names = self.names
        where = names.seen_exchange(exchange), names.seen_queue(routing_key)
        return self._seen(super()._on_get_ok(delivery_tag, redelivered, *where, *args))

    def _on_basic_deliver(
        self, consumer_tag: str, delivery_tag: Any, redelivered: Any, exchange: str, routing_key: str, msg: Any
    ) -> Any:
        names = self.names
        where = names.seen_exchange(exchange), names.seen_queue(routing_key)
        return super()._on_basic_deliver(consumer_tag, delivery_tag, redelivered, *where, self._seen(msg))

    def _seen(self, msg: Any) -> Any:
        headers = msg.properties.get("application_headers")
        if headers:
            msg.properties["application_headers"] = self.names.seen_headers(headers)
        return msg

    def _on_basic_return(self, code: int, text: str, exchange: str, routing_key: str, message: Any) -> Any:
        names = self.names
        return super()._on_basic_return(
            code, names.seen_text(text), names.seen_exchange(exchange), names.seen_queue(routing_key), message
        )

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> Any:
        return super()._on_close(reply_code, self.names.seen_text(reply_text), class_id, method_id)


class NamedConnection(pyamqp.Connection):  # type: ignore[misc]
    """A connection whose channels do so."""

    Channel = NamedChannel

    def __init__(self, *args: Any, **options: Any) -> None:
        """As kombu's transport makes it, with its options."""
        self.names = Names(options.pop(NAME, ""))
        super().__init__(*args, **options)


class NamedTransport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport for AMQP, by the names of one harness: its transport options have what that is called."""

    Connection = NamedConnection
