"""kombu's transport for AMQP, in the test process: whoever waits lets the workers go on."""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp

from ...broker.rabbit_message import payload_of
from ...errors import hide_frames
from ..between.amqp_channel import ToldChannel, ToldConnection
from .amqp_broker import BROKER, PATIENCE, AmqpBroker, broker_named

__all__ = ["Transport"]

__tracebackhide__ = hide_frames


class _Channel(ToldChannel):
    """A channel of the test process: what it publishes, a test may want once more."""

    def _basic_publish(self, msg: Any, exchange: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        self.connection.broker.check_open()
        payload = payload_of(msg, exchange, routing_key)
        published = super()._basic_publish(msg, exchange, routing_key, **kwargs)
        self.connection.broker.remember(self.connection.broker.queue_for(exchange, routing_key), payload)
        return published

    basic_publish = _basic_publish


class _Connection(ToldConnection):
    """A connection of the test process."""

    Channel = _Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        self.broker: AmqpBroker = broker_named(options.pop(BROKER))
        super().__init__(*args, **options)
        self.on_declared = self.broker.note_declared

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect; from then on an answer is not waited for for ever."""
        with self.broker.explained():
            connected = super().connect(*args, **kwargs)
        self.sock.settimeout(PATIENCE)
        return connected

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read from the socket."""
        with self.broker.explained():
            return super().blocking_read(timeout)


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's, in the test process: whoever waits lets the world go on."""

    Connection = _Connection
    #: Where there are quorum queues, Celery lets an "amqp" wait for an eta, where nobody sees it.
    driver_type = "taskharness-rabbitmq-process"
    implements = pyamqp.Transport.implements.extend(asynchronous=False, heartbeats=False)

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Hand over what has come; where nothing has, let the world go on."""
        while not connection.settle():
            if timeout == 0 or not connection.broker.wait_for_event(timeout):
                if connection.settle():
                    return
                raise TimeoutError
