"""The texts of an exploration that has found something, or cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from ..wording import shown as value_shown
from .advice import RESULT, advice
from .differing import Difference
from .finding import STATE, Failure, Finding
from .passage import Passage
from .plans import Plan
from .stage import Subject
from .texts import columns, counted, indented, names, source_around, timeline_of, what_happened

__all__ = ["needs_reset", "not_idempotent", "not_the_same_twice"]

OPTION = "--taskharness-plan"
#: Which failure tells most: a line, then a window, then the plans that name no line.
_TELLING = ("crash", "again", "together")


def not_idempotent(
    subject: Subject, failures: Sequence[Failure], ran: Sequence[Plan], *, passage: Passage, notes: Sequence[str] = ()
) -> str:  # fmt: skip
    """Some plans have ended otherwise."""
    shown = min(failures, key=_rank)
    others = [failure.plan for failure in failures if failure is not shown]
    failed = {failure.plan.kind for failure in failures}
    passed = {plan.kind for plan in ran} - failed
    ends = "end" if len(failures) > 1 else "ends"
    lines = [
        f"plan {shown.plan}    {what_happened(shown.plan, shown.ending)}",
        *indented(_source(shown, passage)),
        str(shown.finding),
        *_state(shown),
        *([f"Also: {names(others)}"] if others else []),
        *notes,
        advice(failed, passed=passed, about=shown.finding.about, error=shown.ending.error),
        f"To run this plan alone: {OPTION}='{shown.plan}'",
        *timeline_of(shown.plan, shown.ending.timeline),
    ]
    head = (
        f"{subject.call} is not idempotent: {len(failures):,} of {counted(len(ran), 'plan')} {ends} otherwise than one "
        "clean run."
    )
    return "\n".join([head, *indented(filter(None, lines))])


def _rank(failure: Failure) -> tuple[int, bool]:
    window = failure.plan.window
    return _TELLING.index(failure.plan.kind), window is not None and window.name != "in_body"


def _source(failure: Failure, passage: Passage) -> list[str]:
    if failure.plan.kind == "together":
        return columns(failure.ending.steps)
    return source_around(passage, failure.plan.window) if failure.plan.window else []


def _state(failure: Failure) -> list[str]:
    """What the task has ended with, where another difference is shown: it may be why."""
    ending = failure.ending
    if ending.error is None or ending.state != "FAILURE" or failure.finding.about == STATE:
        return []
    return [f"its state: {ending.state}, {value_shown(ending.error)}"]


_STATE_COUNTS = (
    "let reset= put back all that observe() looks at and that the task depends on; leave out of observe() what is new "
    "each time (an id, a random number)."
)
_RESULT_COUNTS = (
    "let reset= put back all that the result depends on, also the sequence that primary keys come from; or let the "
    "task return what is the same each time: the result counts, whatever observe() looks at."
)


def not_the_same_twice(call: str, finding: Finding, *, has_reset: bool) -> str:
    """Two clean runs that should begin alike end differently."""
    what = "reset() does not reset, or" if has_reset else "reset= is missing, or"
    when = "each after reset()" if has_reset else "each in a harness of its own"
    return (
        f"{what} {call} does not do the same twice: two clean runs, {when}, end differently.\n"
        f"    {finding.about}: {finding.expected} after the first, {finding.found} after the second\n"
        f"To fix this, {_RESULT_COUNTS if finding.about == RESULT else _STATE_COUNTS}"
    )


def needs_reset(call: str, change: Difference, *, crashes: int, again_passed: bool) -> str:
    """The clean run has changed the state, and other plans have to start from where it started."""
    passed = ["Delivered once more after that, it changed nothing: plan again has passed."] if again_passed else []
    head = (
        f"{call} needs reset=: the clean run changes what observe() returns, and each of the other plans has to start "
        "from the same state."
    )
    lines = [
        f"observe(){change.path}: {change.expected} before the clean run, {change.found} after it",
        *passed,
        f"Not run: {counted(crashes, 'crash')}, and two copies at once.",
    ]
    hint = "To fix this, pass reset=, which puts the state back; or ask for plans='sequence', which needs none."
    return "\n".join([head, *indented(lines), hint])
