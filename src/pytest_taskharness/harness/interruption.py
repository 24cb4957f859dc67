"""What a test interrupts at the broker, a queue or all of it, until it says otherwise or the harness closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import hide_frames

__all__ = ["Interruption", "end_interruptions"]

__tracebackhide__ = hide_frames


class Interruption:
    """Something that lasts until :meth:`end`, or until the end of its ``with`` block."""

    def __init__(self, end: Callable[[], object]) -> None:
        """It has begun."""
        self._end: Callable[[], object] | None = end

    def end(self) -> None:
        """End it; a second time does nothing."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> Interruption:
        """It has begun already."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self.end()


def end_interruptions(world: Any) -> None:
    """Release every queue, and end the outage: the harness closes."""
    world.broker.on_hold.clear()
    if world.broker.is_out:
        world.find_broker()
