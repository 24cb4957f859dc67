"""In a worker on a RabbitMQ: kombu's transport by the names of the test, and what is told of it."""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from typing import Any

import celery.app.base
from celery.worker.consumer import Consumer
from kombu import transport
from kombu.common import Broadcast
from kombu.transport import pyamqp
from kombu.utils.uuid import uuid

from ...broker.broadcast import BROADCAST
from ...broker.rabbit_channel import NAME
from ..between.amqp_channel import ToldChannel, ToldConnection
from ..between.words import LIFE
from .scribe import Scribe, the_scribe

__all__ = ["WorkerTransport", "is_amqp", "own_copies", "show_life", "watch_amqp"]

_SCHEMES = ("amqp", "pyamqp")


class _WorkerConnection(ToldConnection):
    """A connection of one of a worker's processes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.whose = f"{the_scribe().spec.name}-"
        self.on_declared = _declared


class WorkerTransport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport for AMQP; where the user's own code connects elsewhere, it is nothing but that."""

    @property
    def Connection(self) -> type[Any]:  # noqa: N802 - kombu's name
        """Of this class, a connection is made."""
        ours = NAME in (self.client.transport_options or {})
        return _WorkerConnection if ours else pyamqp.Connection


_told: set[tuple[str, str]] = set()


def _declared(kind: str, name: str) -> None:
    """The test process looks into queues, and deletes all at the end."""
    if (kind, name) not in _told:
        _told.add((kind, name))
        the_scribe().note("declared", kind=kind, name=name)


def is_amqp(scribe: Scribe) -> bool:
    """Whether the broker of the test is a RabbitMQ."""
    return NAME in (scribe.spec.settings.get("broker_transport_options") or {})


def own_copies(app: Any) -> None:
    """Celery names the queue of a ``Broadcast`` at random in each process: not as in the test's, which was told."""
    queues = app.conf.task_queues
    for queue in queues if isinstance(queues, (list, tuple)) else ():
        if isinstance(queue, Broadcast) and queue.name.startswith(BROADCAST):
            queue.name = queue.queue = f"{BROADCAST}{uuid()}"


def watch_amqp(scribe: Scribe) -> None:
    """Use that transport from now on, and tell which queues are consumed."""
    for scheme in _SCHEMES:
        transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:WorkerTransport"
        transport._transport_cache.pop(scheme, None)  # the user's module may have asked for one
    for name in ("on_ready", "add_task_queue", "cancel_task_queue"):
        _tell_after(scribe, name)
    _hold_etas()


def _hold_etas() -> None:
    """Where there are quorum queues, Celery lets a RabbitMQ wait for an eta, where nobody sees it: hold it instead."""
    with suppress(ImportError):  # since Celery 5.5
        from celery.worker.consumer import delayed_delivery

        celery.app.base.detect_quorum_queues = delayed_delivery.detect_quorum_queues = _without_quorum_queues


def _without_quorum_queues(app: Any, driver_type: str) -> tuple[bool, str]:
    return False, ""


def _tell_after(scribe: Scribe, name: str) -> None:
    original = getattr(Consumer, name)

    @wraps(original)
    def told(consumer: Any, *args: Any, **kwargs: Any) -> Any:
        returned = original(consumer, *args, **kwargs)
        scribe.note("polls", queues=sorted(consumer.task_consumer._active_tags))
        return returned

    setattr(Consumer, name, told)


def show_life(scribe: Scribe, consumer: Any) -> None:
    """Hold a message on the channel of the tasks: when the server has it back, it has all the others back too."""
    channel = consumer.task_consumer.channel
    if isinstance(channel, ToldChannel):
        channel.basic_get(f"{LIFE}{scribe.spec.name}")
