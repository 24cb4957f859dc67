"""What the transports of stepped modes have in common: nobody polls, whoever waits lets the world go on."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any, Protocol

from kombu.transport import virtual

__all__ = ["DrivenBroker", "DrivenTransport"]


class DrivenBroker(Protocol):
    """What such a transport needs of its broker."""

    wait_for_event: Callable[[float | None], bool]


class DrivenTransport(virtual.Transport):  # type: ignore[misc]
    """A kombu transport whose ``drain_events`` drives the world; a timeout counts virtual seconds.

    kombu's own loop polls the real monotonic clock.
    """

    broker: DrivenBroker

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one event; where there is none, let the world go on."""
        while not self._delivered_one(timeout):
            if timeout == 0 or not self.broker.wait_for_event(timeout):
                raise TimeoutError

    def _delivered_one(self, timeout: float | None) -> bool:
        try:
            self.cycle.get(self._deliver, timeout=timeout)
        except Empty:
            return False
        return True
