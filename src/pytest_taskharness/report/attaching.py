"""What an error carries from a harness that pytest knows nothing of to the report of its test."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

from .section import Recorded, sections

__all__ = ["attach_harness", "attach_section", "attached"]

_ATTRIBUTE = "_taskharness_parts"


def attach_harness(error: BaseException, harness: Recorded) -> None:
    """Let the report of this error show what happened in a harness, drawn only where there is such a report."""
    logs = harness.worker_logs  # nobody can ask for them once it is closed
    kept = SimpleNamespace(mode=harness.mode, seed=harness.seed, timeline=harness.timeline, worker_logs=logs)
    vars(error).setdefault(_ATTRIBUTE, []).append(kept)


def attach_section(error: BaseException, title: str, text: str) -> None:
    """Let the report of this error have one more section."""
    vars(error).setdefault(_ATTRIBUTE, []).append((title, text))


def attached(error: BaseException, *, timelines: bool = True) -> Iterator[tuple[str, str]]:
    """The sections of this error, or of those in its group: titles and texts, with or without what happened."""
    for part in vars(error).get(_ATTRIBUTE, ()):
        if isinstance(part, tuple):
            yield part
        elif timelines:
            yield from sections(part)
    for inner in getattr(error, "exceptions", ()):
        if isinstance(inner, BaseException):
            yield from attached(inner, timelines=timelines)
