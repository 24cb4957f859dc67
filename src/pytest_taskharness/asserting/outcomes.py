"""Assertions about how a run went."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ..timeline import Run, State
from .backoff import Backoff
from .evidence import Asserting, Evidence
from .lookup import the_run
from .matching import Verdict, compare, error_text
from .story import advice, retries_of, unmet
from .texts import aligned, indented, run_text, show

__all__ = ["OutcomeAssertions"]

__tracebackhide__ = True

ExceptionTypes = Any

#: Nothing was asked: None is a value that can be expected.
UNASKED: Any = object()


class OutcomeAssertions(Asserting):
    """What became of a run.

    In all of them ``x`` is a run, a task (which must have one run), a task's name, a result, an id or a signature.
    All return the run, and raise what :meth:`~.lookup.Lookup.run_of` raises.
    """

    def assert_states(self, x: Any, states: Sequence[Any]) -> Run:
        """The run went through exactly these states, custom ones included.

        Args:
            x: Which run.
            states: All states in order, such as ``["PENDING", "RECEIVED", "STARTED", "SUCCESS"]``.

        Raises:
            AssertionError: It went through others; both lists are shown, with a mark at the first difference.
            TypeError: ``states`` is a string.
        """
        if isinstance(states, str):
            raise TypeError(f"assert_states() takes a list of states, got {states!r}")
        run = the_run(self._evidence, x)
        table = [(*pair, _same_state(*pair)) for pair in zip_longest(states, run.states)]
        if not all(verdict.holds for _, _, verdict in table):
            rows = aligned(_state_rows(table, self._evidence))
            head = [f"expected {run_text(run)} to go through other states:", *indented(rows)]
            raise AssertionError("\n".join([*head, *advice(run, self._evidence)]))
        return run

    def assert_succeeded(self, x: Any, returns: Any = UNASKED) -> Run:
        """The run ended in ``SUCCESS``.

        Args:
            x: Which run.
            returns: What it returned, as the result backend keeps it: a value or a matcher.  A tuple equals a list.

        Raises:
            AssertionError: It did not, or it returned something else.
        """
        run = the_run(self._evidence, x)
        if run.state != "SUCCESS":
            raise unmet(run, self._evidence, goal="succeed", reason=f"its state is {run.state}")
        verdict = compare(returns, run.result) if returns is not UNASKED else Verdict(True)
        if not verdict.holds:
            raise AssertionError(_wrong_result(run, returns, verdict.note))
        return run

    def assert_failed(self, x: Any, exc: ExceptionTypes = None, match: str | None = None) -> Run:
        """The run ended in ``FAILURE``.

        Args:
            x: Which run.
            exc: The type of its error, or a tuple of types.
            match: A regular expression that the message of the error contains, as for ``pytest.raises``.

        Raises:
            AssertionError: It did not fail, or with another error.
            TypeError: ``exc`` is no exception type.
        """
        kinds, run = _exception_types(exc), the_run(self._evidence, x)
        goal = "fail" + (f" with {_names(kinds)}" if kinds else "")
        goal += f" matching {match!r}" if match is not None else ""
        if run.state != "FAILURE":
            raise unmet(run, self._evidence, goal=goal, reason=f"its state is {run.state}")
        found = "an unknown error" if run.error is None else error_text(run.error)
        if kinds and not _is_one_of(run.error, kinds):
            raise unmet(run, self._evidence, goal=goal, reason=f"it failed with {found}")
        if match is not None and not re.search(match, str(run.error)):
            literal = re.search(re.escape(match), str(run.error))
            hints = ["hint: match is a regular expression; use re.escape()"] if literal else []
            raise unmet(run, self._evidence, goal=goal, reason=f"it failed with {found}", hints=hints)
        return run

    def assert_retried(
        self, x: Any, *, times: int | None = None, delays: Sequence[Any] | None = None, exc: ExceptionTypes = None
    ) -> Run:  # fmt: skip
        """The run was retried (https://docs.celeryq.dev/en/stable/userguide/tasks.html#retrying).

        Args:
            x: Which run.
            times: How often; the default asks for once or more.
            delays: The seconds that each retry was asked to wait; items may be matchers.
            exc: The type of the error behind every retry, or a tuple of types.

        Raises:
            AssertionError: It was not, or not so.
            TypeError: ``exc`` is no exception type.
        """
        kinds, run = _exception_types(exc), the_run(self._evidence, x)
        causes, found = retries_of(run), run.retry_delays
        if times is None and delays is None and not causes:
            raise unmet(run, self._evidence, goal="be retried", reason="it never was")
        if times is not None and len(causes) != times:
            raise unmet(run, self._evidence, goal=f"be retried {_often(times)}", reason=_was_retried(len(causes)))
        if delays is not None and not compare(list(delays), found).holds:
            goal = f"be retried after {show(list(delays))} s"
            raise unmet(run, self._evidence, goal=goal, reason=f"the delays were {found} s")
        wrong = [(number, cause) for number, cause in enumerate(causes, 1) if kinds and not _is_one_of(cause, kinds)]
        for number, cause in wrong:
            reason = f"retry {number} was for {show(cause)}"
            raise unmet(run, self._evidence, goal=f"be retried only for {_names(kinds)}", reason=reason)
        return run

    def assert_backoff(
        self, x: Any, *, factor: float = 1, maximum: float = 600, jitter: bool | str = False
    ) -> Run:  # fmt: skip
        """The delays of the retries grow as Celery's ``retry_backoff`` makes them.

        The n-th delay, counted from 0, is ``min(maximum, factor * 2**n)``
        (https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.retry_backoff).

        Args:
            x: Which run.
            factor: ``retry_backoff``; True there is 1 here.
            maximum: ``retry_backoff_max``.
            jitter: ``retry_jitter``: True or ``"full"`` allows each delay from 0 up to that bound.

        Raises:
            AssertionError: A delay is another, or nothing was retried.
            ValueError: ``jitter`` is none of these.
        """
        backoff = Backoff(factor, maximum, jitter=jitter)
        run = the_run(self._evidence, x)
        delays = [(message.retries, message.countdown or 0) for message in run.messages if message.retries]
        if not delays:
            raise unmet(run, self._evidence, goal=f"back off by {backoff}", reason="it was never retried")
        if not backoff.holds(delays):
            rows = indented(aligned(backoff.rows(delays)))
            head = [f"expected {run_text(run)} to back off by {backoff}, but"]
            raise AssertionError("\n".join([*head, *rows, *backoff.hints(delays)]))
        return run


def _state_rows(table: list[tuple[Any, State | None, Verdict]], evidence: Evidence) -> list[list[str]]:
    rows, marked = [["expected", "found", "", ""]], False
    for wanted, found, verdict in table:
        at = evidence.offset(found.at) if found is not None and found.at else ""
        mark = "" if marked or verdict.holds else "<-- first difference"
        note = f" ({verdict.note})" if mark and verdict.note else ""
        marked = marked or not verdict.holds
        rows.append([_state_text(wanted), _state_text(found), at, mark + note])
    return rows


def _wrong_result(run: Run, returns: Any, note: str) -> str:
    kept = any(event.kind == "store" and "result" in event.detail for event in run.timeline)
    lines = [f"expected {run_text(run)} to return", f"    {show(returns)}", "but it returned"]
    lines.append(f"    {show(run.result)}" + (f"   ({note})" if note else ""))
    return "\n".join([*lines, *([] if kept else ["hint: no result was stored; does the task ignore its result?"])])


def _same_state(wanted: Any, found: State | None) -> Verdict:
    # zip_longest fills the shorter list with None, and None is no state.
    return Verdict(False) if wanted is None or found is None else compare(wanted, found)


def _state_text(state: Any) -> str:
    return "-" if state is None else str(state) if isinstance(state, str) else show(state)


def _exception_types(exc: Any) -> tuple[type[BaseException], ...]:
    kinds = exc if isinstance(exc, tuple) else () if exc is None else (exc,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"exc is an exception type or a tuple of them, got {kind!r}; use match= for its message")
    return kinds


def _is_one_of(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    # On a timeline from a file all that is left of an exception's type is its name.
    name = getattr(error, "type_name", None)
    return isinstance(error, kinds) or name in {kind.__name__ for kind in kinds}


def _names(kinds: tuple[type[BaseException], ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _was_retried(times: int) -> str:
    return f"it was retried {_often(times)}" if times else "it never was"
