"""Which line of the user's code did this?"""

from __future__ import annotations

import sys
from types import FrameType

from ..timeline import CallSite

__all__ = ["BEAT_ENTRY", "call_site"]

#: Frames of these packages are on the way from the user's line to us.
_PLUMBING = frozenset({"celery", "kombu", "vine", "pytest_taskharness", "amqp", "billiard", "contextlib"})
#: Here the user's code ends: what is published above it, Celery publishes by itself (the next link of a chain), or
#: Hypothesis by a rule of ours.
_BOUNDARY = frozenset({
    "pytest_taskharness.worker.bodies.pool", "pytest_taskharness.process.inside.tracing", "hypothesis.stateful",
})  # fmt: skip
#: Here a beat, of the test's own process or of a worker, sends an entry, which stands in the place of a function.
_BEATS = frozenset({"pytest_taskharness.beat.source", "pytest_taskharness.process.inside.beating"})
BEAT_ENTRY = "beat entry"


def call_site(root: str = "") -> CallSite | None:
    """The innermost frame of the user, its file as seen from ``root``, or None where Celery acts by itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name in _BOUNDARY:
            return None
        if name in _BEATS:
            entry = frame.f_locals.get("entry")
            return None if entry is None else CallSite(BEAT_ENTRY, 0, entry.name)
        if name.partition(".")[0] not in _PLUMBING:
            return CallSite(frame.f_code.co_filename.removeprefix(root), frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None
