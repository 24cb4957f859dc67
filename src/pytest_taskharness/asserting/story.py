"""What became of one run: its states, its error and its attempts, for a failure text."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from textwrap import dedent

from ..timeline import Run
from .announced import name_of_run, never_came
from .evidence import Evidence
from .matching import error_text
from .texts import aligned, seconds, show

__all__ = ["advice", "cause_of", "retries_of", "unmet"]

__tracebackhide__ = True

_TRACEBACK_LINES = 4
_MOST = 12
_OUR_FRAME = f'  File "{Path(__file__).parents[1]}{os.sep}'


def unmet(
    run: Run, evidence: Evidence, *, goal: str, reason: str, hints: Sequence[str] = ()
) -> AssertionError:  # fmt: skip
    """The failure of a run that did not do what was expected of it, with its story and what may help."""
    lines = [f"expected {name_of_run(evidence, run)} to {goal}", f"but {reason}", *_story(run, evidence)]
    return AssertionError("\n".join([*lines, *(hints or advice(run, evidence))]))


def _story(run: Run, evidence: Evidence) -> list[str]:
    """States with virtual times, the error with the end of its traceback, attempts with their delays."""
    sections = (("states", _states(run, evidence)), ("error", _error(run)), ("attempts", _attempts(run, evidence)))
    lines = []
    for title, section in sections:
        lines += [f"{title if place == 0 else '':10}{line}" for place, line in enumerate(_ends_of(section))]
    return [f"    {line}".rstrip() for line in lines]


def _ends_of(items: Sequence[str]) -> list[str]:
    """The first and the last of many: a message that is redelivered each hour makes a long story."""
    if len(items) <= _MOST:
        return list(items)
    return [*items[: _MOST // 2], f"… {len(items) - _MOST} more", *items[-_MOST // 2 :]]


def _states(run: Run, evidence: Evidence) -> list[str]:
    """One line for each instant."""
    moments = groupby(run.states, key=lambda state: state.at)
    return aligned((evidence.offset(at), " ".join(_ends_of(list(states)))) for at, states in moments if at is not None)


def _error(run: Run) -> list[str]:
    if run.error is None:
        return []
    text = error_text(run.error)
    # The traceback ends with the error itself, which has been said, and may have a line of carets.
    before, said, rest = (run.traceback or "").rstrip().rpartition(text)
    trace = before.split("\n")[:-1] if said else rest.split("\n")
    lines = [line for line in _without_our_frames(trace) if line.strip(" ^~")]
    return [*text.splitlines(), *dedent("\n".join(lines[-_TRACEBACK_LINES:])).splitlines()]


def _without_our_frames(trace: Sequence[str]) -> list[str]:
    """The frames of a traceback that are the user's or Celery's; all of it where it has none."""
    if not any(line.startswith("  File ") for line in trace):
        return list(trace)
    kept, ours = [], True
    for line in trace:
        if line.startswith("  File "):
            ours = line.startswith(_OUR_FRAME)
        if not ours and line.startswith("  "):
            kept.append(line)
    return kept


def _attempts(run: Run, evidence: Evidence) -> list[str]:
    """One line for each; none for a single one, of which the states say all."""
    attempts, delays = run.attempts, iter(run.retry_delays)
    if len(attempts) < 2:
        return []
    rows, replaced = [], len(run.tasks) > 1
    for attempt in attempts:
        error = "" if attempt.error is None else show(cause_of(attempt.error))
        delay = next(delays, None) if attempt.outcome == "RETRY" else None
        where = f"on {attempt.worker}{', redelivered' * attempt.redelivered}" if attempt.worker else ""
        waited = "" if delay is None else f"again after {seconds(delay)}"
        when, outcome = evidence.offset(attempt.started_at), attempt.outcome or "never ended"
        task = str(attempt.task or "") if replaced else ""
        rows.append([str(attempt.number), when, task, outcome, error, waited, where])
    return aligned(_without_empty_columns(rows))


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows)]
    return [[row[place] for place in kept] for row in rows]


def cause_of(error: BaseException) -> BaseException:
    """The exception behind Celery's ``Retry``, which carries it as ``exc``; any other is its own cause."""
    cause = getattr(error, "exc", None)
    return cause if isinstance(cause, BaseException) else error


def retries_of(run: Run) -> list[BaseException | None]:
    """Why each retry was asked for."""
    retried = (attempt.error for attempt in run.attempts if attempt.outcome == "RETRY")
    return [None if error is None else cause_of(error) for error in retried]


def advice(run: Run, evidence: Evidence) -> list[str]:
    """What to do about a run that has not come to its end, that no worker could take, or that came again."""
    return [*_advice(run, evidence), *_taken_for_lost(run)]


def _taken_for_lost(run: Run) -> list[str]:
    count = sum(event.kind == "restore" for event in run.timeline)
    notes = [str(event.detail.get("note", "")) for event in run.timeline if event.kind == "restore"]
    last = notes[-1] if notes else ""
    by_redis = re.fullmatch(r"not acknowledged for \S+ s", last) is not None
    knob = " (visibility_timeout in broker_transport_options)" if by_redis else ""
    return [f"hint: it was redelivered {count} time{'s' * (count > 1)}: {last}{knob}"] if count else []


def _advice(run: Run, evidence: Evidence) -> list[str]:
    poison = next((event for event in run.timeline if event.kind == "poison"), None)
    if poison is not None:
        return [f"hint: {poison.detail.get('note')}"]
    reason = None if run.attempts else never_came(evidence, run.id)
    return [f"hint: {reason}"] if reason else _what_to_drive(run, evidence)


def _what_to_drive(run: Run, evidence: Evidence) -> list[str]:
    if run.finished:
        return []
    if run.eta is not None and run.eta > evidence.now and run.state in {"PENDING", "RECEIVED", "RETRY"}:
        due = f"it is due at {evidence.offset(run.eta)} and it is {evidence.offset(evidence.now)} now"
        return [f"hint: {due}: call harness.clock.advance(), or harness.settle()"]
    if run.state in {"PENDING", "RETRY"} and (stuck := evidence.stuck(run)) is not None:
        return [f"hint: {stuck}"]
    if run.state == "PENDING":
        return ["hint: nothing has driven it yet: call harness.drain() or harness.settle()"]
    return ["hint: it has not come to its end: call harness.drain() or harness.settle()"]
