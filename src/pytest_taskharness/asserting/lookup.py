"""Finding the run that a test means."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from ..errors import AmbiguousRun, NoSuchRun
from ..timeline import Message, Run
from .announced import never_came
from .evidence import Asserting, Evidence
from .expectation import Expectation
from .matchers import is_signature
from .texts import counted, indented, run_rows
from .waiting import applied, uncommitted, undriven

__all__ = ["Lookup", "find_runs", "name_of", "the_run"]

__tracebackhide__ = True

MOST_NOTES = 3


class Lookup(Asserting):
    """``run_of`` and ``runs``."""

    def run_of(self, x: Any) -> Run:
        """The only run that ``x`` means.

        Args:
            x: A task, a task's name, a result, an id, a message, a signature (the runs of the messages that match
                it), or a run.

        Raises:
            AmbiguousRun: There are several; all are listed.
            NoSuchRun: There is none; the nearest are listed.
            TypeError: ``x`` is none of these.
        """
        return the_run(self._evidence, x)

    def runs(self, x: Any = None) -> list[Run]:
        """All runs, or those that ``x`` means, in the order in which they were first heard of.

        Args:
            x: As for :meth:`run_of`; None means all.

        Raises:
            TypeError: ``x`` means no run.
        """
        return self._evidence.timeline.runs() if x is None else find_runs(self._evidence, x)


def the_run(evidence: Evidence, x: Any) -> Run:
    """The only run that ``x`` means; see :meth:`Lookup.run_of`."""
    found = find_runs(evidence, x)
    if len(found) == 1:
        return found[0]
    raise _ambiguous(evidence, x, found) if found else _nothing(evidence, x)


def find_runs(evidence: Evidence, x: Any) -> list[Run]:
    """The runs that ``x`` means; see :meth:`Lookup.run_of`."""
    if isinstance(x, Run):
        return [x]
    if is_signature(x):
        units = Expectation(x, evidence).matches(evidence.messages())
        return _by_ids(evidence, (message.id for unit in units for message in unit.messages))
    if isinstance(x, str):
        return evidence.timeline.runs(str(x)) or _by_ids(evidence, [x])
    if isinstance(getattr(x, "results", None), list):
        return [run for result in x.results for run in find_runs(evidence, result)]
    # An id goes first: to ask an AsyncResult for its name is to ask the backend.
    if isinstance(getattr(x, "id", None), str):
        return _by_ids(evidence, [x.id])
    if isinstance(getattr(x, "name", None), str):
        return evidence.timeline.runs(str(x.name))
    raise TypeError(f"expected a run, a task, a task's name, a result or an id; got {x!r}")


def _by_ids(evidence: Evidence, ids: Iterable[str]) -> list[Run]:
    found = (evidence.timeline.run(str(task_id)) for task_id in dict.fromkeys(ids))
    return [run for run in found if run is not None]


def name_of(evidence: Evidence, x: Any) -> str:
    """What a test called it, for a text."""
    if is_signature(x):
        return " ".join(map(str.strip, Expectation(x, evidence).lines(evidence.messages())))
    if isinstance(x, (Run, Message)):
        return f"{x.task} {x.id}"
    named = x if isinstance(x, str) else getattr(x, "id", None) or getattr(x, "name", None)
    return str(named if isinstance(named, str) else x)


def _ambiguous(evidence: Evidence, x: Any, found: list[Run]) -> AmbiguousRun:
    rows = run_rows(found, evidence.timeline.start, most=len(found))
    hint = "hint: give the result or the id of one, or loop over runs()"
    return AmbiguousRun(
        "\n".join([f"{len(found)} runs of {name_of(evidence, x)}, which one is meant?", *indented(rows), hint])
    )


def _nothing(evidence: Evidence, x: Any) -> NoSuchRun:
    name = name_of(evidence, x)
    runs = sorted(evidence.timeline.runs(), key=lambda run: -_likeness(name, run))
    reason = never_came(evidence, name)
    told = [reason] if reason else applied(x) or undriven(evidence, runs) or uncommitted(evidence)
    hints = [f"hint: {hint}" for hint in told]
    if not runs:
        return NoSuchRun("\n".join([f"no run of {name}: nothing has been published or run", *hints]))
    rows = run_rows(runs, evidence.timeline.start)
    head = f"no run of {name}; there {'is' if len(runs) == 1 else 'are'} {counted(len(runs), 'run')}, nearest first:"
    return NoSuchRun("\n".join([head, *indented(rows), *hints, *_poisoned(evidence)]))


def _poisoned(evidence: Evidence) -> list[str]:
    """What no worker could take: perhaps it was meant."""
    notes = (event.detail.get("note") for event in evidence.timeline if event.kind == "poison")
    return [f"hint: a worker has refused a message: {note}" for note in list(dict.fromkeys(notes))[:MOST_NOTES]]


def _likeness(name: str, run: Run) -> float:
    return max(SequenceMatcher(None, name, other).ratio() for other in (str(run.task), run.id))
