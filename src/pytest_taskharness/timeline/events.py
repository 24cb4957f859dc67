"""One thing that happened, at one instant of virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

__all__ = ["KINDS", "CallSite", "Event", "State", "TaskName", "short_id"]

#: Every kind of event, in the order in which a task usually meets them.
KINDS: Final = (
    "publish",
    "deliver",
    "receive",
    "start",
    "retry",
    "finish",
    "ack",
    "reject",
    "revoke",
    "expire",
    "dead letter",
    "drop",
    "restore",
    "store",
    "callback",
    "fault",
    "clock jump",
    "beat fire",
    "poison",
)


class TaskName(str):
    """A task's registered name; ``task.name`` is the same string, as on a Celery task."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name itself."""
        return str(self)


class State(str):
    """A task state that equals its name and remembers when it was entered and with which meta."""

    __slots__ = ("at", "meta")

    at: datetime | None
    meta: Any

    def __new__(cls, name: str, *, at: datetime | None = None, meta: Any = None) -> State:
        """Make a state; ``meta`` is what ``update_state(meta=…)`` was given."""
        self = super().__new__(cls, name)
        self.at = at
        self.meta = meta
        return self


@dataclass(frozen=True)
class CallSite:
    """The line of the user's code that published a message."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """As ``shop/signup.py:31 in sign_up``, or ``beat entry 'nightly'``, which has no line."""
        if not self.line:
            return f"{self.file} {self.function!r}"
        return f"{self.file}:{self.line} in {self.function}"


@dataclass
class Event:
    """One line of the timeline.

    Attributes:
        seq: Its place in the timeline, from 0; ties in time are ordered by it.
        at: The virtual instant (aware, UTC).
        kind: One of :data:`KINDS`.
        task: The task's registered name, where the event belongs to one.
        id: The task id, where the event belongs to one.
        worker: The worker that did it, where one did.
        detail: What else is known; its keys depend on the kind.
    """

    __slots__ = ("at", "detail", "id", "kind", "seq", "task", "worker")

    seq: int
    at: datetime
    kind: str
    task: str | None
    id: str | None
    worker: str | None
    detail: dict[str, Any]


def short_id(task_id: str | None) -> str:
    """Eight characters are enough to tell ids apart on a page."""
    return "" if task_id is None else task_id[:8]
