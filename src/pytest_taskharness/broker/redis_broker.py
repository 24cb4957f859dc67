"""The part of a Redis that belongs to one harness: its keys, its queues, and what is not acknowledged yet.

The messages are where kombu puts them, on the server.  Only what would cost a question to the server at every step
is remembered here too: which deliveries are held, and since when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count, takewhile
from typing import Any
from weakref import WeakValueDictionary

from kombu.transport.virtual import BrokerState
from kombu.utils.json import loads
from redis.exceptions import RedisError

from ..clock.real import plain
from ..errors import ConfigurationError, ServerError
from . import canary
from .redis_access import RedisAccess

__all__ = ["RedisBroker", "StoredMessage", "broker_named"]

#: kombu's own default: one hour.
VISIBILITY_TIMEOUT = 3600.0
#: Where kombu lists what was delivered and not acknowledged, unless the app's transport options say otherwise.
UNACKED_KEY = "unacked"

#: How many keys are looked at in one go: a small database is cleaned in one round trip, a large one is not blocked.
SCANNED = 20_000
_CLEAN = """
local cursor = ARGV[2]
local seen = 0
repeat
    local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
    cursor = found[1]
    seen = seen + 1000
    for _, key in ipairs(found[2]) do
        redis.call('UNLINK', key)
    end
until cursor == '0' or seen >= tonumber(ARGV[3])
return cursor
"""

_brokers: WeakValueDictionary[str, RedisBroker] = WeakValueDictionary()


def broker_named(name: str) -> RedisBroker | None:
    """The broker of an open harness; connections know it by its name."""
    return _brokers.get(name)


@dataclass(frozen=True)
class Held:
    """A delivery that is not acknowledged, and since when, in seconds."""

    score: float
    task: str | None
    id: str | None


@dataclass(frozen=True)
class StoredMessage:
    """A message as it lies on the server."""

    payload: Mapping[str, Any]
    queue: str

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        return dict(self.payload.get("headers") or {})


class RedisBroker:
    """What one harness keeps on a Redis.

    Attributes:
        name: What its messages are stamped with.
        own_prefix: What all its keys begin with; empty where the server is its own.
        prefix: The same, and what the app's own ``global_keyprefix`` adds.
        options: kombu's transport options.
    """

    def __init__(
        self, access: RedisAccess, now: Callable[[], datetime], *, options: Mapping[str, Any], key_prefix: str = ""
    ) -> None:
        """Use a server by kombu's rules.

        Args:
            access: The server.
            now: The clock.
            options: The app's ``broker_transport_options``.
            key_prefix: What the keys of all harnesses begin with, where others use this server too.

        Raises:
            ConfigurationError: The visibility timeout is no number of seconds.
        """
        self.access = access
        self.name = canary.new_name()
        _brokers[self.name] = self
        self.own_prefix = f"{key_prefix}{self.name}:" if key_prefix else ""
        self.prefix = f"{self.own_prefix}{options.get('global_keyprefix', '')}"
        self.options = {**options, "global_keyprefix": self.prefix}
        self.visibility_timeout = _seconds(options.get("visibility_timeout", VISIBILITY_TIMEOUT))
        self._now = now
        #: Its harness has ended; whoever still holds it must not believe that somebody will deliver.
        self.closed = False
        #: All that we have there is about to be deleted: whoever stops now need not tidy up.
        self.ending = False
        #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
        self.wait_for_event: Callable[[float | None], bool] = lambda timeout: False
        #: Each delivery that is not acknowledged yet, by its tag, oldest first: what kombu keeps in ``unacked_index``.
        self.held: dict[str, Held] = {}
        self._due: tuple[float, datetime | None] = (0.0, None)
        #: The names of all queues that were declared or written to, in that order, and their Redis lists.
        self.lists: dict[str, tuple[str, ...]] = {}
        #: Those of them that have been written to.
        self.written: set[str] = set()
        #: Exchanges and bindings: kombu keeps them in one table for the whole process, and so the fanout queues.
        self.state = BrokerState()
        self.fanout_queues: dict[str, tuple[str, str]] = {}
        self._tags = count(1)
        #: Bindings that are not on the server yet: it is told when somebody is about to read them there.
        self.bindings: dict[Any, Callable[[], object]] = {}
        #: The channels that consume a fanout queue, and how many messages were published to such queues.
        self.listeners: list[Any] = []
        self.fanned_out = 0

    @property
    def client(self) -> Any:
        """A plain client: it adds no prefix."""
        return self.access.client

    @cached_property
    def prefixing_client(self) -> Any:
        """The client of kombu's channels."""
        return self.access.prefixing(self.prefix)

    def next_tag(self) -> str:
        """A delivery tag; later ones are greater, also as texts."""
        return f"{self.name}-{next(self._tags):012}"

    # -- looking

    @property
    def queues(self) -> list[str]:
        """All queues, in the order in which they were declared."""
        return list(self.lists)

    def peek(self, queue: str) -> list[StoredMessage]:
        """What waits in a queue, in the order in which it would be delivered."""
        stored = (reversed(self.client.lrange(self.prefix + key, 0, -1)) for key in self.lists.get(queue, ()))
        return [StoredMessage(loads(text), queue) for line in stored for text in line]

    @property
    def unacked(self) -> dict[str, StoredMessage]:
        """Delivered and not yet acknowledged, by delivery tag."""
        stored = self.client.hgetall(self.prefix + self.options.get("unacked_key", UNACKED_KEY))
        read = ((tag.decode(), *loads(text)) for tag, text in stored.items())
        return {tag: StoredMessage(payload, routing_key) for tag, payload, _, routing_key in read}

    # -- the visibility timeout

    def restore_due(self) -> datetime | None:
        """The first instant at which kombu takes the oldest unacknowledged delivery for lost, or None."""
        first = next(iter(self.held.values()), None)
        if first is None:
            return None
        if self._due[0] != first.score:
            self._due = (first.score, self.lost_at(first.score))
        return self._due[1]

    def lost_at(self, score: float) -> datetime | None:
        """Floats of seconds are what kombu compares, so it is the first microsecond at which that comparison holds."""
        now = self._now()
        try:
            due = now + timedelta(seconds=score - now.timestamp() + self.visibility_timeout)
        except OverflowError:  # after the end of time
            return None
        while due.timestamp() - self.visibility_timeout < score:
            due += timedelta(microseconds=1)
        return plain(due)

    def hold(self, tag: str, headers: Mapping[str, Any]) -> None:
        """A delivery was made, now; kombu gives a message the same tag each time."""
        self.held.pop(tag, None)
        self.held[tag] = Held(self._now().timestamp(), headers.get("task"), headers.get("id"))

    def overdue(self) -> dict[str, Held]:
        """The deliveries whose visibility timeout has passed, by tag."""
        limit = self._now().timestamp() - self.visibility_timeout
        return dict(takewhile(lambda item: item[1].score <= limit, self.held.items()))

    def forget(self, tags: Iterable[str]) -> None:
        """These deliveries are no longer held."""
        for tag in tags:
            self.held.pop(tag, None)

    def lose(self, connection: Any) -> None:
        """A worker dies: what it held stays in ``unacked`` until somebody restores it."""
        for channel in connection.transport.channels:
            channel.abandon()
        connection.close()

    # -- the end

    def flush_bindings(self) -> None:
        """Write the bindings that the server has not been told of."""
        bindings, self.bindings = self.bindings, {}
        for write in bindings.values():
            write()

    def clean(self) -> None:
        """Delete every key of ours; nothing else on the server is touched."""
        cursor: Any = "0" if self.own_prefix else b"0"
        while cursor != b"0":
            cursor = self.client.eval(_CLEAN, 0, f"{escaped(self.own_prefix)}*", cursor, SCANNED)

    def close(self) -> None:
        """Clean up; a server that has died meanwhile has nothing left to clean."""
        self.closed = True
        self.listeners.clear()
        self.bindings.clear()
        with suppress(RedisError, ServerError):
            self.clean()


def escaped(prefix: str) -> str:
    """For ``MATCH``, which takes a glob."""
    return "".join(f"\\{character}" if character in r"\*?[]^-" else character for character in prefix)


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0:
        return float(timeout)
    raise ConfigurationError(
        f"broker_transport_options['visibility_timeout'] is a number of seconds above 0; the app has {timeout!r}"
    )
