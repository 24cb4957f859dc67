"""What lies on the server: how many messages in which queue, and what was delivered and not acknowledged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ...broker.redis_broker import UNACKED_INDEX_KEY, RedisBroker

__all__ = ["Census", "Post", "RedisPost", "count"]

#: Where kombu puts what no queue is bound for.
UNDELIVERABLE = "ae.undeliver"


@dataclass(frozen=True)
class Census:
    """One look at the server.

    Attributes:
        waiting: How many messages wait in each queue.
        unacked: When each delivery was made that is not acknowledged, in seconds, by tag.
        is_whole: Whether it tells all; else something may be on its way to a worker that was counted nowhere.
    """

    waiting: dict[str, int]
    unacked: dict[str, float]
    is_whole: bool = True

    @property
    def total(self) -> int:
        """How many messages wait in all."""
        return sum(self.waiting.values())

    @property
    def first_unacked(self) -> float | None:
        """When the oldest of them was made."""
        return min(self.unacked.values(), default=None)


def count(broker: RedisBroker, queues: Iterable[str]) -> Census:
    """Look at these queues, in one round trip."""
    names = list(dict.fromkeys(queues))
    keys = [broker.list_names(name) for name in names]
    index = broker.options.get("unacked_index_key", UNACKED_INDEX_KEY)
    with broker.client.pipeline() as pipe:
        for key in (key for lists in keys for key in lists):
            pipe.llen(broker.prefix + key)
        pipe.llen(broker.prefix + UNDELIVERABLE)
        pipe.zrange(broker.prefix + index, 0, -1, withscores=True)
        *lengths, undeliverable, unacked = pipe.execute()
    found = iter(lengths)
    waiting = {name: sum(next(found) for _ in lists) for name, lists in zip(names, keys, strict=True)}
    return Census({**waiting, UNDELIVERABLE: undeliverable}, {_text(tag): score for tag, score in unacked})


def _text(tag: Any) -> str:
    return tag.decode() if isinstance(tag, bytes) else str(tag)


class Post(Protocol):
    """What a world of real workers asks of the server that their messages are on."""

    def ping(self) -> None:
        """Ask for an answer."""

    def census(self, queues: Iterable[str]) -> Census:
        """Look at these queues."""

    def is_for_all(self, queue: str) -> bool:
        """Whether a queue of the app's is for whichever worker comes first, and not for one process alone."""

    def await_birth(self, worker: str) -> None:
        """A worker is about to be started."""

    def await_loss(self, worker: str) -> None:
        """A worker is gone: return when the server knows, and has what it held back."""


class RedisPost:
    """A Redis does nothing about workers that are gone: what they held is in a list, until somebody restores it."""

    def __init__(self, broker: RedisBroker) -> None:
        """On this one."""
        self._broker = broker

    def ping(self) -> None:
        """Ask for an answer."""
        self._broker.ping()

    def census(self, queues: Iterable[str]) -> Census:
        """Look at these queues, in one round trip."""
        return count(self._broker, queues)

    def is_for_all(self, queue: str) -> bool:
        """What is broadcast, each worker hears."""
        return True

    def await_birth(self, worker: str) -> None:
        """Nobody has to know."""

    def await_loss(self, worker: str) -> None:
        """Nobody will know."""
