"""Timers that repeat themselves for ever: a boot step's, or a strategy's that looks whether its batch is full."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import TYPE_CHECKING

from ..clock.timer import Due

if TYPE_CHECKING:
    from .node import Node
    from .world import World

__all__ = ["Repeating"]

#: How often in a row they may go off beside a message that is held, with no effect on it.
MOST_IN_VAIN = 10_000


class Repeating:
    """Such a timer alone is no work, as a beat is none, except where a message is held that may wait for it.

    What a message has asked for counts until it was called in vain: celery-batches puts its timer away then, and would
    keep it for the next test's worker.
    """

    def __init__(self, world: World) -> None:
        """They are looked at when nothing else is due."""
        self._world = world
        self._seen: Hashable = None
        self._in_vain = 0

    def is_all(self, nodes: list[Node]) -> bool:
        """Whether nothing else is due, and nothing is to be expected of them."""
        if not all(self.is_lonely(node, due) for node in nodes for due in node.dues()):
            return False
        return not self._may_be_awaited(nodes)

    def next(self) -> datetime | None:
        """When the next one goes off, where there is nothing else; None where there is none."""
        nodes = [node for node in self._world.all_nodes() if node.goes_on and node.timer.entries]
        dues = [due for node in nodes if (due := node.timer.peek()) is not None and due.repeats]
        return min((due.at for due in dues), default=None)

    @staticmethod
    def is_lonely(node: Node, due: Due) -> bool:
        """Whether it is one, and nothing else is behind it."""
        return due.repeats and node.timer.only_repeats

    def _may_be_awaited(self, nodes: list[Node]) -> bool:
        held = [tag for broker in {node.world.broker for node in nodes} for tag in broker.unacked]
        seen = (self._world.starts, *held)
        self._in_vain = self._in_vain + 1 if seen == self._seen else 0
        self._seen = seen
        return bool(held) and self._in_vain < MOST_IN_VAIN
