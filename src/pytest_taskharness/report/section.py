"""The sections that a report shows for one harness."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ..timeline import Timeline
from ..timeline.table import folded, render

__all__ = ["MAX_ROWS", "sections"]

#: A table longer than this loses its middle: both the beginning and the failure stay in sight.
MAX_ROWS = 200


class Recorded(Protocol):
    """What has a timeline to show."""

    mode: str
    seed: int
    timeline: Timeline

    @property
    def worker_logs(self) -> dict[str, str]:
        """The end of each worker's log."""


def sections(harness: Recorded) -> list[tuple[str, str]]:
    """Titles and texts: the timeline, and the logs of real workers."""
    logs = [(f"taskharness log of worker {name!r}", text) for name, text in harness.worker_logs.items()]
    return [_timeline(harness), *logs]


def _timeline(harness: Recorded) -> tuple[str, str]:
    title = f"taskharness timeline ({harness.mode}, seed {harness.seed})"
    try:
        return title, _text(harness.timeline.start, harness.timeline)
    except Exception as error:  # noqa: BLE001 - a user's repr that raises must not end the whole session
        return title, f"the timeline could not be drawn: {type(error).__name__} in a repr"


def _text(start: datetime, timeline: Timeline) -> str:
    lines = folded(render(start, timeline.events).splitlines())
    if not lines:
        return f"nothing was published or run (t+0.000s is {start.isoformat()})"
    cut = len(lines) - MAX_ROWS
    if cut > 0:
        half = MAX_ROWS // 2
        lines = [*lines[:half], f"… {cut} events not shown; harness.timeline has them all", *lines[-half:]]
    return "\n".join([f"t+0.000s is {start.isoformat()}", *lines])
