"""Which line of the user's code did this?"""

from __future__ import annotations

import sys
from types import FrameType

from ..timeline import CallSite

__all__ = ["call_site"]

#: Frames of these packages are on the way from the user's line to us.
_PLUMBING = frozenset({"celery", "kombu", "vine", "pytest_taskharness", "amqp", "billiard", "contextlib"})
#: Here the user's code ends: what is published above it, Celery publishes by itself (the next link of a chain), or
#: Hypothesis by a rule of ours.
_BOUNDARY = frozenset({"pytest_taskharness.worker.pool", "pytest_taskharness.process.tracing", "hypothesis.stateful"})


def call_site(root: str = "") -> CallSite | None:
    """The innermost frame of the user, its file as seen from ``root``, or None where Celery acts by itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name in _BOUNDARY:
            return None
        if name.partition(".")[0] not in _PLUMBING:
            return CallSite(frame.f_code.co_filename.removeprefix(root), frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None
