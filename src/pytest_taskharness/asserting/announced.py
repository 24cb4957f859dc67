"""What a message announces and nobody has published: the links after one that failed, the body of a broken chord."""

from __future__ import annotations

from ..timeline import Run, short_id
from ..timeline.announced import Announced, announced
from .evidence import Evidence
from .matching import error_text
from .texts import run_text

__all__ = ["name_of_run", "never_came"]

__tracebackhide__ = True

_ENDS = {"FAILURE": "failed", "REVOKED": "was revoked", "IGNORED": "was ignored", "REJECTED": "was rejected"}


def never_came(evidence: Evidence, wanted: str) -> str | None:
    """Why a task, given by name or id, never started; None where nobody has announced it."""
    told = [(each, how) for each in _of(evidence, wanted) if (how := _how_it_went(evidence, each)) is not None]
    ended = next(((each, how) for each, how in told if not how.startswith("has not")), None)
    if not told:
        return None
    each, how = ended or told[-1]
    before = run_text(Run(evidence.timeline, each.message.id))
    return f"{each.task} {'never started' if ended else 'has not started'}: {each.after}, {before}, {how}"


def name_of_run(evidence: Evidence, run: Run) -> str:
    """A run as text; the backend stores the failure of what was never published, and knows no name."""
    known = None if run.tasks else next(iter(_of(evidence, run.id)), None)
    return run_text(run) if known is None else f"{known.task}(...) {short_id(run.id)}"


def _of(evidence: Evidence, wanted: str) -> list[Announced]:
    messages = evidence.timeline.messages()
    return [each for message in messages for each in announced(message) if wanted in (each.task, each.id)]


def _how_it_went(evidence: Evidence, each: Announced) -> str | None:
    """What became of the task before; None where it was not that."""
    run = Run(evidence.timeline, each.message.id)
    outcome = run.attempts[-1].outcome if run.attempts and run.state not in _ENDS else str(run.state)
    if run.state == "SUCCESS" or outcome == "SUCCESS":
        return None
    if outcome not in _ENDS:
        return f"has not ended yet ({run.state}): call harness.settle()"
    at = next((event.at for event in reversed(list(run.timeline)) if event.kind in {"finish", "revoke"}), None)
    when = f" at {evidence.offset(at)}" if at is not None else ""
    why = "" if run.error is None or outcome != "FAILURE" else f" with {error_text(run.error)}"
    return f"{_ENDS[outcome]}{when}{why}"
