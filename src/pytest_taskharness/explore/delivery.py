"""How often the body of a task runs, whatever dies: at most once, or at least once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError, FidelityError, NoVerdict
from ..timeline import Timeline
from ..wording import did_you_mean
from .passage import Passage
from .plans import Plan
from .progress import Progress
from .running import check_clean, quiet
from .stage import Subject, Twins
from .texts import capped, counted, indented, timeline_of, what_died

__all__ = ["PROMISES", "Delivery"]

__tracebackhide__ = True

PROMISES: Final = ("at_most_once", "at_least_once")

_LATE = "acks_late=True (task_acks_late): then the message is acknowledged after the body."
_REJECTS = "reject_on_worker_lost=True (task_reject_on_worker_lost): else Celery acknowledges it when its process dies."


@dataclass(frozen=True)
class _Crash:
    """One crash, and how often the body has begun and has come to its end."""

    plan: Plan
    starts: int
    completions: int
    timeline: Timeline

    def keeps(self, promise: str) -> bool:
        """Whether the promise holds."""
        return self.starts <= 1 if promise == "at_most_once" else self.completions >= 1


class Delivery:
    """One promise about one task call."""

    def __init__(self, subject: Subject, twins: Twins, promise: str) -> None:
        """Nothing has run yet.

        Raises:
            ConfigurationError: There is no such promise.
            FidelityError: In this mode no worker can die at every window.
        """
        _check_promise(promise)
        if subject.mode == "eager" or subject.mode.endswith("+process"):
            raise FidelityError(
                f"assert_delivery() lets a stepped worker die at each of its windows; mode {subject.mode!r} has none. "
                "Run this test with mode='memory', 'fakeredis' or 'redis'."
            )
        self._subject = subject
        self._twins = twins
        self._promise = promise
        self._progress = Progress(f"assert_delivery({subject.call})")

    def answer(self) -> list[str]:
        """Run the crashes; their names.

        Raises:
            AssertionError: The promise is broken.
            NoVerdict: The task does not come to its end by itself.
        """
        clean = self._clean()
        crashes = [self._crash(Plan("crash", window)) for window in clean.windows()]
        broken = [crash for crash in crashes if not crash.keeps(self._promise)]
        if broken:
            raise AssertionError(_text(self._subject, self._promise, broken, of=len(crashes)))
        return [str(crash.plan) for crash in crashes]

    def _clean(self) -> Passage:
        passage = Passage(self._subject.body)
        with self._twins() as twin:
            with twin.watch(passage.reach, is_watched=None):
                task_id = twin.publish()
                twin.settle()
            check_clean(self._subject.call, twin.timeline.run(task_id))
            if not passage.completions:
                raise NoVerdict(
                    f"the body of {self._subject.call} does not come to its end in a clean run (it ignores or rejects "
                    "its message), so that nobody can say when it is done."
                )
            if self._promise == "at_most_once" and passage.starts > 1:
                raise AssertionError(_retried(self._subject.call, passage.starts, twin.timeline))
        return passage

    def _crash(self, plan: Plan) -> _Crash:
        assert plan.window is not None
        passage = Passage(self._subject.body)
        with self._twins() as twin, quiet():
            twin.crash(plan.window)
            with twin.watch(passage.reach, is_watched=None):
                twin.publish()
                twin.settle()
            self._progress.step()
            return _Crash(plan, passage.starts, passage.completions, twin.timeline)


def _check_promise(promise: object) -> None:
    if promise not in PROMISES:
        meant = did_you_mean(promise, PROMISES)
        raise ConfigurationError(
            f"assert_delivery() takes 'at_most_once' or 'at_least_once'; given: {promise!r}.{meant}"
        )


def _retried(call: str, starts: int, timeline: Timeline) -> str:
    head = f"{call} is not delivered at most once: its body begins {starts} times although nothing dies: it is retried."
    return "\n".join([head, *indented(timeline_of("the clean run", timeline))])


def _text(subject: Subject, promise: str, broken: Sequence[_Crash], *, of: int) -> str:
    least = promise == "at_least_once"
    what = "has not come to its end" if least else "has begun more than once"
    first = broken[0]
    rows = [f"{crash.plan}    {_what_came_of(crash, least=least)}" for crash in broken]
    head = (
        f"{subject.call} is not delivered {promise.replace('_', ' ')}: after {len(broken):,} of {counted(of, 'crash')} "
        f"its body {what}."
    )
    return "\n".join([
        head,
        *indented(capped(rows)),
        *indented(_advice(subject, broken) if least else _advice_for_most(subject)),
        *indented(timeline_of(first.plan, first.timeline)),
    ])  # fmt: skip


def _what_came_of(crash: _Crash, *, least: bool) -> str:
    assert crash.plan.window is not None
    rest = "and nobody delivered the message again" if least else f"and the body began {counted(crash.starts, 'time')}"
    return f"{what_died(crash.plan.window)}, {rest}"


def _advice(subject: Subject, broken: Sequence[_Crash]) -> list[str]:
    child_died = any(crash.plan.window and crash.plan.window.death == "child" for crash in broken)
    wanted = [] if subject.acks_late else [_LATE]
    wanted += [_REJECTS] if child_died and not subject.rejects_lost else []
    return [f"{start}{each}" for start, each in zip(("To fix this, set ", "And set "), wanted, strict=False)]


def _advice_for_most(subject: Subject) -> list[str]:
    if not subject.acks_late:
        return []
    lost = " and reject_on_worker_lost=False" if subject.rejects_lost else ""
    return [f"To fix this, set acks_late=False{lost}, Celery's defaults: the message is acknowledged before the body."]
