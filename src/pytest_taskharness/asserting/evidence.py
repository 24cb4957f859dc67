"""What an assertion may look at: the timeline, and where there is a live world, the clock and the tasks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ..errors import TimeTravelError
from ..timeline import Message, Run, Timeline
from ..timeline.table import offset

__all__ = ["Asserting", "Evidence", "Registry", "World"]

__tracebackhide__ = True


class World(Protocol):
    """What can be driven."""

    @property
    def now(self) -> datetime:
        """The virtual time (aware)."""

    def stuck(self, run: Run) -> str | None:
        """Why nobody will ever take the message of a run, or None."""

    @property
    def uncommitted(self) -> int:
        """How many calls wait for the commit of a transaction that the test has open."""

    def drain(self) -> object:
        """Run all that is due now, including what it publishes; the clock stays."""

    def run_until(self, when: datetime) -> object:
        """Run all that is due up to ``when``, each at its own time, and leave the clock there."""


class Registry(Protocol):
    """What is known about the tasks of the app."""

    def signature_of(self, task_name: str) -> inspect.Signature | None:
        """The parameters that a caller gives (no ``self`` of a bound task), or None where they are not known."""

    def route_hint(self, task_name: str, queue: str) -> str | None:
        """Why the task is not routed to this queue, or None where there is nothing to say."""

    def replaced(self, task_name: str) -> str | None:
        """What a test has put in the place of the task's ``delay()`` or ``apply_async()``, or None."""


@dataclass(frozen=True)
class Evidence:
    """A timeline, and the world and the registry where there are any."""

    timeline: Timeline
    world: World | None = None
    registry: Registry | None = None

    @property
    def now(self) -> datetime:
        """The virtual time; on a timeline from a file, when its last event happened."""
        if self.world is not None:
            return self.world.now
        return self.timeline.events[-1].at if self.timeline.events else self.timeline.start

    @property
    def next_seq(self) -> int:
        """The number that the next event will have."""
        return self.timeline.events[-1].seq + 1 if self.timeline.events else 0

    def messages(self, *, since: int = 0) -> list[Message]:
        """What was enqueued; a retry is the same message once more, so it is not among them."""
        return [message for message in self.timeline.messages(since=since) if not message.retries]

    def signature(self, task: str) -> inspect.Signature | None:
        """The parameters of a task, where they are known."""
        return None if self.registry is None else self.registry.signature_of(task)

    def route_hint(self, task: str, queue: str) -> str | None:
        """Why a task is not routed to a queue, where that is known."""
        return None if self.registry is None else self.registry.route_hint(task, queue)

    def replaced(self, task: str) -> str | None:
        """What publishes nothing where a task's method should, where that is known."""
        return None if self.registry is None else self.registry.replaced(task)

    def stuck(self, run: Run) -> str | None:
        """Why nobody will ever take the message of a run, where that is so."""
        return None if self.world is None else self.world.stuck(run)

    def offset(self, at: datetime) -> str:
        """Virtual time since the start, as ``t+60.000s``."""
        return offset(self.timeline.start, at)

    def instant(self, when: datetime | timedelta, *, since: datetime) -> datetime:
        """An instant that a test named, absolute or counted from ``since``.

        Raises:
            TypeError: It is neither a datetime nor a timedelta.
            TimeTravelError: It has no timezone.
        """
        if isinstance(when, timedelta):
            return since + when
        if not isinstance(when, datetime):
            raise TypeError(f"expected an aware datetime or a timedelta, got {when!r}")
        if when.tzinfo is None:
            raise TimeTravelError(f"{when!r} has no timezone; write datetime(…, tzinfo=timezone.utc)")
        return when


class Asserting:
    """The part that all groups of assertions share."""

    def __init__(
        self, timeline: Timeline, *, world: World | None = None, registry: Registry | None = None
    ) -> None:  # fmt: skip
        """Look at this timeline.

        Args:
            timeline: The record of what happened, live or from a file.
            world: Drives what is pending; without one nothing is driven.
            registry: Knows the parameters of tasks; without one arguments compare as they were written.
        """
        self._evidence = Evidence(timeline, world, registry)
