"""What is to go wrong: which fault strikes which task, at which instant of its delivery.  Knows nothing of Celery."""

from __future__ import annotations

from .luck import Luck
from .script import Fault, Point, Script, Watched
from .windows import DEATHS, WINDOWS, CrashWindow, check_line, crash_windows

__all__ = [
    "DEATHS", "WINDOWS", "CrashWindow", "Fault", "Luck", "Point", "Script", "Watched", "check_line", "crash_windows",
]  # fmt: skip
