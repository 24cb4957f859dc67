"""A RabbitMQ's queues, opened: what waits there, and what a test does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from .profiles import Profile
from .rabbit_later import Later
from .rabbit_message import Delivery, Stamp, deaths_of, message_of
from .rabbit_timed import Timed

__all__ = ["Opened"]


class Opened(Timed):
    """The part of a broker that looks into queues, and changes what is there."""

    name: str
    later: Later
    profile: Profile
    next_serial: Callable[[], str]
    _now: Callable[[], datetime]

    def peek(self, queue: str) -> list[Any]:
        """What waits in a queue, in the order in which it would be delivered."""
        if queue not in self.routes.queues or self.later.is_waiting("queue", queue):
            return []
        if queue in self.timed:
            self.expire_heads(queue)
        with self.house.taken(queue) as taken:
            return [self.seen(message, queue) for message in taken]

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more: at the end, as a producer does, or at the head, as a broker redelivers."""
        message, serial = message_of(payload), self.next_serial()
        expiration = str(payload["properties"].get("expiration") or "")
        Stamp(self.name, serial, self._now(), expiration, deaths_of(message)).write(message)
        info = payload["properties"]["delivery_info"]
        with self.house.taken(queue) if redelivered else _nothing() as others:
            put = [self.seen(each, queue) for each in others]
            for each in list(others):
                self.house.discard(others, each)
            if redelivered:
                self._looked[queue, serial] = True
            self.house.put_back(queue, message, info["exchange"], info["routing_key"])
            for each in put:
                self._put_again(each)
        self.changed()

    def take_out(self, message: Delivery) -> bool:
        """Lose a message that waits; whether it was still there."""
        with self.house.taken(message.queue) as taken:
            found = next((each for each in taken if self.seen(each, message.queue).serial == message.serial), None)
            if found is not None:
                self.house.discard(taken, found)
        self.changed()
        return found is not None

    def arrange(self, queue: str, order: Callable[[list[Any]], list[Any]]) -> None:
        """Put what waits into another order; a priority stays before another one."""
        with self.house.taken(queue) as taken:
            waiting = [self.seen(message, queue) for message in taken]
            for message in list(taken):
                self.house.discard(taken, message)
            ranks = sorted({self._rank(message) for message in waiting})
            for rank in ranks:
                for message in order([each for each in waiting if self._rank(each) == rank]):
                    self._put_again(message)
        self.changed()

    def _rank(self, message: Delivery) -> int:
        priority = message.payload["properties"].get("priority") or 0
        return self.profile.rank(int(priority), self.arguments_of(message.queue).max_priority)

    def _put_again(self, message: Delivery) -> None:
        again = message_of(message.payload)
        stamp = message.stamp or Stamp(self.name, self.next_serial(), self._now())
        stamp.counting(again).write(again)
        info = message.payload["properties"]["delivery_info"]
        self.house.put_back(message.queue, again, info["exchange"], info["routing_key"])


@contextmanager
def _nothing() -> Iterator[list[Any]]:
    yield []
