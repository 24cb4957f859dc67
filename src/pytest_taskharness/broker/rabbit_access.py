"""The connections to one RabbitMQ, which the harnesses of this process use one after the other.

To connect costs more than a whole test, and so does a channel.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from amqp.exceptions import AMQPError, RecoverableConnectionError
from kombu.transport import pyamqp
from kombu.utils.url import parse_url

from ..errors import ServerError
from .rabbit_names import Names
from .rabbit_stepped import Channel

__all__ = ["Connection", "RabbitAccess"]

#: How long a server may take for one answer, in real seconds.
PATIENCE = 30.0
_BROKEN = (OSError, RecoverableConnectionError)


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """py-amqp's connection, in the use of one broker at a time.

    Attributes:
        broker: Whose it is now.
        names: What it calls queues and exchanges.
        exclusive: The queues that are to be deleted with it.
        spare: The numbers of channels that are open on the server, and that nobody uses.
    """

    Channel = Channel

    def __init__(self, access: RabbitAccess, **options: Any) -> None:
        """Not connected yet."""
        super().__init__(**options)
        self._access = access
        self.spare: list[int] = []
        self.pid = 0
        self._is_broken = False
        self.lend(None)

    def lend(self, broker: Any) -> None:
        """It is this broker's from now on, or nobody's."""
        self.broker = broker
        self.names: Names | None = None if broker is None else broker.names
        self.exclusive: list[str] = []
        self.client: Any = None

    def channel(self, channel_id: int | None = None, callback: Any = None) -> Any:
        """A channel, open, and with publisher confirms."""
        if channel_id in (self.channels or {}):
            return self.channels[channel_id]
        return self.channel_of(self.Channel, callback)

    def channel_of(self, cls: type[Any], callback: Any = None) -> Any:
        """A channel of some class; one that is open already, where it can be."""
        if self.channels is None:
            raise RecoverableConnectionError("Connection already closed.")
        channel = cls(self, self.spare[-1] if self.spare else None, on_open=callback)
        if self.spare:
            self.spare.pop()
            channel.is_open = True
            channel.on_open(channel)
        else:
            channel.open()
            channel.confirm_select()
        return channel

    @property
    def connected(self) -> bool:
        """Whether anybody can use it."""
        return bool(super().connected) and not self._is_broken

    def put_aside(self, channel: Any) -> None:
        """Nobody uses a channel any more, and nothing is held by it: the next one may have its number."""
        number, is_open = channel.channel_id, channel.is_open
        channel.collect()
        if is_open and self.connected:
            self.spare.append(number)

    def own_channels(self) -> list[Any]:
        """Those that somebody uses."""
        return [channel for number, channel in list((self.channels or {}).items()) if number]

    def deliver_one(self) -> bool:
        """Hand over one message to a consumer of any of its channels; whether there was one."""
        return any(channel.receive_broadcasts() for channel in self.own_channels())

    def release(self) -> None:
        """Nobody uses it any more: what was held goes back to its queues, and somebody else may have it."""
        exclusive, broker = self.exclusive, self.broker
        try:
            for channel in self.own_channels():
                channel.close()
        except (AMQPError, OSError, ServerError):
            self._access.lose(self)
            raise
        self._access.give(self)
        if exclusive and not broker.closed:
            broker.delete_queues(exclusive)

    def drain_events(self, timeout: float | None = None) -> Any:
        """Read from the socket, for an answer that is on its way."""
        try:
            return super().drain_events(timeout)
        except _BROKEN as error:
            self.explained(error)

    def explained(self, error: Exception) -> NoReturn:
        """Raise the error, or say what became of the server: that is no connection error, which kombu would retry.

        Raises:
            ServerError: It is dead, or does not answer.
        """
        self._is_broken = True  # an answer may come yet, to another question
        if isinstance(error, ServerError):
            raise error
        explanation = self._access.explain()
        if explanation is None and isinstance(error, TimeoutError):
            explanation = f"expected an answer of the RabbitMQ of this test run within {PATIENCE:g} s: {error}"
        if explanation is None:
            raise error
        raise ServerError(explanation) from None  # the text says it all


def version_of(properties: Mapping[str, Any]) -> tuple[int, ...]:
    """What a server says of itself; of one that is no RabbitMQ, nothing."""
    found = str(properties.get("version", "")) if properties.get("product") == "RabbitMQ" else ""
    return tuple(int(number) for number in re.findall(r"\d+", found)[:2])


class RabbitAccess:
    """One server, and the connections to it that nobody uses now.

    Attributes:
        url: Where it is, as Celery takes it.
        explain: What became of the server, None where it lives.
        is_shared: Whether it is not ours alone.
    """

    def __init__(self, url: str, explain: Callable[[], str | None], *, is_shared: bool) -> None:
        """Connect to nothing yet."""
        self.url = url
        self.explain = explain
        self.is_shared = is_shared
        self._idle: list[Connection] = []
        self._lent: list[Connection] = []
        self._is_dead = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def take(self, broker: Any) -> Connection:
        """A connection for a broker."""
        connection = self._idle_one() or self._connected()
        connection.lend(broker)
        self._lent.append(connection)
        return connection

    def _idle_one(self) -> Connection | None:
        with self._lock:
            if self._pid != os.getpid():  # a forked child: they are its parent's
                self._idle, self._lent, self._pid = [], [], os.getpid()
            while self._idle:
                connection = self._idle.pop()
                if connection.connected:
                    return connection
                _drop(connection)
        return None

    def _connected(self) -> Connection:
        connection = Connection(self, **self._options())
        try:
            connection.connect()
        except (*_BROKEN, ServerError) as error:
            _drop(connection)
            connection.explained(error)
        connection.sock.settimeout(PATIENCE)
        connection.pid = os.getpid()
        return connection

    def is_ours(self, connection: Connection) -> bool:
        """Whether it is no parent's."""
        return connection.pid == os.getpid()

    def _options(self) -> dict[str, Any]:
        parts = parse_url(self.url)
        port = parts["port"] or (5671 if parts["transport"] == "amqps" else 5672)
        return {
            "host": f"{parts['hostname'] or '127.0.0.1'}:{port}",
            "userid": parts["userid"] or "guest",
            "password": parts["password"] or "guest",
            "virtual_host": parts["virtual_host"] or "/",
            "ssl": parts.get("ssl") or parts["transport"] == "amqps",
            "heartbeat": 0,  # nobody answers while a test stands in a debugger
            "connect_timeout": PATIENCE,
        }

    @property
    def version(self) -> tuple[int, ...]:
        """Which RabbitMQ it is: ``(3, 10)``."""
        return version_of(self._lent[-1].server_properties)

    def give(self, connection: Connection) -> None:
        """Nobody uses it any more."""
        if self._is_dead or not connection.connected:
            self.lose(connection)
            return
        self._no_longer_lent(connection)
        if self.is_ours(connection):
            with self._lock:
                self._idle.append(connection)

    def lose(self, connection: Connection) -> None:
        """Nobody can use it any more."""
        self._no_longer_lent(connection)
        if self.is_ours(connection):
            _drop(connection)

    def _no_longer_lent(self, connection: Connection) -> None:
        connection.lend(None)
        if connection in self._lent:
            self._lent.remove(connection)

    def take_back(self, broker: Any) -> None:
        """Those that somebody has forgotten to close."""
        for connection in self._lent_to(broker):
            connection.release()

    def lose_all(self, broker: Any) -> None:
        """The server does not answer: close what somebody has of it."""
        for connection in self._lent_to(broker):
            self.lose(connection)

    def _lent_to(self, broker: Any) -> list[Connection]:
        return [each for each in self._lent if each.broker is broker and self.is_ours(each)]

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            with suppress(AMQPError, OSError, ServerError):
                self._idle.pop().close()

    def drop(self) -> None:
        """The server is dead; what is given back from now on is of no use."""
        self._is_dead = True
        while self._idle:
            _drop(self._idle.pop())


def _drop(connection: Connection) -> None:
    """Close its socket, without a word to the server."""
    with suppress(OSError):
        connection.collect()
