"""While bodies sleep: what goes on beside them, as far as it needs no free slot."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..clock.timer import Due
from ..errors import hide_frames

if TYPE_CHECKING:
    from .node import Node
    from .world import World

__all__ = ["Meanwhile"]

__tracebackhide__ = hide_frames


class Meanwhile:
    """The time of one world that passes while its bodies sleep.

    The main processes of the workers go on: they obey, they take lost messages back, and they prefetch.  A beat goes
    on too.
    """

    def __init__(self, world: World) -> None:
        """Nobody sleeps."""
        self._world = world

    def pass_in_body(self, until: datetime) -> None:
        """The calling body sleeps."""
        strand = self._world.company.strand_here()
        if strand is None:
            self.pass_beside_bodies(until)
        else:
            strand.sleep(until)

    def pass_beside_bodies(self, until: datetime) -> None:
        """The same, where all bodies sleep that have a thread of their own."""
        if not self._world.eager:
            self._begin(until)
        while self._pass_one(until):
            pass
        self._world.time.move_to(until)

    def _begin(self, until: datetime) -> None:
        self._world.obey()
        self._world.stay_dead()
        if until > self._world.time.now:
            self._take_ahead(self._world.all_nodes())

    def _pass_one(self, until: datetime) -> bool:
        """The next thing that happens beside the bodies; at the last instant, the body goes first."""
        due, fire = self._next_restore(), self._world.firing.next()
        if fire is not None and fire[1] < until and (due is None or fire[1] < due[1].at):
            self._world.time.move_to(fire[1])
            self._world.firing.fire(fire[0])
            if not self._world.eager:
                self._take_ahead(self._world.all_nodes())
            return True
        if due is None or due[1].at >= until:
            return False
        node, restore = due
        self._world.time.move_to(restore.at)
        node.fire(restore)
        self._take_ahead(node.world.nodes)
        return True

    def _next_restore(self) -> tuple[Node, Due] | None:
        found = [(node, due) for node in self._world.all_nodes() for due in node.restore_dues()]
        return min(found, key=lambda item: item[1].at) if found else None

    def _take_ahead(self, nodes: list[Node]) -> None:
        """Each worker in turn, as far as its prefetch count goes; nothing starts."""
        worlds = {id(node.world): node.world for node in nodes}.values()
        asleep = [(world, world.asleep) for world in worlds]
        for world in worlds:
            world.asleep = True
        try:
            while self._world.deliver(nodes):
                pass
        finally:
            for world, before in asleep:
                world.asleep = before
