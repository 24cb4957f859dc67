"""Which line of the user's code did this?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

from ..timeline import CallSite

__all__ = ["call_site"]

#: Frames of these packages are on the way from the user's line to us.
_PLUMBING = frozenset({"celery", "kombu", "vine", "pytest_taskharness", "amqp", "billiard", "contextlib"})
#: Here the user's code ends: what is published above it, Celery publishes by itself (the next link of a chain).
_BOUNDARY = "pytest_taskharness.worker.pool"


def call_site() -> CallSite | None:
    """The innermost frame of the user, or None where Celery acts by itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name == _BOUNDARY:
            return None
        if name.partition(".")[0] not in _PLUMBING:
            return CallSite(_shortened(frame.f_code.co_filename), frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


def _shortened(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}{os.sep}")
