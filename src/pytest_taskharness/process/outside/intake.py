"""Takes in what the workers have written down: it is counted, and told in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import RLock
from typing import TYPE_CHECKING, Any

from ...errors import hide_frames
from .telling import Teller
from .weaving import Weaver

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["Intake"]

__tracebackhide__ = hide_frames


class Intake:
    """The records of all workers of one world, on their way to its ledger, its beats and its timeline."""

    def __init__(self, world: ProcessWorld, read: Callable[[], list[dict[str, Any]]]) -> None:
        """Nothing has come; ``read()`` gives what has come since, and does not wait."""
        self._world = world
        self._read = read
        self._weaver = Weaver()
        self._teller = Teller(world.app, world.recorder)
        #: Records are being taken in, or nobody wants to have any more.
        self.is_shut = False
        #: Of two threads that hear, one takes in what has come.
        self.lock = RLock()

    def take(self) -> bool:
        """All that has come; whether there was anything."""
        with self.lock:
            self.is_shut, before = True, self.is_shut
            try:
                return self._take_all()
            finally:
                self.is_shut = before

    def _take_all(self) -> bool:
        records = self._read()
        for record in records:
            self._world.ledger.take(record)
            if "note" in record:
                self._world.node(record["worker"]).take(record)
                self._world.beats.take(record)
                if record["note"] == "declared":
                    self._world.broker.take(record)
            else:
                self._tell(self._weaver.take(record))
                if record["kind"] == "publish":
                    self._world.ensure_consumers()
        if self._weaver.is_waiting and not self._world.busy():
            self._tell(self._weaver.rest())
        return bool(records)

    def _tell(self, records: Iterator[dict[str, Any]]) -> None:
        for record in records:
            self._teller.tell(record)

    def published(self, task_id: str, retries: int) -> None:
        """The test process has put a message into a queue."""
        with self.lock:
            self._weaver.published(task_id, retries)
            self._world.ledger.published(task_id)
