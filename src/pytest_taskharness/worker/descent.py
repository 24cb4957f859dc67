"""How deep messages descend from one another while no time passes: what never ends has no bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RunBudgetExceeded
from ..timeline import Event
from . import explain

if TYPE_CHECKING:
    from .world import World

__all__ = ["Descent"]

#: How many messages may descend from one another at one virtual instant.
MAX_GENERATIONS = 2_000


class Descent:
    """The generations of messages at one virtual instant.

    A count of runs could not tell a task that calls itself for ever from one that publishes many others.
    """

    def __init__(self, world: World) -> None:
        """No message yet."""
        self._world = world
        self._generation: dict[str, int] = {}

    def begin_anew(self) -> None:
        """Time passes: an endless retry with a delay ends with the time that it is given."""
        self._generation.clear()

    def follow(self, event: Event) -> None:
        """A message was published; the event tells by whom."""
        assert event.id is not None
        self.add(event.id, event.id if event.detail["retries"] else event.detail.get("parent_id"))

    def add(self, task_id: str, parent_id: str | None) -> None:
        """A message was published by a body, or again under its own id.

        Raises:
            RunBudgetExceeded: It is one too many.
        """
        generation = self._generation.get(parent_id or "", 0) + 1
        self._generation[task_id] = generation
        if generation > MAX_GENERATIONS:
            raise self._world.broke(RunBudgetExceeded(explain.generations(self._world, task_id, MAX_GENERATIONS)))

    def check_retries(self, task_id: str, retries: int) -> None:
        """In eager mode a call follows the retries through time, so that time does not end them.

        Raises:
            RunBudgetExceeded: There are too many.
        """
        if retries > MAX_GENERATIONS:
            raise self._world.broke(RunBudgetExceeded(explain.endless_call(self._world, task_id, MAX_GENERATIONS)))
