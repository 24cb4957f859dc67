"""What a worker has in its hands: a message until it is dealt with, and a body that sleeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Delivery", "Record", "Sleep"]

Record = dict[str, Any]


@dataclass(eq=False)
class Delivery:
    """One message in the hands of one worker, until it is dealt with.

    Attributes:
        task: The task's name.
        id: The task id.
        worker: Who holds it.
        tag: The broker's name for the message; the same when it is delivered again.
        queue: Where it came from.
        since: When it was delivered, or was last looked at as one to be restored.
        receiver: Which thread of the worker has it.
        received: Celery has accepted it as a task's.
        due: When the worker will go on with it, where it is held for an eta or a rate limit.
        acks_late: Whether it is acknowledged after the body.
        execution: The name that its body has, once it was handed to the pool; then ``limits`` are known too: after
            how many seconds of the body a time limit strikes.
        started: The record of the start of its body; then ``strikes`` are known too: when the limits strike.
        done: The worker's main process has dealt with what became of the body.
        settled: It was acknowledged, or rejected.
        is_stuck: Nobody will acknowledge it, although it is done.
    """

    task: str | None
    id: str | None
    worker: str
    tag: str
    queue: str
    since: datetime
    receiver: Any
    received: bool = False
    due: datetime | None = None
    acks_late: bool = False
    execution: str | None = None
    limits: tuple[float, ...] = ()
    started: Record | None = None
    strikes: tuple[datetime, ...] = ()
    done: bool = False
    settled: bool = False
    is_stuck: bool = False

    @property
    def is_running(self) -> bool:
        """Whether the pool has it."""
        return self.execution is not None and not self.done

    @property
    def is_closed(self) -> bool:
        """Whether its worker is done with it."""
        return self.settled and not self.is_running

    @property
    def runs_where_it_was_received(self) -> bool:
        """Whether its body is all that its worker does."""
        return self.started is not None and not self.done and self.started["stream"] == self.receiver

    @property
    def is_acknowledged_as_far_as_it_can_be(self) -> bool:
        """Whether nothing is to be expected of its main process as long as the body runs."""
        return self.settled or self.acks_late or self.runs_where_it_was_received

    def waits(self, now: datetime) -> bool:
        """Whether its time is yet to come."""
        return self.is_held and self.due is not None and self.due > now

    @property
    def is_held(self) -> bool:
        """Whether it waits for its time."""
        return self.due is not None and self.execution is None


@dataclass(frozen=True)
class Sleep:
    """A body that sleeps by the test's clock, or waits for other tasks.

    Attributes:
        delivery: Whose it is.
        bed: Where to wake it.
        since: When it fell asleep.
        until: When it wants to be woken; None: not by the clock.
        awaits: The ids of the tasks that it waits for.
    """

    delivery: Delivery
    bed: str
    since: datetime
    until: datetime | None
    awaits: tuple[str, ...]

    def ends(self) -> list[datetime]:
        """When something will wake it: its time, or a time limit."""
        own = [] if self.until is None else [self.until]
        return [*own, *(strike for strike in self.delivery.strikes if strike > self.since)]
