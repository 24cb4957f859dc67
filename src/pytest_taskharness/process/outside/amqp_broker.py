"""The part of a RabbitMQ that belongs to one harness with real workers, as the test process uses it.

AMQP tells how many messages wait in a queue, and no more.  What they are, and who holds which, is in the journals.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from amqp.exceptions import AMQPError, NotFound, RecoverableConnectionError
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES

from ...broker import canary
from ...broker.broadcast import BROADCAST
from ...broker.rabbit_channel import NAME
from ...broker.rabbit_message import message_of
from ...broker.rabbit_names import Names
from ...broker.tampered import Tampered
from ...clock.real import Real
from ...errors import ServerError, WorkerDied, hide_frames
from ...servers.rabbitmq import RabbitServer
from ...worker.supplies.supply import broker_at
from ..between.amqp_channel import CLOCK_MOVES, LEASED, SURE
from ..between.words import LIFE
from .census import Census

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["BROKER", "PATIENCE", "AmqpBroker", "broker_named"]

__tracebackhide__ = hide_frames

#: kombu finds the transport by this name, and the transport its broker by the option.
SCHEME, BROKER = "taskharness-rabbitmq-process", "taskharness_broker"
#: How long a server may take for one answer, and until it has noticed that a worker is gone, in real seconds.
PATIENCE = 30.0

_brokers: WeakValueDictionary[str, AmqpBroker] = WeakValueDictionary()


def broker_named(name: str) -> AmqpBroker:
    """The broker of an open harness; connections know it by its name.

    Raises:
        ConnectionRefusedError: Its harness is closed.
    """
    broker = _brokers.get(name)
    if broker is None:
        raise _closed()
    broker.check_open()
    return broker


@dataclass(frozen=True)
class Letter:
    """A message that waits, or that a worker holds, as far as it is known."""

    payload: Mapping[str, Any]
    queue: str

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        return dict(self.payload.get("headers") or {})


class AmqpBroker(Tampered):
    """What one harness keeps on a RabbitMQ.

    Attributes:
        server: Where.
        options: kombu's transport options.
        world: Whose workers hold messages.
    """

    world: ProcessWorld
    visibility_timeout = None

    def __init__(self, server: RabbitServer, *, options: Mapping[str, Any], clock_moves: bool) -> None:
        """Use a server; ``options`` are the app's ``broker_transport_options``."""
        super().__init__()
        self.server = server
        self.name = canary.new_name()
        _brokers[self.name] = self
        self.names = Names(self.name)
        ours = {SURE: bool(options.get("confirm_publish")), CLOCK_MOVES: clock_moves, LEASED: not server.owned}
        self.options = {**options, **ours, NAME: self.name, "confirm_publish": True}
        self.closed = self.ending = False
        #: Called by somebody who blocks for an event, with his timeout; False where it has passed.
        self.wait_for_event: Callable[[float | None], bool] = lambda timeout: False
        #: What there is to be looked at, and to be deleted.
        self.declared: dict[str, dict[str, None]] = {"queue": {}, "exchange": {}}
        self._connection: Any = None
        self._channel: Any = None
        self._lock = threading.RLock()

    def of(self, world: ProcessWorld) -> AmqpBroker:
        """It is this world's."""
        self.world = world
        return self

    def settings(self) -> dict[str, Any]:
        """What leads an app here.  Nobody would answer heartbeats while a test stands in a debugger."""
        url = self.server.url
        return {
            **broker_at(url),
            "broker_transport_options": self.options,
            "broker_heartbeat": 0,
        }

    def check_open(self) -> None:
        """Nobody would deliver what is published later.

        Raises:
            ConnectionRefusedError: The harness is closed.
        """
        if self.closed:
            raise _closed()

    @property
    def queues(self) -> list[str]:
        """All queues, in the order in which they were declared, as far as is known."""
        return [queue for queue in self.declared["queue"] if not queue.startswith(LIFE)]

    def take(self, record: Mapping[str, Any]) -> None:
        """A note of a worker: it has declared something."""
        about = record["about"]
        self.note_declared(about["kind"], about["name"])

    def queue_for(self, exchange: str, routing_key: str) -> str:
        """Where a message goes, as far as the app tells."""
        queues = self.world.app.amqp.queues.items() if exchange else ()
        found = (name for name, each in queues if (each.exchange.name, each.routing_key) == (exchange, routing_key))
        return next(found, routing_key)

    def stands_still(self) -> list[str]:
        """The queues whose messages would leave them some day, if the server's clock could be moved."""
        queues = self.world.app.amqp.queues.items() if self.options[CLOCK_MOVES] else ()
        return [name for name, queue in queues if "x-message-ttl" in (queue.queue_arguments or {})]

    def note_declared(self, kind: str, name: str) -> None:
        """Something is there."""
        self.declared[kind][name] = None

    # -- our own connection

    def connect(self) -> Connection:
        """A connection to it, whatever an app's configuration says."""
        TRANSPORT_ALIASES[SCHEME] = f"{__package__}.amqp_transport:Transport"
        options = {**self.options, BROKER: self.name}
        return Connection(self.server.url, transport=SCHEME, transport_options=options, heartbeat=0)

    @contextmanager
    def asking(self) -> Iterator[Any]:
        """A channel of our own, which lives on when the server refuses something.

        Raises:
            ServerError: It is dead.
        """
        with self._lock, self.explained():
            if self._channel is None or not self._channel.is_open:
                self._connection = self._connection or self.connect()
                self._channel = self._connection.connection.channel()
            try:
                yield self._channel
            except TimeoutError:
                silent = f"expected an answer of the RabbitMQ of this test run within {PATIENCE:g} s; it says nothing"
                raise ServerError(silent) from None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A server that is dead is no connection error, which kombu would retry.

        Raises:
            ServerError: It is dead.
        """
        try:
            yield
        except TimeoutError:
            raise
        except (OSError, RecoverableConnectionError):
            explanation = self.server.explain_death()
            if explanation is None:
                raise
            raise ServerError(explanation) from None

    def ping(self) -> None:
        """Ask for an answer.

        Raises:
            ServerError: There is none.
        """
        with self.asking() as channel:
            channel.settle()

    # -- looking

    def census(self, queues: Iterable[str]) -> Census:
        """How many messages wait in these queues; what was delivered, AMQP does not tell."""
        known = [queue for queue in queues if queue in self.declared["queue"]]
        return Census({queue: self._waiting(queue) for queue in known}, {}, is_whole=False)

    def _waiting(self, queue: str) -> int:
        try:
            with self.asking() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except NotFound:
            self.declared["queue"].pop(queue, None)
            return 0

    def peek(self, queue: str) -> list[Letter]:
        """What waits in a queue: the last that were published there and that no worker has taken."""
        waiting = self._waiting(queue) if queue in self.declared["queue"] else 0
        if not waiting:
            return []
        return self._known(queue)[-waiting:]

    def _known(self, queue: str) -> list[Letter]:
        """The last messages of each task that has some on their way; one that was sent again is the same."""
        coming = self.world.ledger.coming_by_id()
        published = [event for event in self.world.timeline if event.kind == "publish" and event.id in coming]
        letters = []
        for event in reversed([each for each in published if each.detail.get("queue") == queue]):
            first = next(each for each in published if each.id == event.id)
            number = coming[event.id] if event is first else min(1, coming[event.id])
            coming[event.id] -= number
            letters += [self._letter(event, queue)] * number
        return letters[::-1]

    @property
    def unacked(self) -> dict[str, Letter]:
        """What workers hold and have not acknowledged, by delivery tag, in order of delivery."""
        held = (delivery for delivery in self.world.ledger.deliveries() if not delivery.settled)
        return {each.tag: Letter(_payload(each.task, each.id, 0), each.queue) for each in held}

    def _letter(self, event: Any, queue: str) -> Letter:
        retries = event.detail.get("retries", 0)
        for sent in reversed(self.sent.get(event.id, [])):
            if sent.headers.get("retries", 0) == retries:
                return Letter(sent.payload, queue)
        return Letter(_payload(event.task, event.id, retries), queue)

    def restore_due(self) -> datetime | None:
        """Nobody takes anything back."""
        return None

    def lost_at(self, score: float) -> datetime | None:
        """Nothing is taken for lost as long as its connection is there."""
        return None

    # -- what a test does to it

    def add(self, queue: str, payload: Mapping[str, Any], *, redelivered: bool = False) -> None:
        """Put a message there once more, at the end."""
        with self.asking() as channel:
            channel.basic_publish(message_of(payload), "", queue)

    # -- workers that come, and that are gone

    def is_for_all(self, queue: str) -> bool:
        """What is broadcast goes to a queue of each process."""
        return not queue.startswith(BROADCAST)

    def await_birth(self, worker: str) -> None:
        """Before a worker starts: a message that it will hold as long as it is connected."""
        with self.asking() as channel:
            channel.queue_declare(LIFE + worker, durable=False, auto_delete=False)
            channel.queue_purge(LIFE + worker)
            channel.basic_publish(_message(), "", LIFE + worker)

    def await_loss(self, worker: str) -> None:
        """Return when the server has noticed that a worker is gone, and has put back what it held.

        Raises:
            ServerError: It is dead.
            WorkerDied: It has not noticed in time.
        """
        seen: list[Any] = []
        deadline = Real.monotonic() + PATIENCE
        with self.asking() as channel:
            tag = channel.basic_consume(LIFE + worker, f"life-{worker}", no_ack=True, callback=seen.append)
            while not seen:
                if Real.monotonic() >= deadline:
                    raise WorkerDied(
                        f"expected the RabbitMQ of this test run to notice within {PATIENCE:g} s that worker "
                        f"{worker!r} is gone; it has not given back what the worker held."
                    )
                with suppress(TimeoutError):
                    channel.connection.drain_events(timeout=max(0.001, deadline - Real.monotonic()))
            channel.basic_cancel(tag)

    # -- the end

    def close(self) -> None:
        """Delete what is ours; a server that has died meanwhile has nothing left to delete."""
        self.ending = True
        with suppress(AMQPError, OSError, ServerError), self.asking() as channel:
            for queue in self.declared["queue"]:
                channel.queue_delete(queue, nowait=True)
            for exchange in self.declared["exchange"]:
                channel.exchange_delete(exchange, nowait=True)
            channel.connection.lease.end(channel)
            channel.settle()
        self.closed = True
        if self._connection is not None:
            with suppress(AMQPError, OSError, ServerError):
                self._connection.release()


def _closed() -> ConnectionRefusedError:
    return ConnectionRefusedError(
        errno.ECONNREFUSED,
        "this RabbitMQ broker belonged to a harness that is closed. A connection or producer was kept from one test to "
        "the next.",
    )


def _payload(task: str | None, task_id: str | None, retries: int) -> dict[str, Any]:
    headers = {"task": task, "id": task_id, "retries": retries}
    return {"headers": headers, "properties": {"correlation_id": task_id}}


def _message() -> Any:
    return message_of({
        "body": "", "headers": {}, "properties": {}, "content-type": "text/plain", "content-encoding": "utf-8",
    })  # fmt: skip
