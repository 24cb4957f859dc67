"""The part of a Redis that belongs to one harness: its keys, its queues, and what is not acknowledged yet.

The messages are where kombu puts them, on the server.  Only what would cost a question to the server at every step
is remembered here too: which deliveries are held, and since when.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import count, takewhile
from typing import Any
from weakref import WeakValueDictionary

from kombu.transport.virtual import BrokerState
from kombu.utils.json import dumps, loads
from redis.exceptions import RedisError

from ..clock.real import plain
from ..errors import ServerError
from . import canary
from .profiles import visibility_timeout_in
from .redis_access import RedisAccess
from .tampered import Tampered

__all__ = ["RedisBroker", "StoredMessage", "broker_named"]

#: kombu's defaults for the lists of a queue: one for each of these priorities, called by the queue's name and this.
PRIORITY_STEPS = (0, 3, 6, 9)
SEPARATOR = "\x06\x16"
#: Where kombu lists what was delivered and not acknowledged, unless the app's transport options say otherwise.
UNACKED_KEY = "unacked"
#: Where it remembers when each delivery was made.
UNACKED_INDEX_KEY = "unacked_index"

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
    #: The list that it is in, and how it stands there.
    key: str = ""
    text: bytes = b""

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        return dict(self.payload.get("headers") or {})


class RedisBroker(Tampered):
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
        super().__init__()
        self.access = access
        self.name = canary.new_name()
        _brokers[self.name] = self
        self.own_prefix = f"{key_prefix}{self.name}:" if key_prefix else ""
        self.prefix = f"{self.own_prefix}{options.get('global_keyprefix', '')}"
        self.options = {**options, "global_keyprefix": self.prefix}
        self.visibility_timeout = visibility_timeout_in(options)
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

    def ping(self) -> None:
        """Ask for an answer; a server that is dead has none."""
        self.client.ping()

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
        lines = (self._in_line(self.client, queue, self.prefix + key) for key in self.list_names(queue))
        return [message for line in lines for message in line]

    @staticmethod
    def _in_line(client: Any, queue: str, key: str) -> list[StoredMessage]:
        return [StoredMessage(loads(text), queue, key, text) for text in reversed(client.lrange(key, 0, -1))]

    def list_names(self, queue: str) -> tuple[str, ...]:
        """The Redis lists of a queue, one for each priority, first come first.

        Those of a queue that only worker processes know are called as kombu calls them.
        """
        separator = self.options.get("sep", SEPARATOR)
        named = (f"{queue}{separator}{step}" if step else queue for step in self._steps)
        return self.lists.get(queue) or tuple(named)

    @property
    def _steps(self) -> list[int]:
        return list(self.options.get("priority_steps", PRIORITY_STEPS))

    @property
    def unacked(self) -> dict[str, StoredMessage]:
        """Delivered and not yet acknowledged, by delivery tag, in order of delivery."""
        with self.client.pipeline() as pipe:
            pipe.zrange(self.prefix + self.options.get("unacked_index_key", UNACKED_INDEX_KEY), 0, -1)
            pipe.hgetall(self.prefix + self.options.get("unacked_key", UNACKED_KEY))
            tags, stored = pipe.execute()
        in_order = dict.fromkeys([*map(str.encode, self.held), *tags, *stored])
        read = ((tag.decode(), *loads(stored[tag])) for tag in in_order if tag in stored)
        return {tag: StoredMessage(payload, routing_key) for tag, payload, _, routing_key in read}

    # -- what a test does to it

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more: at the end, as a producer does, or at the head, as a broker redelivers."""
        properties = {**payload["properties"], "delivery_tag": self.next_tag()}
        added = {**payload, "properties": properties}
        if redelivered:  # as kombu writes it
            properties["delivery_info"] = {**properties.get("delivery_info", {}), "redelivered": True}
            added["headers"] = {**(payload.get("headers") or {}), "redelivered": True}
        push = self.client.rpush if redelivered else self.client.lpush
        push(self.prefix + self._list_for(queue, properties.get("priority")), dumps(added))
        self.written.add(queue)

    def _list_for(self, queue: str, priority: int | None) -> str:
        """A priority between two steps goes to the lower one."""
        number = bisect(self._steps, max(0, min(9, int(priority or 0)))) - 1
        return self.list_names(queue)[number]

    def take_out(self, message: StoredMessage) -> bool:
        """Lose a message that waits; whether it was still there."""
        return bool(self.client.lrem(message.key, -1, message.text))

    def arrange(self, queue: str, order: Callable[[list[Any]], list[Any]]) -> None:
        """Put what waits into another order; a priority stays before another one."""
        for name in self.list_names(queue):
            key = self.prefix + name
            self.client.transaction(partial(self._rewrite, queue, key, order), key)

    def _rewrite(self, queue: str, key: str, order: Callable[[list[Any]], list[Any]], pipe: Any) -> None:
        arranged = order(self._in_line(pipe, queue, key))
        pipe.multi()
        pipe.delete(key)
        if arranged:
            pipe.rpush(key, *(message.text for message in reversed(arranged)))

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
