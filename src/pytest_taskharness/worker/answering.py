"""Remote control asks, and every worker answers at once: nobody has to wait for more answers than there will be."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

from kombu.pidbox import Mailbox

if TYPE_CHECKING:
    from .node import Node
    from .world import World

__all__ = ["answer_as_from_the_start", "answer_at_once"]


class _Answered(Mailbox):  # type: ignore[misc]
    """kombu's mailbox, which would wait its whole timeout for workers that it does not know of."""

    taskharness_world: World

    def _broadcast(
        self, command: Any, arguments: Any = None, destination: Any = None, reply: bool = False, *args: Any,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        if reply:
            self.taskharness_world.before_answering()
        return super()._broadcast(command, arguments, destination, reply, *args, **kwargs)

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        super()._publish(*args, **kwargs)
        self.taskharness_world.turn.wake()

    def _collect(
        self, ticket: Any, limit: int | None = None, timeout: float | None = 1, callback: Any = None,
        channel: Any = None, accept: Any = None,
    ) -> Any:  # fmt: skip
        with self.taskharness_world.exclusively():
            self.taskharness_world.obey()
        self.taskharness_world.waits.asked_workers()
        answers = self.reply_queue(channel or self.connection.default_channel)
        there = answers.queue_declare().message_count
        # Where there is none, time passes: that is how Celery finds out that no worker is there.
        limit = min(limit or there, there) or limit
        return super()._collect(ticket, limit=limit, timeout=timeout, callback=callback, channel=channel, accept=accept)


def answer_at_once(world: World, app: Any) -> None:
    """For as long as the app is borrowed, or lent: its ``control`` is made anew for each harness."""
    mailbox = app.control.mailbox
    kind = type(mailbox)
    if not issubclass(kind, _Answered):  # it was lent, perhaps, and is borrowed now
        mailbox.__class__ = _Answered if kind is Mailbox else type(kind.__name__, (_Answered, kind), {})
    mailbox.taskharness_world = world


def answer_as_from_the_start(node: Node, box: Any) -> None:
    """Celery's workers look at the limits of a task when they start, and ours when its first message comes.

    ``control.time_limit()`` comes too late for the former, and so it has to for the latter.
    """
    known = box.node.handlers

    def time_limit(state: Any, task_name: str | None = None, **limits: Any) -> Any:
        if task_name in node.app.tasks:
            node.app.tasks[task_name]._get_exec_options()  # a publisher is another process, and has them by now
            for each in node.world.nodes:
                each.consumer.strategies[task_name]  # makes it, where it is not there yet
        return known["time_limit"](state, task_name, **limits)

    box.node.handlers = ChainMap({"time_limit": time_limit}, known)
