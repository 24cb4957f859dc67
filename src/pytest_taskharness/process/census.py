"""What lies on the server: how many messages in which queue, and what was delivered and not acknowledged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..broker.redis_broker import UNACKED_INDEX_KEY, RedisBroker

__all__ = ["Census", "count"]

#: Where kombu puts what no queue is bound for.
UNDELIVERABLE = "ae.undeliver"


@dataclass(frozen=True)
class Census:
    """One look at the server.

    Attributes:
        waiting: How many messages wait in each queue.
        unacked: When each delivery was made that is not acknowledged, in seconds, by tag.
    """

    waiting: dict[str, int]
    unacked: dict[str, float]

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
