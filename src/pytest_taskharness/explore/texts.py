"""What a failure says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ..faults import CrashWindow, Point
from ..faults.lines import source_line
from ..timeline import Timeline
from .passage import Passage
from .plans import Plan, ordinal
from .stage import Ending, Step

__all__ = [
    "capped", "columns", "counted", "file_name", "indented", "names", "source_around", "timeline_of", "what_died",
    "what_happened",
]  # fmt: skip

#: More lines of source, or of a timeline, or names of plans, are cut.
MOST_STEPS = 60
MOST_ROWS = 80
MOST_NAMES = 6
WIDEST = 90
WIDEST_COLUMN = 56

_INSTANTS = {
    "received": "when it had received the message",
    "started": "before the body began",
    "after_body": "when the body had returned",
    "before_result": "before the result was stored",
    "before_ack": "before the message was acknowledged",
    "after_ack": "when the message was acknowledged",
}


def counted(count: int, noun: str) -> str:
    """As ``1 plan`` or ``2 crashes``."""
    plural = "es" if noun.endswith("sh") else "s"
    return f"{count:,} {noun}{plural if count != 1 else ''}"


def capped(lines: Sequence[str], *, most: int = MOST_NAMES) -> list[str]:
    """The first lines, and how many were left out."""
    return [*lines[:most], f"… and {len(lines) - most} more"] if len(lines) > most else list(lines)


def indented(lines: Iterable[str], *, by: int = 4) -> list[str]:
    """The lines, moved to the right."""
    return [f"{' ' * by}{line}".rstrip() for line in lines]


def names(plans: Sequence[object], *, most: int = MOST_NAMES) -> str:
    """Names in a row, not too many."""
    more = f" and {len(plans) - most} more" if len(plans) > most else ""
    return ", ".join(map(str, plans[:most])) + more


def file_name(path: str) -> str:
    """A path as seen from the directory in which the tests run."""
    return path.removeprefix(os.getcwd() + os.sep)  # noqa: PTH109 - a text, not a Path


# -- what a plan does


def what_happened(plan: Plan, ending: Ending | None = None) -> str:
    """What has been done to the message, in a sentence without its full stop."""
    if plan.kind == "again":
        return "the message was delivered once more, when its task was done"
    if plan.kind == "together":
        return "two copies of the message ran at once"
    if plan.window is None:
        return "the message was delivered once"
    if ending is not None and ending.sent_again:
        return f"{what_died(plan.window)}, and the message, which the broker no longer had, was sent again"
    return f"{what_died(plan.window)}, and the message was delivered again"


def what_died(window: CrashWindow) -> str:
    """What has died, and when."""
    who = "the worker" if window.death == "node" else "the pool process"
    return f"{who} died {_instant(window)}"


def _instant(window: CrashWindow) -> str:
    if window.name == "in_body":
        file = f" of {window.file}" if window.file else ""
        again = f" was reached for the {ordinal(window.hit)} time" if window.hit > 1 else ""
        return f"before line {window.line}{file}" if not again else f"when line {window.line}{file}{again}"
    if window.name == "between_callbacks":
        return f"when {counted(window.hit, 'callback')} had been sent"
    return _INSTANTS[window.name]


# -- the source


def source_around(passage: Passage, window: CrashWindow) -> list[str]:
    """The line before which it died, and the one that ran before that; nothing where it was not at a line."""
    index = passage.point_of(window)
    if index is None or window.name != "in_body":
        return []
    before = [point for point in passage.points[:index] if point.window == "in_body"][-1:]
    here = passage.points[index]
    rows = [(_place(point), _source(point)) for point in [*before, here]]
    width = max(len(place) for place, _ in rows)
    text = max(len(source) for _, source in rows)
    lines = [f"  {place:<{width}}  {source}".rstrip() for place, source in rows[:-1]]
    place, source = rows[-1]
    return [*lines, f"> {place:<{width}}  {source:<{text}}  <- it died before this line"]


def _place(point: Point) -> str:
    return f"{file_name(point.path or '?')}:{point.line}"


def _source(point: Point) -> str:
    text = source_line(point.code, point.line) if point.code is not None and point.line is not None else ""
    return _cut(text, WIDEST)


def columns(steps: Sequence[Step]) -> list[str]:
    """The lines of two copies side by side, in the order in which they ran."""
    shown = steps if len(steps) <= MOST_STEPS else steps[:MOST_STEPS]
    rows = [(_where(step), _cut(step.source, WIDEST_COLUMN) or f"line {step.line}", step.copy) for step in shown]
    margin = max((len(where) for where, _, _ in rows), default=0)
    width = max([len("first copy"), *(len(text) for _, text, copy in rows if copy == 0)])
    lines = [f"{'':<{margin}}  {'first copy':<{width}}  second copy"]
    for where, text, copy in rows:
        lines.append(f"{where:<{margin}}  {text if copy == 0 else '':<{width}}  {text if copy else ''}".rstrip())
    return [*lines, *([f"… and {len(steps) - len(shown)} more lines"] if len(shown) < len(steps) else [])]


def _where(step: Step) -> str:
    return f"{file_name(step.file)}:{step.line}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# -- the timeline


def timeline_of(plan: object, timeline: Timeline) -> list[str]:
    """The table, without its middle where it is long."""
    lines = str(timeline).splitlines()
    if len(lines) > MOST_ROWS:
        half = MOST_ROWS // 2
        lines = [*lines[:half], f"… {len(lines) - MOST_ROWS} events not shown", *lines[-half:]]
    return [f"The timeline of {plan}:", *indented(lines)]
