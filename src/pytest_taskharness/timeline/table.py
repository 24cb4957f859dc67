"""A timeline as a table for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ..wording import thawed
from .events import Event, short_id

__all__ = ["arguments", "call", "folded", "offset", "render"]

#: The longest cycle that is looked for, and how often it comes at least before a page tells it once.
LONGEST_CYCLE, FEWEST_TURNS = 12, 10
_INSTANT = re.compile(r"t\+[\d.]+s")


def offset(start: datetime, at: datetime) -> str:
    """Virtual time since the start, as ``t+60.000s``; whole milliseconds unless it is finer than that."""
    seconds = (at - start).total_seconds()
    text = f"{seconds:.6f}" if round(seconds, 3) != seconds else f"{seconds:.3f}"
    return f"t{'+' if seconds >= 0 else ''}{text}s"


def arguments(detail: Any) -> str:
    """The arguments as they may be shown: Celery's own reprs where the publisher hid the values."""
    parts = [_unbracketed(str(detail.get("argsrepr") or "()")), _keywords(detail)]
    return thawed(", ".join(filter(None, parts)))


def _keywords(detail: Any) -> str:
    shown = str(detail.get("kwargsrepr") or "{}")
    values = detail.get("kwargs")
    # The repr of plain data is harmless; of anything else, Celery's safe one stands in the headers.
    if detail.get("hidden") or not isinstance(values, dict) or not all(map(_is_plain, values.values())):
        return "" if shown == "{}" else shown
    return ", ".join(f"{name}={value!r:.200}" for name, value in values.items())


def _is_plain(value: Any) -> bool:
    if type(value) in {list, tuple}:
        return all(map(_is_plain, value))
    return value is None or type(value) in {str, int, float, bool, datetime}


def _unbracketed(text: str) -> str:
    """The items of a tuple's or a list's repr; any other text as it is."""
    return text[1:-1].removesuffix(",") if f"{text[:1]}{text[-1:]}" in {"()", "[]"} else text


def call(event: Event) -> str:
    """A task call, as ``shop.tasks.charge(42, {'amount': 9})``."""
    return f"{event.task}({arguments(event.detail)})"


def render(start: datetime, events: Iterable[Event]) -> str:
    """One line for each event, columns aligned."""
    remarks = _Remarks(start)
    rows = [(offset(start, event.at), event.kind, _subject(event), remarks.on(event)) for event in events]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "\n".join(_line(row, widths) for row in rows)


def folded(lines: list[str]) -> list[str]:
    """The same for a page: of what comes again and again (a long eta is redelivered), the first turn and the last.

    Lines are the same where only their instants differ.
    """
    keys = [" ".join(_INSTANT.sub("", line).split()) for line in lines]
    shown: list[str] = []
    at = 0
    while at < len(lines):
        length, turns = _cycle(keys, at)
        if turns < FEWEST_TURNS:
            shown.append(lines[at])
            at += 1
            continue
        what = f"these {length} lines" if length > 1 else "this line"
        shown += [*lines[at : at + length], f"… {what} {turns - 2:,} more times"]
        at += length * (turns - 1)
        shown += lines[at : at + length]
        at += length
    return shown


def _cycle(keys: list[str], at: int) -> tuple[int, int]:
    """The shortest cycle that begins here and comes often enough, and how often it comes."""
    for length in range(1, LONGEST_CYCLE + 1):
        turns = 1
        while keys[at : at + length] == keys[at + turns * length : at + (turns + 1) * length]:
            turns += 1
        if turns >= FEWEST_TURNS:
            return length, turns
    return 1, 1


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    *cells, remark = row
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    # The repr of an error may have lines of its own (pydantic's has).
    return "  ".join([*padded, " ".join(map(str.strip, remark.splitlines()))]).rstrip()


def _subject(event: Event) -> str:
    return " ".join(filter(None, [event.task, short_id(event.id)]))


class _Remarks:
    """The last column: what is worth saying about each kind of event."""

    def __init__(self, start: datetime) -> None:
        self.origin = start

    def on(self, event: Event) -> str:
        say = getattr(self, "_" + event.kind.replace(" ", "_"), _note)
        worker = f"on {event.worker}" if event.worker else ""
        return " ".join(filter(None, [worker, say(event)]))

    def _publish(self, event: Event) -> str:
        detail = event.detail
        parts = [
            f"({arguments(detail)})",
            f"queue={detail.get('queue')!r}",
            f"priority {detail['priority']}" if detail.get("priority") is not None else "",
            f"retry {detail['retries']}" if detail.get("retries") else "",
            f"eta {offset(self.origin, detail['eta'])}" if detail.get("eta") else "",
            f"at {detail['call_site']}" if detail.get("call_site") else "",
        ]
        return " ".join(filter(None, parts))

    def _deliver(self, event: Event) -> str:
        return f"from {event.detail.get('queue')!r}" + (" redelivered" if event.detail.get("redelivered") else "")

    def _store(self, event: Event) -> str:
        meta, error = event.detail.get("meta"), event.detail.get("error")
        # Without a task it was never published (a chord's body, say): no other line tells the error.
        what = meta if meta is not None or event.task else error
        return f"{event.detail.get('state')}" + (f" {what!r}" if what is not None else "")

    def _finish(self, event: Event) -> str:
        error = event.detail.get("error")
        return f"{event.detail.get('outcome')}" + (f" {error!r}" if error is not None else "")

    _retry = _callback = _finish

    def _reject(self, event: Event) -> str:
        return "requeued" if event.detail.get("requeue") else "dropped"

    def _beat_fire(self, event: Event) -> str:
        detail, due = event.detail, event.detail.get("due")
        late = f"due {offset(self.origin, due)}" if due is not None and due != event.at else ""
        return " ".join(filter(None, [f"{detail.get('entry')!r}", f"{detail.get('schedule', '')}", late]))

    def _clock_jump(self, event: Event) -> str:
        return f"to {offset(self.origin, event.detail['to'])}" if "to" in event.detail else ""


def _note(event: Event) -> str:
    return str(event.detail.get("note", ""))
