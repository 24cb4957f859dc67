"""Plans of what goes wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from .. import faults
from ..errors import ConfigurationError, hide_frames
from ..faults import CrashWindow, Fault
from ..harness import Harness
from .spelling import python_name, show_lines

__all__ = ["FaultPlan", "PlannedFault", "crash_windows", "fault_plans"]

__tracebackhide__ = hide_frames

#: What strikes in the worker; ``publish_unknown`` strikes in the test's own ``.delay()``, so it has to be asked for.
DEFAULT_KINDS = ("crash", "fail", "slow", "lose_result")
KINDS = (*DEFAULT_KINDS, "publish_unknown")


class PlannedFault:
    """One fault for one task, which may strike once.

    Attributes:
        kind: The verb of ``harness.faults``.
        task: The task.
        what: The window, the exception or the seconds.
    """

    def __init__(self, kind: str, task: Any, *what: Any) -> None:
        """Nothing is scripted yet."""
        self.kind = kind
        self.task = task
        self.what = what

    def apply(self, harness: Harness) -> Fault:
        """Script it; that no run comes to it is no mistake, as nobody has chosen it."""
        fault: Fault = getattr(harness.faults, self.kind)(self.task, *self.what, times=1)
        fault.must_strike = False
        return fault

    def __repr__(self) -> str:
        """As ``crash(charge, 'node@before_ack')``."""
        what = [repr(str(each)) if isinstance(each, CrashWindow) else _code(each) for each in self.what]
        once = ["times=1"] if self.kind in {"fail", "slow"} else []  # where each time is the default
        return f"{self.kind}({', '.join([python_name(self.task), *what, *once])})"


def _code(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


class FaultPlan:
    """Faults for one harness; :meth:`apply` scripts them.

    Attributes:
        faults: What goes wrong.
    """

    def __init__(self, planned: Sequence[PlannedFault] = ()) -> None:
        """Nothing is scripted yet."""
        self.faults = tuple(planned)

    def apply(self, harness: Harness) -> list[Fault]:
        """Script all faults on ``harness.faults``.

        They are none that the test has asked for one by one, so none has to strike.  Hypothesis prints the lines that
        do the same, with the example that fails.
        """
        show_lines(f"harness.faults.{fault!r}" for fault in self.faults)
        return [fault.apply(harness) for fault in self.faults]

    def __bool__(self) -> bool:
        """Whether anything goes wrong."""
        return bool(self.faults)

    def __repr__(self) -> str:
        """As ``FaultPlan([crash(charge, 'node@before_ack')])``."""
        return f"FaultPlan({list(self.faults)})"


def crash_windows(task: Any, *, deaths: Iterable[str] = faults.DEATHS, lines: bool = True) -> st.SearchStrategy[Any]:
    """One of the windows at which a run of ``task`` can crash.

    Args:
        task: The Celery task.
        deaths: ``node``, ``child`` or both.
        lines: Whether to include the lines of the body.
    """
    return st.sampled_from(possible_windows(task, deaths=deaths, lines=lines))


def possible_windows(task: Any, *, deaths: Iterable[str] = faults.DEATHS, lines: bool = True) -> list[CrashWindow]:
    """Without the one that needs a late acknowledgement, where the task acknowledges early."""
    windows = faults.crash_windows(task, deaths=deaths, lines=lines)
    return [window for window in windows if task.acks_late or str(window) != "child@before_ack"]


def fault_plans(
    *tasks: Any, kinds: Iterable[str] = DEFAULT_KINDS, errors: Iterable[Any] = (ConnectionError, TimeoutError),
    max_size: int = 3,
) -> st.SearchStrategy[FaultPlan]:  # fmt: skip
    """Plans of faults that do not contradict one another: at most one of a kind for a task, and each strikes once.

    Args:
        tasks: Whose runs go wrong.
        kinds: Verbs of ``harness.faults``; ``publish_unknown``, which makes ``.delay()`` raise, only where it is named.
        errors: What ``fail`` raises: exceptions, or their classes.
        max_size: How many faults a plan has at most.

    Raises:
        ConfigurationError: There is no such kind, or no task.
    """
    chosen, raised = list(kinds), list(errors)
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown or not chosen:
        raise ConfigurationError(f"fault_plans(kinds=…) takes some of {', '.join(map(repr, KINDS))}; given: {chosen!r}")
    if not tasks:
        raise ConfigurationError("fault_plans() takes the tasks whose runs go wrong; given: none")
    planned = st.one_of([_of_kind(kind, task, raised) for task in tasks for kind in chosen])
    several = st.lists(planned, max_size=max_size, unique_by=lambda fault: (fault.kind, fault.task.name))
    return several.map(FaultPlan)


def _of_kind(kind: str, task: Any, errors: list[Any]) -> st.SearchStrategy[PlannedFault]:
    if kind == "crash":
        return crash_windows(task).map(lambda window: PlannedFault(kind, task, window))
    if kind == "fail":
        return st.sampled_from(errors).map(lambda error: PlannedFault(kind, task, error))
    if kind == "slow":
        return st.integers(1, 3600).map(lambda seconds: PlannedFault(kind, task, seconds))
    return st.builds(PlannedFault, st.just(kind), st.just(task))
