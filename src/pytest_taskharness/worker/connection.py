"""A worker's connection to its broker, and what becomes of the worker where it breaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..broker.queued import Overdue
from ..errors import hide_frames
from .sharing import others_aside, own_queues

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Connection"]

__tracebackhide__ = hide_frames

#: What Celery logs.
PRECONDITION_FAILED = (
    "PreconditionFailed(406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value "
    "used: {:.0f} ms.')"
)
#: What a user may not have known, and what to do about it.
CONSUMER_TIMEOUT = "consumer_timeout; float('inf') in the marker: never, as in classic queues since RabbitMQ 4.3"


class Connection:
    """The connection of one worker.

    Attributes:
        holds: Whether the broker can be reached by it.
    """

    def __init__(self, node: Node) -> None:
        """It holds as soon as the worker has started."""
        self._node = node
        self.holds = True

    def lose(self) -> None:
        """The broker cannot be reached: Celery forgets what it holds, and waits to connect again."""
        node, company = self._node, self._node.world.company
        if not (node.alive and self.holds):
            return
        node.record("fault", note="its connection is lost")
        self.holds = False
        node.waiting.clear()
        company.forget(node)
        node.world.broker.lose(node.consumer.connection)
        with others_aside(node):
            node.consumer.lose_connection()
        company.strike_down()
        for execution in node.running:  # Celery has terminated those that could not be acknowledged any more
            execution.killed |= bool(node.app.tasks[execution.task_name].acks_late)

    def renew(self) -> None:
        """The broker can be reached again."""
        if self._node.alive and not self.holds:
            with own_queues(self._node):
                self._node.consumer.start()
            self.holds = True

    def end(self) -> None:
        """It ends with its worker: the broker redelivers what was not acknowledged."""
        node = self._node
        node.timer.clear()
        with others_aside(node):
            node.consumer.on_close()
        if self.holds:
            node.world.broker.lose(node.consumer.connection)

    def lose_channel(self, held: Iterable[Overdue], seconds: float) -> None:
        """RabbitMQ's ``consumer_timeout``: to Celery that is an unrecoverable error, unless the app says otherwise."""
        for each in held:
            note = f"not acknowledged for {seconds:g} s: RabbitMQ closes the channel ({CONSUMER_TIMEOUT})"
            self._node.record("restore", task=each.task, id=each.id, note=note)
        if self._node.app.conf.get("broker_channel_error_retry"):
            self.lose()
            self.renew()
        else:
            self._end_of(PRECONDITION_FAILED.format(seconds * 1000))

    def _end_of(self, error: str) -> None:
        """The worker ends; the bodies that run come to their end, and nobody hears their acknowledgements."""
        node = self._node
        node.withdraw()
        node.record("fault", note=f"ends: Unrecoverable error: {error}")
        node.world.company.forget(node)
        self.end()
