"""A world's place in the process, which it can leave between two tests and take again: its clock, and what sleeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from ..clock.sleep import Sleeper, sleep_virtually
from .borrowing.takeover import virtual_readers
from .sharing import requests_aside
from .waiting.blocking import driving_waits

if TYPE_CHECKING:
    from .world import World

__all__ = ["Presence"]


class Presence:
    """While it is here, the process lives in the time of one world."""

    def __init__(self, world: World, *, seed: int) -> None:
        """The world's clock is here from its beginning, and the rest when this is entered."""
        self._world = world
        self._seed = seed
        self._stack = ExitStack()
        self._waits_drive = False
        self._lending: Callable[[], AbstractContextManager[None]] | None = None
        self._lent = ExitStack()
        self._aside = ExitStack()
        #: Whether neither other apps nor workers in threads have to do with it.
        self.stands_aside = False

    def __enter__(self) -> Presence:
        """Be here."""
        world, began = self._world, self._world.time.monotonic()
        sleeper = Sleeper(lambda: world.time.monotonic() - began, world.waits.sleep, world.lives_here)
        with ExitStack() as stack:
            stack.enter_context(virtual_readers(world.time, self._seed))
            stack.enter_context(sleep_virtually(sleeper))
            if self._waits_drive:
                stack.enter_context(driving_waits(world))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """The end; the world's clock goes by itself."""
        self._lent.close()
        self._stack.close()

    def let_waits_drive(self) -> None:
        """Whenever it is here, from now on: code that waits for an event which a task sets knows of no harness."""
        self._waits_drive = True
        self._stack.enter_context(driving_waits(self._world))

    def lend(self, lending: Callable[[], AbstractContextManager[None]]) -> None:
        """From now on, but while it stands aside: other apps, which publish to this world."""
        self._lending = lending
        self._lent.enter_context(lending())

    @property
    def is_away(self) -> bool:
        """Whether the process has its own time."""
        return self._world.time.is_away

    def leave(self) -> None:
        """Give the process its time back for a while; nobody drives this world meanwhile."""
        if not self.is_away:
            if self._world in self._world.open_worlds:  # it may have ended
                self._world.open_worlds.remove(self._world)
            self._stack.close()
            self._world.time.leave()

    def come_back(self) -> None:
        """Go on, at the later of the world's own instant and the real one."""
        if self.is_away:
            self._world.time.come_back()
            self.__enter__()
            self._world.open_worlds.append(self._world)

    def stand_aside(self) -> None:
        """Be away, and have nothing to do with other apps and workers in threads either; again does nothing."""
        self._lent.close()
        self.leave()
        if not self.stands_aside:
            self._aside.enter_context(requests_aside(self._world.app))
        self.stands_aside = True

    def stand_back(self) -> None:
        """As it was before, and away."""
        self.stands_aside = False
        self._aside.close()
        if self._lending is not None:
            self._lent.enter_context(self._lending())
