"""Broadcast queues of the memory broker: each consumer has one of its own, and so a copy of each message."""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

from .memory import MemoryBroker

__all__ = ["BROADCAST", "BroadcastChannel"]

#: What ``kombu.common.Broadcast`` calls its queues, with an id that each process makes anew.
BROADCAST = "bcast."


class BroadcastChannel(virtual.Channel):  # type: ignore[misc]
    """A channel that consumes its own copy of a broadcast queue: several workers here have one name for it."""

    broker: MemoryBroker

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume a queue."""
        if self._is_broadcast(queue):
            self.own[queue] = own = f"{queue}/{self.broker.next_tag()}"
            self.broker.declare(own)
            self.broker.copies.setdefault(queue, []).append(own)
        return super().basic_consume(queue, *args, **kwargs)

    def close(self) -> None:
        """Close; such a queue is deleted with its consumer."""
        for queue, own in self.own.items():
            self.broker.copies[queue].remove(own)
            self.broker.delete(own)
        self.own.clear()
        super().close()

    def own_queues(self, bound: list[str]) -> list[str]:
        """Those of the consumers, in the place of one that is broadcast to."""
        return [each for queue in bound for each in self.broker.copies.get(queue) or [queue]]

    @property
    def own(self) -> dict[str, str]:
        """What this channel has of each broadcast queue, by its name."""
        found: dict[str, str] = self.__dict__.setdefault("_own", {})
        return found

    def _is_broadcast(self, queue: str) -> bool:
        return queue.startswith(BROADCAST) and queue not in self.own
