"""Times to live and dead letters on a RabbitMQ whose clock is not the test's.

The server is told of no time to live: here is known when each message's is over.  Then it is put into its queue once
more with a time to live of nothing, while nothing else is there, so that the server itself lets it expire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from . import canary, dead_letters
from .arguments import QueueArguments
from .queued import Payload, QueuedMessage
from .rabbit_house import House
from .rabbit_message import Delivery, Stamp, deaths_of, headers_of, message_of, payload_of
from .rabbit_routes import Routes

__all__ = ["Timed"]


class Timed:
    """The part of a broker that knows when messages die, and tells what becomes of them."""

    name: str
    routes: Routes
    house: House
    arguments_of: Callable[[str], QueueArguments]
    _now: Callable[[], datetime]

    def __init__(self) -> None:
        """Nothing waits."""
        #: Called with a message that left its queue undelivered because its time had passed.
        self.on_expired: Callable[[QueuedMessage], object] = lambda message: None
        #: Called with a message that leaves a queue otherwise, why, its dead letter exchange, and where that leads to.
        self.on_gone: Callable[..., object] = lambda message, reason, **where: None
        #: The queues with dead letters in which messages expire.
        self.timed: set[str] = set()
        #: Since when each message is in a queue with a time to live.
        self._entered: dict[tuple[str, str], datetime] = {}
        #: Whether it was delivered before, of each message that we have looked at: the server says so of all of them.
        self._looked: dict[tuple[str, str], bool] = {}
        #: When each message died in a queue, by the virtual clock.
        self._died: dict[tuple[str, str, str], datetime] = {}
        #: When the heads of those queues expire, as far as they were looked at since something has changed.
        self._heads: dict[str, datetime | None] | None = None

    # -- reading

    def seen(self, message: Any, queue: str) -> Delivery:
        """A message that was taken only to look at it."""
        delivery = self.read(message, queue)
        if delivery.serial:
            self._looked.setdefault((queue, delivery.serial), bool(message.delivery_info["redelivered"]))
        return delivery

    def read(self, message: Any, queue: str) -> Delivery:
        """A message that has come, as if the server's clock were the test's, and nobody had looked at it.

        Raises:
            ForeignMessage: It belongs to another harness.
        """
        stamp, info = Stamp.read(message), message.delivery_info
        serial = stamp.serial if stamp else ""
        expires_at = self._expires_at(message, queue, stamp)
        if stamp is not None and stamp.expiration and deaths_of(message) == stamp.deaths:
            message.properties["expiration"] = stamp.expiration
        if serial:
            info["redelivered"] = self._looked.get((queue, serial), info["redelivered"])
            self._redate(message, stamp)
        payload = payload_of(
            message, info["exchange"], info["routing_key"], harness=stamp.harness if stamp else self.name
        )
        canary.check(payload, self.name, queue=queue)
        return Delivery(payload, queue, expires_at, serial=serial, stamp=stamp, number=message.delivery_tag)

    def _expires_at(self, message: Any, queue: str, stamp: Stamp | None) -> datetime | None:
        has_died = stamp is None or deaths_of(message) != stamp.deaths
        since = self._now() if stamp is None or has_died else stamp.published
        dues = []
        if stamp is not None and stamp.expiration and not has_died:
            dues.append(stamp.published + timedelta(milliseconds=float(stamp.expiration)))
        ttl = self.arguments_of(queue).ttl
        if ttl is not None:
            since = self._entered.setdefault((queue, stamp.serial), since) if stamp else since
            dues.append(since + timedelta(milliseconds=ttl))
        return min(dues, default=None)

    def _redate(self, message: Any, stamp: Stamp | None) -> None:
        """When it died, by the test's clock; and which expiration it had."""
        deaths = headers_of(message).get("x-death")
        if not deaths or stamp is None:
            return
        for death in deaths:
            at = self._died.get((stamp.serial, death["queue"], death["reason"]), self._now())
            death["time"] = at.replace(microsecond=0, tzinfo=None)
            if death.pop("original-expiration", None) is not None and stamp.expiration:
                death["original-expiration"] = stamp.expiration

    # -- when

    def watch(self, queue: str) -> None:
        """A queue was declared."""
        arguments = self.arguments_of(queue)
        if arguments.dead_letter_exchange is not None and arguments.ttl is not None:
            self.timed.add(queue)

    def expects_expiry(self, queues: Iterable[str]) -> None:
        """A message that may expire was put into these queues."""
        self.timed.update(queue for queue in queues if self.arguments_of(queue).dead_letter_exchange is not None)

    def changed(self) -> None:
        """Something has come into a queue, or has left one."""
        self._heads = None

    def expiry_due(self) -> datetime | None:
        """When a message next becomes a dead letter because its time is over, or None."""
        if not self.timed:
            return None
        if self._heads is None:
            self._heads = {queue: self._head_expires(queue) for queue in sorted(self.timed)}
        return min(filter(None, self._heads.values()), default=None)

    def _head_expires(self, queue: str) -> datetime | None:
        if queue not in self.routes.queues:
            return None
        with self.house.taken(queue) as taken:
            waiting = [self.seen(message, queue) for message in taken]
        return waiting[0].expires_at if waiting else None

    def is_late(self, delivery: Delivery) -> bool:
        """Whether the server would have let it expire."""
        return delivery.expires_at is not None and self._now() > delivery.expires_at

    # -- what becomes of them

    def expire_now(self) -> None:
        """Let those become dead letters whose time is over."""
        for queue in sorted(self.timed):
            if queue in self.routes.queues:
                self.expire_heads(queue)

    def expire_heads(self, queue: str) -> None:
        """Let the server take those out of a queue whose time is over; it looks at nothing behind one that stays."""
        now = self._now()
        with self.house.taken(queue) as taken:
            waiting = [(message, self.seen(message, queue)) for message in taken]
            for message, delivery in waiting:
                if delivery.expires_at is None or delivery.expires_at > now:
                    break
                self.house.discard(taken, message)
                self.expired(delivery)
                self._let_expire(delivery)

    def expired(self, delivery: Delivery) -> None:
        """Tell of a message whose time is over."""
        self.on_expired(delivery)
        self.bury(delivery, "expired")

    def _let_expire(self, delivery: Delivery) -> None:
        if self.arguments_of(delivery.queue).dead_letter_exchange is None:
            return
        again = message_of(delivery.payload)
        if delivery.stamp is not None:
            replace(delivery.stamp, deaths=deaths_of(again)).write(again)
        again.properties["expiration"] = "0"
        info = delivery.payload["properties"]["delivery_info"]
        self.house.put_back(delivery.queue, again, info["exchange"], info["routing_key"])

    def bury(self, message: Delivery, reason: str) -> None:
        """Tell where the server has put a message that nobody wants."""
        arguments = self.arguments_of(message.queue)
        self._died.setdefault((message.serial, message.queue, reason), self._now())
        self._entered.pop((message.queue, message.serial), None)
        self.changed()
        if arguments.dead_letter_exchange is None:
            if reason not in {dead_letters.REJECTED, "expired"}:
                self.on_gone(message, reason)
            return
        payload = dead_letters.buried(message.payload, message.queue, reason, at=self._now(), arguments=arguments)
        self.on_gone(
            message, reason, exchange=arguments.dead_letter_exchange, targets=self._graves(payload, reason)
        )  # fmt: skip

    def _graves(self, payload: Payload, reason: str) -> Sequence[str]:
        info = payload["properties"]["delivery_info"]
        return [
            target
            for target in self.routes.targets(info["exchange"], info["routing_key"])
            if reason == dead_letters.REJECTED or not dead_letters.goes_round(payload, target)
        ]

    def told_of_return(self, message: Delivery) -> None:
        """A delivery was requeued: a quorum queue counts, and has enough one day."""
        limit = self.arguments_of(message.queue).delivery_limit
        returns = int(message.headers.get("x-delivery-count") or 0) + 1
        if limit is not None and returns > limit:
            self.bury(message, "delivery_limit")

    # -- queues that are full

    def about_to_overflow(self, exchange: str, routing_key: str) -> list[Delivery]:
        """What would leave the queues that are full, if one more came."""
        leaving = []
        for queue in self.routes.targets(exchange, routing_key):
            arguments = self.arguments_of(queue)
            if arguments.max_length is not None and not arguments.overflow.startswith("reject-publish"):
                with self.house.taken(queue) as taken:
                    waiting = [self.seen(message, queue) for message in taken]
                leaving += waiting[: max(0, len(waiting) + 1 - arguments.max_length)]
        return leaving

    def overflowed(self, leaving: list[Delivery], *, accepted: bool) -> None:
        """One more has come."""
        for message in leaving if accepted else []:
            self.bury(message, "maxlen")
