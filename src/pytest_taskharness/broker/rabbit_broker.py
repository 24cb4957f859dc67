"""The part of a RabbitMQ that belongs to one harness: its queues, its exchanges, and what is not acknowledged yet.

The messages are on the server.  Only what AMQP cannot be asked is remembered here: what this process has declared, who
consumes, who holds what since when, and what was only looked at.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from amqp.exceptions import AMQPError

from ..errors import ServerError
from . import canary
from .holding import Holding
from .profiles import Profile
from .queued import Payload
from .rabbit_access import RabbitAccess
from .rabbit_house import House
from .rabbit_later import Later
from .rabbit_lease import Lease
from .rabbit_message import Delivery, Stamp, deaths_of, payload_of
from .rabbit_names import Names
from .rabbit_opened import Opened
from .rabbit_routes import Routes
from .tampered import Tampered

__all__ = ["RabbitBroker", "broker_named"]

#: Since this version a quorum queue has a delivery limit though nobody asks for one.
LIMITS_DELIVERIES = (4, 0)

_brokers: WeakValueDictionary[str, RabbitBroker] = WeakValueDictionary()


def broker_named(name: str) -> RabbitBroker | None:
    """The broker of an open harness; connections know it by its name."""
    return _brokers.get(name)


class RabbitBroker(Opened, Holding, Tampered):
    """What one harness keeps on a RabbitMQ.

    Attributes:
        name: What its messages are stamped with, and what all names on the server begin with.
        options: kombu's transport options.
        confirms: Whether the app asks for publisher confirms, and so hears of what was refused.
    """

    def __init__(
        self, access: RabbitAccess, now: Callable[[], datetime], *, profile: Profile, options: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Use a server.

        Args:
            access: The server.
            now: The clock.
            profile: For how long a consumer may hold a delivery.
            options: The app's ``broker_transport_options``.
        """
        Tampered.__init__(self)
        Holding.__init__(self, now, profile)
        self.access = access
        self.name = canary.new_name()
        _brokers[self.name] = self
        self.names = Names(self.name)
        self.options = dict(options)
        self.confirms = bool(options.get("confirm_publish"))
        self.routes = Routes()
        self.lease = Lease(self.names, is_shared=access.is_shared)
        self.house = House(access, self)
        self.later = Later(lambda: self.house.channel)
        Opened.__init__(self)
        #: Its harness has ended; whoever still holds it must not believe that somebody will deliver.
        self.closed = False
        #: Its harness is about to end.
        self.ending = False
        #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
        self.wait_for_event: Callable[[float | None], bool] = lambda timeout: False
        #: How many consume each queue, and the queues that are deleted with the last of them.
        self.consumers: Counter[str] = Counter()
        self._deleted_unused: set[str] = set()
        #: Mailboxes of remote control in which nothing is, for sure.
        self._quiet: set[str] = set()
        self._serials = count(1)
        self._exempt = False

    @property
    def queues(self) -> list[str]:
        """All queues, in the order in which they were declared."""
        return list(self.routes.queues)

    @property
    def visibility_timeout(self) -> None:
        """RabbitMQ has none."""
        return None

    def arguments_of(self, queue: str) -> Any:
        """What a queue was declared with."""
        return self.routes.arguments_of(queue)

    # -- whether it can be reached

    def check_reachable(self) -> None:
        """Raise where nobody can reach it."""
        if self._exempt:
            return
        if self.closed:
            raise _refused("this RabbitMQ broker belonged to a harness that is closed. A connection or producer was "
                           "kept from one test to the next.")  # fmt: skip
        if self.is_out:
            self.refuse(_refused("Connection refused"))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """While entered, it can be, whatever a test has done: somebody tidies up."""
        before, self._exempt = self._exempt, True
        try:
            yield
        finally:
            self._exempt = before

    # -- what is declared

    def told(self, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
        """What the server is told of a queue's arguments: what has to do with seconds, the virtual clock decides."""
        return self.lease.of_queue(arguments or {})

    def declared(self, queue: str, arguments: Mapping[str, Any] | None, *, auto_delete: bool) -> None:
        """A queue is there."""
        self.routes.declare_queue(queue, arguments)
        if "x-delivery-limit" not in (arguments or {}) and self.access.version < LIMITS_DELIVERIES:
            self.routes.queues[queue] = replace(self.arguments_of(queue), delivery_limit=None)
        if auto_delete:
            self._deleted_unused.add(queue)
        self.watch(queue)
        if self.arguments_of(queue).dead_letter_exchange is not None:
            self.later.end()

    def own_copy(self, channel: Any, queue: str) -> str:
        """A queue of a consumer's own for one that is broadcast to: several workers here have one name for it."""
        if not self.consumers[queue]:
            return queue
        own = f"{queue}/{next(self._serials)}"
        channel.queue_declare(own, durable=False, auto_delete=True)
        for exchange, key, arguments in self.routes.bound_to(queue):
            channel.queue_bind(own, exchange, key, arguments=dict(arguments))
        return own

    def left(self, channel: Any, queue: str) -> None:
        """A consumer has gone."""
        self.consumers[queue] -= 1
        unused = not self.consumers[queue] and queue in self._deleted_unused and queue in self.routes.queues
        if unused and not self.ending:
            channel.queue_delete(queue)

    def delete_queues(self, queues: list[str]) -> None:
        """The connection is gone that they were for."""
        known = [queue for queue in queues if self.later.forget("queue", queue)]
        for queue in queues:
            self.routes.delete_queue(queue)
        self.house.delete(known)

    # -- publishing

    def sign(self, message: Any, exchange: str, routing_key: str) -> Payload:
        """Write on a message whose it is, before it is published; as it will be read."""
        payload = payload_of(message, exchange, routing_key, harness=self.name)
        before = Stamp.read(message)  # it is tried once more
        expiration = before.expiration if before else str(message.properties.get("expiration") or "")
        Stamp(self.name, self.next_serial(), self._now(), expiration, deaths_of(message)).write(message)
        return payload

    def next_serial(self) -> str:
        """Which message it is."""
        return f"{os.getpid()}-{next(self._serials)}"

    def published(self, payload: Payload, exchange: str, routing_key: str) -> None:
        """The server has put a message where it belongs."""
        targets = self.routes.targets(exchange, routing_key)
        self._quiet.difference_update(targets)
        if not self.routes.is_fanout(exchange):
            for queue in targets:
                self.remember(queue, payload)
        if "expiration" in payload["properties"]:
            self.expects_expiry(targets)
        self.changed()

    def landed(self, queue: str, payload: Payload) -> None:
        """A forked child has put a message there."""
        self._quiet.discard(queue)
        self.remember(queue, payload)
        self.changed()

    def refused(self, payload: Payload, exchange: str, routing_key: str) -> None:
        """The server has refused it, because a queue is full; others have it."""
        for queue in self.routes.targets(exchange, routing_key):
            overflow = self.arguments_of(queue).overflow
            if overflow == "reject-publish":
                self.drop(payload, f"queue {queue!r} is full, and refuses it (x-overflow)")
            elif not overflow.startswith("reject-publish"):
                self.remember(queue, payload)

    def drop(self, payload: Payload, why: str) -> None:
        """A message that no queue takes."""
        found = (payload.get("headers") or {}).get("id") or payload["properties"].get("correlation_id")
        if found is not None:
            self.dropped[str(found)] = why

    # -- fetching

    def may_have(self, queue: str) -> bool:
        """Whether anything could come out of a queue."""
        if self.later.is_waiting("queue", queue):
            return False
        return queue in self.routes.queues and queue not in self.on_hold and queue not in self._quiet

    def found_empty(self, queue: str) -> None:
        """Nothing has."""
        if queue.endswith(".pidbox"):  # each step asks, and nobody but this process writes there
            self._quiet.add(queue)

    def taken(self, tag: str, message: Delivery) -> None:
        """A delivery was made, now."""
        self.hold(tag, message)
        self._looked.pop((message.queue, message.serial), None)
        self.changed()

    def given_back(self, message: Delivery) -> None:
        """A delivery is in its queue again."""
        self.unacked.pop(f"{id(message.channel)}.{message.number}", None)
        self.told_of_return(message)
        self.changed()

    # -- what becomes of messages by themselves

    def restore_due(self) -> datetime | None:
        """The next instant at which a delivery has been held for too long, or None."""
        return self.held_too_long_at() if self.unacked else None

    def restore_now(self) -> None:
        """Close the channels of those who have held something for too long; the server takes it back."""
        self.close_channels(self.overdue())

    def take_for_lost(self, delivery_tag: str) -> None:
        """The server takes a delivery for lost; whoever holds it goes on holding it."""
        message = self.unacked.pop(delivery_tag, None)
        if message is not None:
            assert isinstance(message, Delivery)
            message.channel.take_back(message.number)

    def redeliver_at_once(self) -> None:
        """Take a delivery for lost as soon as its connection is, and never before."""
        self.profile = replace(self.profile, consumer_timeout=None)

    def lose(self, connection: Any) -> None:
        """A client's connection is lost: the server has requeued what it held when this returns."""
        connection.close()

    # -- the end

    def close(self) -> None:
        """Delete what is ours; a server that has died meanwhile has nothing left to delete."""
        self.ending = True
        try:
            with self.reached():
                self.house.delete(
                    self._known("queue", self.routes.queues), self._known("exchange", self.routes.exchanges)
                )
                self.house.close()
                self.access.take_back(self)
        except (AMQPError, OSError, ServerError):
            self.access.lose_all(self)
        self.closed = True

    def _known(self, kind: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if name and not self.later.is_waiting(kind, name)]


def _refused(text: str) -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, text)
