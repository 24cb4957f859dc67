"""What publishes by itself acts at its instants, whichever of the open worlds it belongs to."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import TaskHarnessError, hide_frames
from .sources import Source, earliest

if TYPE_CHECKING:
    from .world import World

__all__ = ["Firing"]

__tracebackhide__ = hide_frames


class Firing:
    """The sources of all open worlds, as the one sees them that is driven."""

    def __init__(self, world: World) -> None:
        """They are asked when somebody wants to know."""
        self._world = world

    def next(self) -> tuple[Source, datetime] | None:
        """Who acts next, and when; None where nobody does."""
        world = self._world
        if world.is_alone:
            return earliest(world.sources) if world.sources else None
        return earliest(source for each in world.open_worlds for source in each.sources)

    def fire_due(self, *, before: datetime | None) -> bool:
        """Whatever is due now, and was due before a worker's own timers; False where that had no effect."""
        while (found := self.next()) is not None and found[1] <= self._world.time.now:
            if before is not None and before <= found[1]:
                return False
            if self.fire(found[0]):
                return True
        return False

    def fire(self, source: Source) -> bool:
        """Let it act; whether that had any effect.  What goes wrong is raised by the verb that drives."""
        try:
            return source.fire()
        except TaskHarnessError as error:  # a body that sleeps meanwhile has nothing to do with it
            self._world.broke(error)
            return True
