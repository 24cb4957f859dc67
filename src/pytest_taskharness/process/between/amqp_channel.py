"""kombu's channel on a RabbitMQ that real workers use, in their processes and in the test's.

What is done there is done when the call returns: each publish is confirmed by the server.  And nothing there goes by
the server's clock where the test has one of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from amqp.exceptions import MessageNacked

from ...broker.rabbit_channel import NamedChannel, NamedConnection
from ...broker.rabbit_lease import Lease

__all__ = ["CLOCK_MOVES", "LEASED", "SURE", "ToldChannel", "ToldConnection"]

#: The transport options that say whether the app asks for publisher confirms, whether the test moves the clock, and
#: whether the server is somebody else's.
SURE, CLOCK_MOVES, LEASED = "taskharness_sure", "taskharness_clock_moves", "taskharness_leased"
#: An exchange that every server has.
_THERE = "amq.direct"


class ToldChannel(NamedChannel):
    """A channel that tells what it declares, and from which queue a message came."""

    _numbers = count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Open."""
        super().__init__(*args, **kwargs)
        #: Which one it is: delivery tags are counted on each.
        self.serial = f"{self.connection.whose}{next(self._numbers)}"
        #: The queues by their consumers' tags.
        self.consumed: dict[str, str] = {}
        #: How many messages consumers were given.
        self.handed_over = 0

    def settle(self) -> None:
        """Return when the server has done all that it was told here, and what it had sent before has come.

        What has come is with its consumer.
        """
        super(NamedChannel, self).exchange_declare(_THERE, "direct", passive=True)

    # -- declaring

    def exchange_declare(
        self, exchange: str, *args: Any, passive: bool = False, auto_delete: bool = False, arguments: Any = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Make an exchange, unless it is there."""
        if passive or not exchange:
            return super().exchange_declare(exchange, *args, passive=passive, arguments=arguments, **kwargs)
        self.connection.on_declared("exchange", exchange)
        return self.connection.lease.declare_exchange(
            self, self.names.exchange(exchange), *args, auto_delete=auto_delete,
            arguments=self.names.arguments(arguments), **kwargs,
        )  # fmt: skip

    def queue_declare(
        self, queue: str = "", *args: Any, passive: bool = False, exclusive: bool = False, arguments: Any = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Make a queue, unless it is there."""
        told = self.connection.lease.of_queue(arguments or {})
        declared = super().queue_declare(
            queue, *args, passive=passive, exclusive=exclusive, arguments=told, **kwargs
        )  # fmt: skip
        if not (passive or exclusive):
            self.connection.on_declared("queue", queue)
        return declared

    # -- publishing

    def basic_publish_confirm(self, msg: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish, and wait until the server has it; who has not asked for that does not hear of a refusal."""
        if self.connection.clock_moves:
            msg.properties.pop("expiration", None)  # the worker looks at ``expires`` too
        try:
            return super().basic_publish_confirm(msg, *args, **kwargs)
        except MessageNacked:
            if self.connection.is_sure:
                raise
            return None

    # -- consuming

    def basic_consume(self, queue: str = "", consumer_tag: str = "", *args: Any, **kwargs: Any) -> Any:
        """Consume a queue."""
        self.consumed[consumer_tag] = queue
        return super().basic_consume(queue, consumer_tag, *args, **kwargs)

    def _on_basic_deliver(self, *delivered: Any) -> Any:
        self.handed_over += 1
        return super()._on_basic_deliver(*delivered)


class ToldConnection(NamedConnection):
    """A connection whose channels do so."""

    Channel = ToldChannel
    #: What the serials of its channels begin with.
    whose = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As kombu's transport makes it, with its options."""
        self.is_sure = bool(options.pop(SURE, False))
        self.clock_moves = bool(options.pop(CLOCK_MOVES, False))
        #: Called with ``queue`` or ``exchange``, and the name of what was declared.
        self.on_declared: Callable[[str, str], object] = lambda kind, name: None
        is_leased = bool(options.pop(LEASED, False))
        super().__init__(*args, **options)
        self.lease = Lease(self.names, is_shared=is_leased, clock_moves=self.clock_moves)

    def settle(self) -> bool:
        """Do so on all channels; whether messages have come."""
        channels: list[ToldChannel] = [channel for number, channel in list((self.channels or {}).items()) if number]
        before = sum(channel.handed_over for channel in channels)
        for channel in channels:
            channel.settle()
        return sum(channel.handed_over for channel in channels) > before
