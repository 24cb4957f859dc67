"""kombu's transport for AMQP on the connections that the harnesses of this process share."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any

from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from .rabbit_broker import RabbitBroker, broker_named

__all__ = ["Transport", "connect"]

#: kombu finds the transport by this name.
SCHEME = "taskharness-rabbitmq"
#: The transport option that names the broker.
BROKER = "taskharness_broker"


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's, for somebody who steps: a timeout counts virtual seconds, and whoever waits lets the world go on."""

    #: Celery lets a RabbitMQ wait for the eta of what goes to a quorum queue; its clock is the real one.
    driver_type = "taskharness-rabbitmq"
    implements = pyamqp.Transport.implements.extend(asynchronous=False, heartbeats=False)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Find the broker that the options of the connection name."""
        super().__init__(client, **kwargs)
        broker = broker_named(client.transport_options[BROKER])
        if broker is None or broker.closed:
            raise _closed()
        self.broker: RabbitBroker = broker

    def establish_connection(self) -> Any:
        """Connect: borrow a connection that is."""
        self.broker.check_reachable()
        connection = self.broker.access.take(self.broker)
        connection.client = self.client
        return connection

    def close_connection(self, connection: Any) -> None:
        """Give it back, unless it was taken back already."""
        if connection.broker is self.broker:
            connection.release()

    def _collect(self, connection: Any) -> None:
        if connection is not None and connection.broker is self.broker:
            with suppress(*self.connection_errors, *self.channel_errors):
                connection.release()

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver one event; where there is none, let the world go on."""
        while not connection.deliver_one():
            if timeout == 0 or not self.broker.wait_for_event(timeout):
                raise TimeoutError

    def verify_connection(self, connection: Any) -> bool:
        """Whether it is connected, and still lent to us."""
        return bool(connection.connected and connection.broker is self.broker)


def connect(broker: RabbitBroker) -> Connection:
    """A connection to a broker, whatever an app's configuration says."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    options = {**broker.options, BROKER: broker.name}
    return Connection(broker.access.url, transport=SCHEME, transport_options=options)


def _closed() -> ConnectionRefusedError:
    return ConnectionRefusedError(
        errno.ECONNREFUSED,
        "this RabbitMQ broker belonged to a harness that is closed. A connection or producer was kept from one test to "
        "the next.",
    )
