"""What an exploration asks of whoever opens a harness for it, and what one plan leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import CodeType
from typing import Any, Protocol

from ..faults import CrashWindow, Fault, Point
from ..timeline import Timeline

__all__ = ["Ending", "Step", "Subject", "Twin", "Twins"]


@dataclass(frozen=True)
class Step:
    """One line that one of two copies ran.

    Attributes:
        copy: 0 for the first copy, 1 for the second.
        file: The path of the file.
        line: The number of the line in it.
        source: Its text; empty where there is none.
    """

    copy: int
    file: str
    line: int
    source: str = ""


class Twin(Protocol):
    """A fresh harness beside the test's own: the same app, mode, seed and instant."""

    @property
    def harness(self) -> Any:
        """The harness, for an ``observe`` that asks for it."""

    @property
    def timeline(self) -> Timeline:
        """What has happened in it."""

    def publish(self) -> str:
        """Publish the signature; its task id."""

    def settle(self) -> None:
        """Go on until nothing can happen any more."""

    def redeliver(self, task_id: str) -> None:
        """The message comes once more, marked as redelivered."""

    def crash(self, window: CrashWindow) -> Fault:
        """Let the worker, or its pool process, die there, once."""

    def together(
        self, task_id: str, schedule: Sequence[int], *, is_watched: Callable[[CodeType], bool] | None
    ) -> None:  # fmt: skip
        """A second copy of the message, whose body takes turns with that of the first; whose lines count."""

    def steps(self) -> list[Step]:
        """The lines of the two copies, in the order in which they ran."""

    def watch(
        self, on_point: Callable[[Point], object], *, is_watched: Callable[[CodeType], bool] | None
    ) -> AbstractContextManager[None]:  # fmt: skip
        """While entered, see every window that the task comes to."""


#: Opens a twin, which is closed at the end of the block.
Twins = Callable[[], AbstractContextManager[Twin]]


@dataclass(frozen=True)
class Subject:
    """The task call that is explored.

    Attributes:
        call: As a text, ``shop.tasks.charge(42)``.
        body: What holds the body: a task object, or a function.
        mode: The mode of the harness.
        acks_late: Whether the task is acknowledged after its body.
        rejects_lost: Its ``reject_on_worker_lost``.
    """

    call: str
    body: Any
    mode: str
    acks_late: bool = False
    rejects_lost: bool = False


@dataclass(frozen=True)
class Ending:
    """What one plan has led to.

    Attributes:
        state: The last state of the run.
        result: What the result backend keeps of it.
        error: What it ended with, or None.
        timeline: All that happened.
        observed: What ``observe()`` returned afterwards.
        refused: What ``observe()`` raised instead.
        unended: Why the plan came to no end.
        steps: Of ``together``: the lines of the two copies.
        sent_again: Of ``crash``: the broker had nothing to redeliver, and we have sent the message again.
    """

    state: str
    result: Any
    error: BaseException | None
    timeline: Timeline
    observed: Any = None
    refused: Exception | None = None
    unended: Exception | None = None
    steps: tuple[Step, ...] = ()
    sent_again: bool = False
