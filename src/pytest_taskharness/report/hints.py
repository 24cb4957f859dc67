"""What a failed test of somebody new to a stepped worker most often means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..timeline import Timeline
from .section import Recorded

__all__ = ["hints"]

TITLE = "taskharness: a stepped worker"
#: The states that are left when a body has ended; any other one belongs to a body that runs.
LEFT = {"SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED", "IGNORED"}


def hints(error: BaseException, harnesses: Iterable[Recorded]) -> Iterator[tuple[str, str]]:
    """Sections for the report of a failed test, unless its error is one of ours, which says more itself."""
    if _is_ours(error):
        return
    for harness in harnesses:
        text = "" if _goes_by_itself(harness.mode) else _undriven(harness.timeline) or _passed(error, harness.timeline)
        if text:
            yield TITLE, text


def _goes_by_itself(mode: str) -> bool:
    return mode == "eager" or mode.endswith("+process")


def _is_ours(error: BaseException) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    name = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] == "pytest_taskharness"


def _undriven(timeline: Timeline) -> str:
    kinds = [event.kind for event in timeline.events]
    if not kinds or set(kinds) != {"publish"}:
        return ""
    messages = f"{len(kinds)} message{'s were' if len(kinds) != 1 else ' was'}"
    return (
        f"{messages} published, and nothing drove the worker; result.get(), time.sleep() and harness.settle() do\n"
        "Around code that waits for something else (a socket, a key of a Redis, a thread): with harness.background():"
    )


def _passed(error: BaseException, timeline: Timeline) -> str:
    text = str(error)
    stored = {str(event.detail.get("state")) for event in timeline.events if event.kind == "store"}
    named = sorted(state for state in stored - LEFT if repr(state) in text)
    if not named or "'RECEIVED'" in text:  # a whole history was compared
        return ""
    return (
        f"{named[0]} was stored, but a body runs to its end in one wait of the test, which sees what comes after it\n"
        "All states: harness.run_of(result).states; to look while a body runs: harness.bring_to(result, 'running')"
    )
