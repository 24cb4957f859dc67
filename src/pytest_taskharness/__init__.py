"""Test a Celery project the way it runs in production, deterministically, in milliseconds.

The public surface is what ``__all__`` lists here, plus :mod:`pytest_taskharness.errors`.  Nothing is imported
before it is asked for: an installed and unused plugin costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asserting import exactly, including
    from .clock.virtual import Clock
    from .faults import CrashWindow, Fault, crash_windows
    from .harness import Broker, Harness, Worker
    from .timeline import Attempt, CallSite, Event, Message, Run, State, Tally, Timeline
    from .worker.report import Report

__all__ = [
    "Attempt",
    "Broker",
    "CallSite",
    "Clock",
    "CrashWindow",
    "Event",
    "Fault",
    "Harness",
    "Message",
    "Report",
    "Run",
    "State",
    "Tally",
    "Timeline",
    "Worker",
    "crash_windows",
    "exactly",
    "including",
]

__version__ = "0.1.0"

_HOMES = {
    "Broker": "harness",
    "Clock": "clock.virtual",
    "Harness": "harness",
    "Report": "worker.report",
    "Worker": "harness",
    "CrashWindow": "faults",
    "Fault": "faults",
    "crash_windows": "faults",
    "exactly": "asserting",
    "including": "asserting",
    **dict.fromkeys(["Attempt", "CallSite", "Event", "Message", "Run", "State", "Tally", "Timeline"], "timeline"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "errors"]
