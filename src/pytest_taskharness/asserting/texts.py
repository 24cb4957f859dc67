"""Small texts that failures are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

from ..timeline import Event, Message, Run, Timeline, short_id
from ..timeline.table import arguments, offset
from ..wording import LONGEST_VALUE, shown

__all__ = [
    "aligned", "call_text", "capped", "counted", "indented", "message_rows", "published_text", "run_rows", "run_text",
    "seconds", "show", "site", "start_text",
]  # fmt: skip

__tracebackhide__ = True

MOST_LINES = 10


def show(value: Any, *, longest: int = LONGEST_VALUE) -> str:
    """The repr, on one line and not too long."""
    return "ANY" if value is ANY else shown(value, longest=longest)


def counted(count: int, noun: str) -> str:
    """As ``1 message`` or ``2 messages``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def seconds(value: float | timedelta) -> str:
    """As ``60 s`` or ``0.25 s``."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{number:.6f}".rstrip("0").rstrip(".") + " s"


def indented(lines: Iterable[str], *, by: int = 4) -> list[str]:
    """The lines, moved to the right."""
    return [f"{' ' * by}{line}".rstrip() for line in lines]


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with straight columns."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def capped(lines: Sequence[str], *, most: int = MOST_LINES) -> list[str]:
    """The first lines, and how many were left out."""
    return [*lines[:most], f"… and {len(lines) - most} more"] if len(lines) > most else list(lines)


def call_text(task: str, args: Sequence[Any], kwargs: dict[str, Any], *, hidden: str | None = None) -> str:
    """A call, as ``shop.tasks.charge(42, amount=9)``; ``hidden`` stands for arguments that must not be shown."""
    shown = [*map(show, args), *(f"{name}={show(value)}" for name, value in kwargs.items())]
    return f"{task}({', '.join(shown) if hidden is None else hidden})"


def published_text(message: Message) -> str:
    """A message, as ``shop.tasks.charge(42)  queue='celery'``."""
    return f"{_message_text(message)}  queue={message.queue!r}"


def _message_text(message: Message) -> str:
    hidden = arguments({"argsrepr": message.argsrepr, "kwargsrepr": message.kwargsrepr}) if message.hidden else None
    return call_text(message.task, message.args, message.kwargs, hidden=hidden)


def site(message: Message) -> str:
    """Who published a message."""
    if message.call_site is not None:
        return f"at {message.call_site}"
    return f"by Celery, after {short_id(message.parent_id)}" if message.parent_id else "by Celery"


def message_rows(
    messages: Iterable[Message], start: datetime, *, marks: Mapping[int, str] | None = None
) -> list[str]:  # fmt: skip
    """One line for each message: the call, the queue, the virtual time and who published it.

    ``marks`` go in front, by the number of the event.
    """
    rows = []
    for message in messages:
        due = f"due {offset(start, message.eta)}, " if message.eta else ""
        mark = [] if marks is None else [marks.get(message.seq, "")]
        where = f"{due}{site(message)}"
        rows.append([*mark, _message_text(message), f"queue={message.queue!r}", offset(start, message.at), where])
    return capped(aligned(rows))


def run_text(run: Run) -> str:
    """A run, as ``shop.tasks.charge(42) 1f3c9a7e``."""
    messages = run.messages
    call = _message_text(messages[-1]) if messages else call_text(run.task, run.args, run.kwargs, hidden=_hidden(run))
    return f"{call} {short_id(run.id)}"


def _hidden(run: Run) -> str | None:
    """What stands for the arguments of a run without a message, where they are not to be shown."""
    return next((arguments(event.detail) for event in run.timeline if event.detail.get("hidden")), None)


def start_text(timeline: Timeline, event: Event) -> str:
    """A start, with the task and the arguments of then: self.replace() puts another task under the same id."""
    run = Run(timeline, str(event.id))
    own = [message for message in run.messages if message.task == event.task]
    before = [message for message in own if message.seq < event.seq] or own[:1]
    return f"{_message_text(before[-1])} {short_id(run.id)}" if before else run_text(run)


def run_rows(runs: Sequence[Run], start: datetime, *, most: int = MOST_LINES) -> list[str]:
    """One line for each run: the call and id, the state, and when it was first heard of."""
    rows = ((run_text(run), str(run.state), offset(start, next(iter(run.timeline)).at)) for run in runs)
    return capped(aligned(rows), most=most)
