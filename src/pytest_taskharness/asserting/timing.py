"""Assertions about when, and in which order, runs started."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ..timeline import Event, Run
from .announced import never_came
from .evidence import Asserting, Evidence
from .lookup import find_runs, name_of, the_run
from .matchers import is_signature
from .story import unmet
from .texts import aligned, capped, indented, seconds, start_text

__all__ = ["TimingAssertions"]

__tracebackhide__ = True


class TimingAssertions(Asserting):
    """When runs started; ``x`` is as for :meth:`~.lookup.Lookup.run_of`.

    An instant is an aware datetime, or a timedelta since the start of the timeline.
    """

    def assert_ran_at(self, x: Any, when: datetime | timedelta) -> Run:
        """The last attempt of the run started at exactly this instant of virtual time.

        Raises:
            AssertionError: It started at another, or never.
            TimeTravelError: ``when`` has no timezone.
        """
        instant, run = _instant(self._evidence, when), the_run(self._evidence, x)
        if run.started_at is None:
            raise unmet(run, self._evidence, goal=f"run at {_when(self._evidence, instant)}", reason="it never started")
        if run.started_at != instant:
            late = run.started_at - instant
            apart = f"{seconds(abs(late))} too {'late' if late > timedelta(0) else 'early'}"
            reason = f"it started at {_when(self._evidence, run.started_at)}, {apart}"
            raise unmet(run, self._evidence, goal=f"run at {_when(self._evidence, instant)}", reason=reason)
        return run

    def assert_not_before(self, x: Any, when: datetime | timedelta) -> Run:
        """No attempt of the run started before this instant.

        A run that never started holds as well, once the virtual clock has come so far.

        Raises:
            AssertionError: One did, or it still could.
            TimeTravelError: ``when`` has no timezone.
        """
        instant, run = _instant(self._evidence, when), the_run(self._evidence, x)
        goal = f"not run before {_when(self._evidence, instant)}"
        first = run.attempts[0].started_at if run.attempts else None
        if first is not None and first < instant:
            reason = f"it started at {_when(self._evidence, first)}, {seconds(instant - first)} too early"
            raise unmet(run, self._evidence, goal=goal, reason=reason)
        if first is None and self._evidence.now < instant and not run.finished:
            reason = f"it has not started yet and it is only {self._evidence.offset(self._evidence.now)}"
            raise unmet(run, self._evidence, goal=goal, reason=reason)
        return run

    def assert_ran_in_order(self, *tasks: Any) -> list[Run]:
        """Runs of these started one after the other; others may have started in between.

        Args:
            tasks: Tasks, names, results, ids, signatures or runs.

        Returns:
            The run that was found for each.

        Raises:
            AssertionError: One of them did not start after the one before.
            TypeError: Nothing was given, or something that means no run.
        """
        if not tasks:
            raise TypeError("assert_ran_in_order() needs at least one task")
        starts = _starts(self._evidence)
        matched: list[Event] = []
        for task in tasks:
            ids = {run.id for run in find_runs(self._evidence, task)}
            last, name = matched[-1].seq if matched else -1, _name_of_task(task)
            # After self.replace() one id has several tasks.
            meant = [event for event in starts if event.id in ids]
            meant = [event for event in meant if event.task == name] or meant
            found = next((event for event in meant if event.seq > last), None)
            if found is None:
                started = bool(meant)
                raise AssertionError(_out_of_order(self._evidence, tasks, matched, started=started))
            matched.append(found)
        return [Run(self._evidence.timeline, str(event.id)) for event in matched]


def _out_of_order(evidence: Evidence, tasks: Sequence[Any], matched: list[Event], *, started: bool) -> str:
    names = [name_of(evidence, task) for task in tasks]
    missing, before = names[len(matched)], names[len(matched) - 1]
    reason = f"{missing} did not start after {before}" if started else f"{missing} never started"
    why = None if started else never_came(evidence, missing)
    marks = {event.seq: f"{place}." for place, event in enumerate(matched, 1)}
    rows = [
        (marks.get(event.seq, ""), evidence.offset(event.at), start_text(evidence.timeline, event))
        for event in _starts(evidence)
    ]
    wanted = indented(f"{place}. {name}" for place, name in enumerate(names, 1))
    found = ["; what started:", *indented(capped(aligned(rows)))] if rows else ["; nothing has started at all"]
    hints = [f"hint: {why}"] if why else []
    return "\n".join(["expected these to run, in this order", *wanted, f"but {reason}{found[0]}", *found[1:], *hints])


def _name_of_task(x: Any) -> str | None:
    """The task's name, where a test gave a task, a name or a signature."""
    if is_signature(x):
        return str(x["task"])
    found = x if isinstance(x, str) else getattr(x, "name", None)
    return found if isinstance(found, str) else None


def _starts(evidence: Evidence) -> list[Event]:
    return [event for event in evidence.timeline if event.kind in {"start", "callback"}]


def _instant(evidence: Evidence, when: datetime | timedelta) -> datetime:
    return evidence.instant(when, since=evidence.timeline.start)


def _when(evidence: Evidence, instant: datetime) -> str:
    return f"{evidence.offset(instant)} ({instant.isoformat()})"
