"""Runs one plan in one twin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from ..errors import Deadlock, NoVerdict, RunBudgetExceeded
from ..timeline import Run, Timeline
from ..timeline.runs import FINAL_STATES
from .observing import Observer
from .plans import Plan
from .session import chosen
from .stage import Ending, Subject, Twin, Twins

__all__ = ["Runner", "check_clean", "quiet", "was_redelivered"]

__tracebackhide__ = True


class Runner:
    """Opens a twin for each plan, puts the state back, does what the plan says, and looks at what came of it."""

    def __init__(
        self, subject: Subject, twins: Twins, observer: Observer, *, is_watched: Callable[[CodeType], bool] | None
    ) -> None:  # fmt: skip
        """Run plans for one task call; the lines that count are those of the body, or whose code is watched."""
        self._subject = subject
        self._twins = twins
        self._observer = observer
        self._is_watched = is_watched

    def run(self, plan: Plan) -> Ending:
        """Run one plan from a state that is put back.

        Raises:
            NoVerdict: It cannot be run, or not observed.
        """
        with self._twins() as twin, quiet():
            self._observer.reset()
            task_id, sent_again = twin.publish(), False
            try:
                sent_again = self._carry_out(plan, twin, task_id)
            except (RunBudgetExceeded, Deadlock) as error:
                return self._ending(twin, task_id, unended=error)
            return self._observed(twin, task_id, sent_again=sent_again)

    def once_more(self, twin: Twin, task_id: str) -> Ending:
        """Deliver what is done once more, in the same twin."""
        try:
            _redeliver(twin, task_id)
        except (RunBudgetExceeded, Deadlock) as error:
            return self._ending(twin, task_id, unended=error)
        return self._observed(twin, task_id)

    def clean_ending(self, twin: Twin, task_id: str) -> Ending:
        """What one clean run has led to.

        Raises:
            NoVerdict: The task has failed, or not run, by itself; or ``observe()`` raises.
        """
        check_clean(self._subject.call, twin.timeline.run(task_id))
        return self._ending(twin, task_id, observed=self._observer.look_after(twin))

    def _carry_out(self, plan: Plan, twin: Twin, task_id: str) -> bool:
        """Whether we had to send the message again."""
        if plan.kind == "crash":
            return self._crash(plan, twin, task_id)
        if plan.kind == "together":
            twin.together(task_id, plan.schedule, is_watched=self._is_watched)
        twin.settle()
        if plan.kind == "again":
            _redeliver(twin, task_id)
        return False

    def _crash(self, plan: Plan, twin: Twin, task_id: str) -> bool:
        assert plan.window is not None
        fault = twin.crash(plan.window)
        twin.settle()
        if not fault.struck:
            fault.cancel()
            raise NoVerdict(
                f"{plan}: this run did not come to that window, although the clean run did: the task takes another way "
                "each time.\nTo fix this, let reset= put back all that it depends on, or seed what is random."
            )
        if was_redelivered(twin.timeline, task_id):
            return False
        _redeliver(twin, task_id)
        return True

    def _observed(self, twin: Twin, task_id: str, *, sent_again: bool = False) -> Ending:
        try:
            observed = self._observer.look(twin)
        except NoVerdict:
            raise
        except Exception as error:  # noqa: BLE001 - a lookup that finds two rows is a finding, and no mistake
            return self._ending(twin, task_id, refused=error, sent_again=sent_again)
        return self._ending(twin, task_id, observed=observed, sent_again=sent_again)

    def _ending(self, twin: Twin, task_id: str, **more: Any) -> Ending:
        run = twin.timeline.run(task_id)
        assert run is not None  # it was published
        return Ending(
            _final_state(run), run.result, run.error, twin.timeline, steps=tuple(twin.steps()), **more
        )  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: a hundred workers that die would bury the test's own log.  The plan that is run alone may talk."""
    before = logging.root.manager.disable
    if chosen.plan is None:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


#: Where a task has ignored or rejected its message, its run is at an end without a final state.
_UNDECIDED = ("STARTED", "RECEIVED")


def check_clean(call: str, run: Run | None) -> None:
    """Refuse a task that fails, or does not run, although nothing goes wrong.

    Raises:
        NoVerdict: So it is; with its traceback.
    """
    if run is None or not run.attempts or not _has_done_its_work(run):
        raise NoVerdict(_fails_by_itself(call, run))


def _has_done_its_work(run: Run) -> bool:
    """Whether it has ended as it was meant to; since Celery 5.7 a FAILURE is stored of a message that is rejected."""
    return run.attempts[-1].outcome == "REJECTED" or _final_state(run) in {"SUCCESS", *_UNDECIDED}


def _redeliver(twin: Twin, task_id: str) -> None:
    twin.redeliver(task_id)
    twin.settle()


def was_redelivered(timeline: Timeline, task_id: str) -> bool:
    """Whether the broker has delivered the message again after the crash."""
    events = timeline.of(task_id)
    crash = max((i for i, event in enumerate(events) if event.kind == "fault"), default=len(events))
    return any(event.kind == "deliver" and event.detail.get("redelivered") for event in events[crash:])


def _final_state(run: Run) -> str:
    """The last final state: a copy that Celery skips is received after it."""
    states = list(map(str, run.states))
    return next((state for state in reversed(states) if state in FINAL_STATES), states[-1])


def _fails_by_itself(call: str, run: Run | None) -> str:
    if run is None or not run.attempts:
        table = str(run.timeline) if run is not None else ""
        return f"{call} does not run, so that nothing can be said: does a worker consume its queue?\n{table}".rstrip()
    text = f"{call} fails by itself, in one clean run: {run.state}, {run.error!r}."
    hint = "To fix this, mend the task, or give it what it needs; a plan is compared with a clean run that succeeds."
    return "\n".join(filter(None, [text, run.traceback, hint]))
