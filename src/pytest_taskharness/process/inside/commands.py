"""In a worker: what the test process asks of it, through a named pipe that Celery's own event loop reads.

Remote control would do for most of it, but a user may have switched that off, and a command must also wake an event
loop that sleeps by a clock which has been moved.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery.worker import state
from kombu.message import Message

from ...worker.perform import NoChannel
from ..between.amqp_channel import ToldChannel
from ..between.words import COMMANDS
from .amqp_worker import show_life
from .moving import reload_clock
from .parting import end_processes, is_as_it_was, start_processes
from .scribe import Scribe

__all__ = ["Commands", "stop_asking"]

#: How the queues of remote control end.
PIDBOX = ".celery.pidbox"


class Commands:
    """Obeys, one line at a time."""

    def __init__(
        self, scribe: Scribe, *, perform: Callable[[Any, Any, dict[str, Any]], object], count_anew: Callable[[], object]
    ) -> None:  # fmt: skip
        """Listen as soon as there is an event loop."""
        self._scribe = scribe
        self._count_anew = count_anew
        #: What it consumes from the start.
        self._queues: set[str] = set()
        #: The names of the commands of remote control that it has obeyed, whoever has sent them.
        self.obeyed: set[str] = set()
        self._perform_message = perform
        self._pipe = os.open(scribe.directory / COMMANDS, os.O_RDWR | os.O_NONBLOCK)
        self._half = b""

    def register(self, original: Any, consumer: Any, hub: Any) -> Any:
        """As often as the event loop starts, which it does again after a lost connection."""
        registered = original(consumer, hub)
        self._queues = self._queues or {queue.name for queue in consumer.task_consumer.queues}
        hub.add_reader(self._pipe, self._read, consumer)
        show_life(self._scribe, consumer)
        return registered

    def _read(self, consumer: Any) -> None:
        with suppress(BlockingIOError):
            *lines, self._half = (self._half + os.read(self._pipe, 65536)).split(b"\n")
            for line in lines:
                word, _, rest = line.decode().partition(" ")
                getattr(self, f"_{word}")(consumer, rest)

    def _mark(self, consumer: Any, token: str) -> None:
        """Say that all that was there before has been dealt with, and whether there is room for more."""
        channel = consumer.task_consumer.channel
        if isinstance(channel, ToldChannel):
            channel.settle()
            room = True
        else:
            room = channel.qos.can_consume()
        self._scribe.note("mark", token=int(token), has_room=bool(room))

    def _moved(self, consumer: Any, token: str) -> None:
        """The test has moved the clock."""
        if self._scribe.spec.reloads_clock:
            reload_clock()
        consumer.timer.release()
        self._mark(consumer, token)

    def _part(self, consumer: Any, rest: str) -> None:
        """A test is over: what its bodies have done to their processes ends with these."""
        is_fit = is_as_it_was(consumer, obeyed=self.obeyed)
        if is_fit:
            for queue in set(consumer.task_consumer.channel.active_queues).difference(self._queues):
                consumer.cancel_task_queue(queue)
            self._forget_queues(consumer)
            state.reset_state()
            end_processes(consumer.pool)
        self._scribe.note("parted", is_fit=is_fit, queues=sorted(self._queues))
        if is_fit:  # nobody has to wait for that
            start_processes(consumer.pool)

    def _forget_queues(self, consumer: Any) -> None:
        """Those that are not of the start are bound anew where they are used again: the test process unbinds them."""
        channel = consumer.task_consumer.channel
        for queue in set(channel.state.queue_index).difference(self._queues):
            if not queue.endswith(PIDBOX):
                channel.state.queue_bindings_delete(queue)

    def _renew(self, consumer: Any, token: str) -> None:
        """A new test begins, perhaps at another time."""
        consumer.reset_rate_limits()
        self._count_anew()
        self._scribe.note("polls", queues=sorted(set(consumer.task_consumer.channel._active_queues)))
        self._mark(consumer, token)

    def _consume(self, consumer: Any, queue: str) -> None:
        """Consume one more queue."""
        consumer.add_task_queue(queue)

    def _perform(self, consumer: Any, tag: str) -> None:
        """Deal with a message that was handed over."""
        parts, detail = pickle.loads((self._scribe.directory / tag).read_bytes())  # noqa: S301 - the file is ours alone
        self._perform_message(consumer, Message(channel=NoChannel(), **parts), detail)

    def _restore(self, consumer: Any, rest: str) -> None:
        """Look now for what nobody has acknowledged for the visibility timeout, as kombu does every few minutes."""
        qos = consumer.task_consumer.channel.qos
        qos.restore_visible(num=consumer.task_consumer.channel.unacked_restore_limit, interval=1)


def stop_asking(consumer: Any) -> None:
    """The queues are others now: have the server answer the request for the old ones, which is out, with nothing.

    kombu asks for the new ones when that request has timed out, a second later.
    """
    channel = consumer.task_consumer.channel
    with suppress(channel.connection_errors, channel.ResponseError), channel.conn_or_acquire() as client:
        _end_blocking(client, channel)


def _end_blocking(client: Any, channel: Any) -> None:
    connection = channel.client.connection
    if connection is None or not channel._in_poll or connection._sock is None:
        return
    address = connection._sock.getsockname()
    if isinstance(address, tuple):
        names = {f"{address[0]}:{address[1]}", f"[{address[0]}]:{address[1]}"}
        for found in client.client_list():
            if found["addr"] in names:
                client.client_unblock(found["id"])
