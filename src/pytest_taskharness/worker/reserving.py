"""The line in front of a worker's pool: what was received and has no free slot yet."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from .bodies.pool import Execution
    from .node import Node
    from .world import World

__all__ = ["Reserved", "Reserving"]


class Reserved(NamedTuple):
    """A message that was received and is in the pool's line.

    Attributes:
        number: Its place in the line of all workers.
        task_id: Whose it is.
        start: Look at it again: it may have been revoked meanwhile.
    """

    number: int
    task_id: str
    start: Callable[[], None]


class Reserving:
    """The part of a worker that decides what starts now, and what waits."""

    world: World
    app: Any
    concurrency: int
    running: list[Execution]
    outlive: Callable[..., None]
    goes_on: Any
    pid: int

    def __init__(self) -> None:
        """Nothing waits."""
        #: What is reserved: received while all slots were taken, a body slept, or a copy of it ran.
        self.waiting: list[Reserved] = []
        #: It comes from perform(), which waits for no slot.
        self.at_once = False

    @property
    def can_work(self) -> bool:
        """Whether this worker would start a body now."""
        return bool(self.goes_on) and self.has_free_slot

    @property
    def has_free_slot(self) -> bool:
        """Whether its pool has room for one more body."""
        return len(self.running) + self.world.company.reserved(cast("Node", self)) < self.concurrency

    @property
    def takes_messages(self) -> bool:
        """Whether it would take one more: for a free slot, or ahead of one, as far as its prefetch count goes."""
        if not self.goes_on:
            return False
        return self.has_free_slot or not (self.world.eager or self.app.conf.get("worker_disable_prefetch"))

    def admit(self, task_id: str, start: Callable[[], None]) -> None:
        """Start what was received, or let it wait for its turn: then it is reserved, as Celery calls it."""
        if self.at_once or self._is_free_for(task_id):
            start()
        else:
            self.reserve(task_id, start)

    def _is_free_for(self, task_id: str) -> bool:
        if self.world.asleep or self.world.is_running(task_id) or not self.has_free_slot:
            return False
        return not self.waiting or self.next_reserved() is None  # those that wait go first

    def reserve(self, task_id: str, start: Callable[[], None]) -> None:
        """Let it wait."""
        self.waiting.append(Reserved(self.world.next_number(), task_id, start))

    def next_reserved(self) -> Reserved | None:
        """What has waited longest, and not for a copy of it that runs."""
        return next((each for each in self.waiting if not self.world.is_running(each.task_id)), None)

    def start_reserved(self, reserved: Reserved) -> None:
        """Its turn has come."""
        self.waiting.remove(reserved)
        self.outlive(reserved.start)

    def free_pid(self) -> int:
        """What the next body has as the number of its process."""
        if not self.running:
            return self.pid
        taken = {execution.pid for execution in self.running}
        return next(pid for pid in count(self.pid) if pid not in taken)
