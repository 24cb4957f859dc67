"""Deliveries that were held for too long are taken back: by whom, when, and whether anything could come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..broker.tampered import id_in
from ..errors import hide_frames

if TYPE_CHECKING:
    from .node import Node
    from .world import World

__all__ = ["Restores", "TakeBack"]

__tracebackhide__ = hide_frames


class TakeBack:
    """What a worker does about deliveries, anybody's, that were not acknowledged within the visibility timeout."""

    def __init__(self, node: Node) -> None:
        """This worker finds them."""
        self._node = node

    def __call__(self) -> None:
        """The instant has come."""
        qos = self._node.consumer.task_consumer.channel.qos
        restores = self._node.world.restores
        restores.begin()
        taken_back = qos.restore_now()
        restores.end()
        for held in taken_back:
            note = f"not acknowledged for {qos.visibility_timeout:g} s"
            self._node.record("restore", task=held.task, id=held.id, note=note)


class Restores:
    """What was taken back in one world since a body last started there.

    A message that waits behind a body which is held would be delivered again and again, for ever.  So whoever drives
    until nothing can happen any more has each such message taken back once, and is done.  Whoever drives to a given
    instant is not concerned: there it comes back as often as in production.
    """

    def __init__(self, world: World) -> None:
        """Nothing was taken back."""
        self._world = world
        self.forget()

    def forget(self) -> None:
        """A body may start again: what comes back now is news."""
        #: How many had started when something was last taken back.
        self._starts = -1
        #: What was held when the first was; what has been taken back since; by tag, which a message keeps.
        self._held: set[str] = set()
        self._done: set[str] = set()

    def begin(self) -> None:
        """A worker is about to take something back."""
        held = set(self._world.broker.unacked)
        if self._starts != self._world.starts:
            self._starts, self._held, self._done = self._world.starts, held, set()
        self._before = held

    def end(self) -> None:
        """It has."""
        self._done |= self._before - set(self._world.broker.unacked)

    def are_in_vain(self) -> bool:
        """Whether all that is held was taken back before, and no body could start when it comes again."""
        if self._starts != self._world.starts:
            return False
        held = self._world.broker.unacked
        return not (self._awaited(held) or any(map(self._could_start, held.values())))

    def _awaited(self, held: Any) -> set[str]:
        """What comes back for the first time.  A beat that goes on may bring ever more: that is nothing to wait for."""
        new = set(held) - self._done
        return new & self._held if self._world.firing.next() is not None else new

    def _could_start(self, message: Any) -> bool:
        if self._world.is_running(id_in(message.payload) or ""):
            return False  # its copies wait for its end
        return any(node.can_work and message.queue in node.queues() for node in self._world.nodes)
