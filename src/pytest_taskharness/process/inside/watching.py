"""In a worker's main process: the consumer, seen from the arrival of a message to its acknowledgement."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial, wraps
from typing import Any

from celery import signals
from celery.worker.consumer import Consumer
from celery.worker.pidbox import Pidbox
from kombu import pidbox
from kombu.transport import redis, virtual

from ...faults import Script
from ...worker.borrowing.apps import unregistered
from ...worker.consumer import WatchedChannel
from ..between.faketime import whole_microseconds
from .amqp_worker import is_amqp, watch_amqp
from .commands import Commands, stop_asking
from .deliveries import identity_of, shown_arguments, tag_of
from .scribe import Scribe
from .tracing import count_anew

__all__ = ["watch_consumer"]


def watch_consumer(scribe: Scribe) -> None:
    """Watch the consumer that will be made in this process: what Celery and kombu do, they do as ever."""
    arrivals = _Arrivals(scribe)
    if is_amqp(scribe):
        watch_amqp(scribe)
    else:
        _watch_redis(scribe)
    commands = Commands(scribe, perform=arrivals.perform, count_anew=count_anew)
    _around(virtual.Transport, "_deliver", arrivals.deliver)
    _around(Consumer, "create_task_handler", arrivals.create_task_handler)
    _around(Consumer, "on_unknown_message", arrivals.on_unknown_message)
    _around(Consumer, "on_unknown_task", arrivals.on_unknown_task)
    _around(Consumer, "on_invalid_task", arrivals.on_invalid_task)
    _around(Consumer, "on_decode_error", arrivals.on_decode_error)
    _around(Consumer, "_schedule_bucket_request", partial(_schedule, scribe))
    _around(Consumer, "call_soon", _InOrder().call_soon)
    _around(Consumer, "register_with_event_loop", commands.register)
    _around(pidbox.Node, "reply", partial(_reply, scribe))
    _around(Pidbox, "on_message", partial(_obey, scribe, commands.obeyed))
    signals.task_received.connect(partial(_received, scribe), weak=False)
    signals.task_revoked.connect(partial(_revoked, scribe), weak=False)
    signals.worker_ready.connect(partial(_ready, scribe), weak=False)
    signals.worker_shutting_down.connect(lambda **_: scribe.note("leaving"), weak=False)


def _watch_redis(scribe: Scribe) -> None:
    restores, polls = _Restores(scribe), _Polls(scribe)
    _around(redis.QoS, "restore_visible", restores.restore_visible)
    _around(redis.QoS, "restore_by_tag", restores.restore_by_tag)
    _around(redis.Channel, "_do_restore_message", restores.restore_message)
    _around(redis.Channel, "_brpop_start", polls.brpop_start)
    _around(Consumer, "add_task_queue", polls.change_queues)
    _around(Consumer, "cancel_task_queue", polls.change_queues)


def _around(cls: type, name: str, wrapper: Callable[..., Any]) -> None:
    """Let ``wrapper(original, self, …)`` stand for a method."""
    original = getattr(cls, name)

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(original, self, *args, **kwargs)

    setattr(cls, name, method)


class _Witness:
    """What a watched channel tells of one delivery, it tells us; a stepped worker's world hears of it too."""

    #: Nothing goes wrong by script in a process of its own.
    script = Script()

    def __init__(self, scribe: Scribe, tag: str) -> None:
        self.record = partial(scribe.record, tag=tag)
        self.world = self.hearing = self

    def rejected(self, identity: object, *, requeue: bool) -> None:
        """It is written down, and read elsewhere."""


class _Arrivals:
    """Messages on their way from the broker to a task's strategy."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe
        self._queue = ""
        #: What is to be told of a message that came from no queue.
        self._detail: dict[str, Any] = {}

    def perform(self, consumer: Any, message: Any, detail: dict[str, Any]) -> None:
        """A message that the test process has handed over itself."""
        self._queue, self._detail = "perform()", detail
        try:
            consumer.task_consumer.on_message(message)
        finally:
            self._detail = {}

    def deliver(self, original: Any, transport: Any, message: Any, queue: str) -> Any:
        """A transport hands over what it has read from a queue; afterwards, nobody knows any more which one it was."""
        self._queue = queue
        return original(transport, message, queue)

    def create_task_handler(self, original: Any, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        handle = original(consumer, *args, **kwargs)

        def on_task_received(message: Any) -> Any:
            self._arrived(message)
            return handle(message)

        return on_task_received

    def _arrived(self, message: Any) -> None:
        identity, witness = identity_of(message), _Witness(self._scribe, tag_of(message))
        redelivered = bool((message.delivery_info or {}).get("redelivered"))
        about = {"retries": (message.headers or {}).get("retries") or 0}
        detail = {"queue": self._queue_of(message), "redelivered": redelivered, **shown_arguments(message)}
        detail |= self._detail
        witness.record("deliver", about=about, **identity, **detail)
        message.channel = WatchedChannel(message.channel, witness, identity)  # type: ignore[arg-type]

    def _queue_of(self, message: Any) -> str:
        consumed = getattr(message.channel, "consumed", {})
        return str(consumed.get((message.delivery_info or {}).get("consumer_tag"), self._queue))

    def on_unknown_message(self, original: Any, consumer: Any, body: Any, message: Any) -> Any:
        with self._poisoned(message, "not a task message"):
            return original(consumer, body, message)

    def on_unknown_task(self, original: Any, consumer: Any, body: Any, message: Any, exc: Exception) -> Any:
        with self._poisoned(message, unregistered(consumer.app, message.headers.get("task")), error=exc):
            return original(consumer, body, message, exc)

    def on_invalid_task(self, original: Any, consumer: Any, body: Any, message: Any, exc: Exception) -> Any:
        with self._poisoned(message, f"refused: {exc}", error=exc):
            return original(consumer, body, message, exc)

    def on_decode_error(self, original: Any, consumer: Any, message: Any, exc: Exception) -> Any:
        with self._poisoned(message, f"cannot be decoded: {exc}", error=exc):
            return original(consumer, message, exc)

    @contextmanager
    def _poisoned(self, message: Any, note: str, *, error: BaseException | None = None) -> Iterator[None]:
        """A message that no task will run; Celery rejects it, and may then store that it has failed."""
        if not isinstance(message.channel, WatchedChannel):
            self._arrived(message)
        identity, tag = identity_of(message), tag_of(message)
        self._scribe.record("poison", tag=tag, note=note, error=error, **identity)
        self._scribe.note("refusing", id=identity["id"], tag=tag)
        try:
            yield
        finally:
            self._scribe.note("refused", id=identity["id"], tag=tag)


class _Restores:
    """Messages that nobody has acknowledged for the visibility timeout: kombu puts them back."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe
        self._is_looking = False
        self._restored: list[dict[str, Any]] = []

    def restore_visible(self, original: Any, qos: Any, *args: Any, **kwargs: Any) -> Any:
        """Look for them; other reasons to put a message back have an event of their own."""
        self._is_looking = True
        try:
            return original(qos, *args, **kwargs)
        finally:
            self._is_looking = False

    def restore_by_tag(self, original: Any, qos: Any, tag: Any, *args: Any, **kwargs: Any) -> Any:
        """Put one back; told when it is there."""
        self._restored.clear()
        done = original(qos, tag, *args, **kwargs)
        tag = tag.decode() if isinstance(tag, bytes) else tag
        for headers in self._restored if self._is_looking else ():
            note = f"not acknowledged for {qos.visibility_timeout:g} s"
            self._scribe.record("restore", task=headers.get("task"), id=headers.get("id"), tag=tag, note=note)
        return done

    def restore_message(self, original: Any, channel: Any, payload: Any, *args: Any, **kwargs: Any) -> Any:
        """What it is that is put back; again, where the transaction has to be repeated."""
        self._restored[:] = [payload.get("headers") or {}]
        return original(channel, payload, *args, **kwargs)


# -- what the consumer holds, and what it consumes


def _received(scribe: Scribe, request: Any = None, **_: Any) -> None:
    note = f"held until {request.eta.isoformat()}" if request.eta else ""
    about = {"eta": request.eta, "acks_late": bool(request.task.acks_late)}
    tag = tag_of(request._message)
    scribe.record("receive", task=request.task.name, id=request.id, tag=tag, about=about, note=note)


def _revoked(scribe: Scribe, request: Any = None, expired: bool = False, terminated: bool = False, **_: Any) -> None:
    note = "expired" if expired else "terminated" if terminated else "revoked"
    scribe.record("revoke", task=getattr(request, "task", None), id=request.id, state="REVOKED", note=note)


def _schedule(scribe: Scribe, original: Any, consumer: Any, bucket: Any) -> Any:
    """A rate limit: what is left in the bucket waits for a token."""
    scheduled = original(consumer, bucket)
    waiting = [tag_of(request._message) for request, _ in bucket.contents]
    if waiting:
        due = scribe.time.now + timedelta(microseconds=whole_microseconds(bucket.expected_time(1)))
        scribe.note("limited", tags=waiting, due=due)
    return scheduled


class _InOrder:
    """What is put off until the event loop goes round again: kombu keeps it in a set, which has no order.

    Of two commands of remote control that a busy worker reads at once, the second could be obeyed first.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], Any]] = deque()

    def call_soon(self, original: Any, consumer: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(partial(function, *args, **kwargs))
        return original(consumer, self._call_next)

    def _call_next(self) -> Any:
        return self._calls.popleft()()


class _Polls:
    """Which queues the worker asks the server for: a request is out for a second before another one can be made."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def brpop_start(self, original: Any, channel: Any, *args: Any, **kwargs: Any) -> Any:
        started = original(channel, *args, **kwargs)
        self._tell(channel)
        return started

    def change_queues(self, original: Any, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        """They have changed: ask for the new ones soon; where none are left, nobody asks."""
        changed = original(consumer, *args, **kwargs)
        channel = consumer.task_consumer.channel
        stop_asking(consumer)
        if not channel.active_queues:
            self._tell(channel)
        return changed

    def _tell(self, channel: Any) -> None:
        self._scribe.note("polls", queues=sorted(set(channel._active_queues)))


def _obey(scribe: Scribe, obeyed: set[str], original: Any, box: Any, body: Any, *args: Any, **kwargs: Any) -> Any:
    """Remote control: a command, for this worker or for another."""
    obeyed.add(str(body.get("method")) if isinstance(body, dict) else "")
    try:
        return original(box, body, *args, **kwargs)
    finally:
        scribe.note("obeyed")


def _reply(scribe: Scribe, original: Any, node: Any, *args: Any, **kwargs: Any) -> Any:
    """Remote control: whoever has asked waits for it."""
    replied = original(node, *args, **kwargs)
    scribe.note("replied")
    return replied


def _ready(scribe: Scribe, sender: Any = None, **_: Any) -> None:
    beats = getattr(sender.controller, "beat", None) is not None
    scribe.note("ready", obeys=bool(sender.app.conf.worker_enable_remote_control), beats=beats)
