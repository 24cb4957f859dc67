"""The section that a report shows for one harness."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ..timeline import Timeline
from ..timeline.table import render

__all__ = ["MAX_ROWS", "section"]

#: A table longer than this loses its middle: both the beginning and the failure stay in sight.
MAX_ROWS = 200


class Recorded(Protocol):
    """What has a timeline to show."""

    mode: str
    seed: int
    timeline: Timeline


def section(harness: Recorded) -> tuple[str, str]:
    """The title and the text of the section."""
    title = f"taskharness timeline ({harness.mode}, seed {harness.seed})"
    try:
        return title, _text(harness.timeline.start, harness.timeline)
    except Exception as error:  # noqa: BLE001 - a user's repr that raises must not end the whole session
        return title, f"the timeline could not be drawn: {type(error).__name__} in a repr"


def _text(start: datetime, timeline: Timeline) -> str:
    lines = render(start, timeline.events).splitlines()
    if not lines:
        return f"nothing was published or run (t+0.000s is {start.isoformat()})"
    cut = len(lines) - MAX_ROWS
    if cut > 0:
        half = MAX_ROWS // 2
        lines = [*lines[:half], f"… {cut} events not shown; harness.timeline has them all", *lines[-half:]]
    return "\n".join([f"t+0.000s is {start.isoformat()}", *lines])
