"""What publishes by itself, at instants of its own, beside the workers: a beat."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

__all__ = ["Source", "earliest"]


class Source(Protocol):
    """Somebody who is not waited for: a beat goes on for ever, so it is no work that is left to do."""

    @property
    def name(self) -> str:
        """For people."""

    def due(self) -> datetime | None:
        """When it next wants to act, or None."""

    def fire(self) -> bool:
        """Act now; whether that had any effect.

        Raises:
            TaskHarnessError: It could not do what it should.
        """


def earliest(sources: Iterable[Source]) -> tuple[Source, datetime] | None:
    """Who acts next, and when; None where nobody does."""
    found = [(source, due) for source in sources if (due := source.due()) is not None]
    return min(found, key=lambda each: each[1], default=None)
