"""Whether a task may be delivered more than once: every plan beside one clean run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigurationError, FidelityError, NoVerdict, PlansLeftOut
from .differing import Incomparable, first_difference
from .finding import Failure, find
from .observing import Observer
from .passage import Passage
from .plans import AGAIN, ONCE, Plan, Selection, together
from .progress import Progress
from .running import Runner
from .schedules import Schedule, Search
from .session import chosen
from .stage import Ending, Step, Subject, Twins
from .texts import counted
from .verdict import needs_reset, not_idempotent, not_the_same_twice

__all__ = ["Idempotency", "Limits"]

__tracebackhide__ = True

#: What a real worker process can do with one message.
_PROCESS_CAN = frozenset({"once", "again"})


@dataclass(frozen=True)
class Limits:
    """How far an exploration goes.

    Attributes:
        bound: How many preemptions a schedule of two copies may have.
        lines: ``body``, or ``package``: also the lines of what the body calls in its own package.
        schedules: How many schedules may be tried.
    """

    bound: int = 2
    lines: str = "body"
    schedules: int = 2_000

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigurationError: A value cannot be used.
        """
        if not _is_count(self.bound):
            raise ConfigurationError(f"bound= is how often copies interrupt each other, from 1; given: {self.bound!r}")
        if self.lines not in {"body", "package"}:
            raise ConfigurationError(f"lines= takes 'body' or 'package'; given: {self.lines!r}")
        if not _is_count(self.schedules):
            raise ConfigurationError(f"max_schedules= takes a number from 1 on; given: {self.schedules!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class Idempotency:
    """One question about one task call."""

    def __init__(
        self, subject: Subject, twins: Twins, observer: Observer, *, selection: Selection, limits: Limits
    ) -> None:  # fmt: skip
        """Nothing has run yet.

        Raises:
            FidelityError: The mode cannot run these plans.
            ConfigurationError: A limit cannot be used.
        """
        limits.check()
        if chosen.plan is not None:
            selection = Selection.only(chosen.plan, origin="--taskharness-plan")
        _check_mode(subject.mode, selection)
        self._subject = subject
        self._twins = twins
        self._observer = observer
        self._selection = selection
        self._limits = limits
        self._passage = Passage(subject.body)
        self._lines = self._passage.package() if limits.lines == "package" else None
        self._runner = Runner(subject, twins, observer, is_watched=self._lines)
        self._progress = Progress(f"assert_idempotent({subject.call})")
        self._ran: list[Plan] = []
        self._failures: list[Failure] = []

    def answer(self) -> list[str]:
        """Run the plans; the names of those that have run.

        Raises:
            AssertionError: A plan has led to something else than one clean run.
            NoVerdict: The question is at fault.
            ConfigurationError: A plan that was named is none of this task.
        """
        self._run_clean()
        if self._observer.can_reset:
            self._check_reset()
            self._run_all([AGAIN] if self._wants_again else [])
        self._run_all(self._crashes())
        self._run_all(self._selection.named_of("together"))
        notes = self._search() if self._selection.wants("together") else []
        self._judge(notes)
        for note in notes:
            warnings.warn(f"{self._subject.call}: {note}", PlansLeftOut, stacklevel=3)
        return [str(ONCE), *map(str, self._ran)]

    # -- the clean run, and what can be done without reset=

    def _run_clean(self) -> None:
        with self._twins() as twin:
            self._observer.reset()
            before = self._observer.look_before(twin)
            with twin.watch(self._passage.reach, is_watched=self._lines):
                task_id = twin.publish()
                twin.settle()
            self._clean = self._runner.clean_ending(twin, task_id)
            for plan in self._selection.named_of("crash"):
                self._passage.check(plan, origin=self._selection.origin)
            if self._observer.can_reset:
                return
            if self._wants_again:
                self._note(AGAIN, self._runner.once_more(twin, task_id))
        self._judge(["The other plans were not run: they need reset=."] if self._needs_more else [])
        self._check_unchanged(before)

    @property
    def _wants_again(self) -> bool:
        return "again" in self._selection.all_kinds

    @property
    def _needs_more(self) -> bool:
        return bool(self._selection.all_kinds - {"once", "again"})

    def _check_unchanged(self, before: object) -> None:
        """Without a reset, plans run one after the other only where nothing is changed by them."""
        try:
            change = first_difference(before, self._clean.observed)
        except Incomparable as error:
            raise NoVerdict(f"observe() cannot be compared: {error}") from error
        if change is not None and self._needs_more:
            crashes = len(self._crashes())
            raise NoVerdict(needs_reset(self._subject.call, change, crashes=crashes, again_passed=self._wants_again))

    def _check_reset(self) -> None:
        finding = find(self._clean, self._runner.run(ONCE))
        if finding is not None:
            raise NoVerdict(not_the_same_twice(self._subject.call, finding, has_reset=self._observer.has_reset))

    # -- the plans

    def _crashes(self) -> list[Plan]:
        every = [Plan("crash", window) for window in self._passage.windows()]
        named = self._selection.named_of("crash")
        return list(dict.fromkeys([*(every if self._selection.wants("crash") else []), *named]))

    def _run_all(self, plans: Iterable[Plan]) -> None:
        for plan in plans:
            self._note(plan, self._runner.run(plan))

    def _note(self, plan: Plan, ending: Ending) -> bool:
        """Whether all is well."""
        self._ran.append(plan)
        self._progress.step()
        finding = find(self._clean, ending)
        if finding is not None:
            self._failures.append(Failure(plan, ending, finding))
        return finding is None

    def _search(self) -> list[str]:
        """Try schedules until one fails; what is to be said where not all were tried."""
        search = Search(self._limits.bound, self._limits.schedules)
        search.run(self._attempt, lines=self._passage.lines)
        if not search.left_out:
            return []
        return [f"Of two copies at once only {counted(search.tried, 'schedule')} were tried: see max_schedules=."]

    def _attempt(self, schedule: Schedule) -> tuple[tuple[Step, ...], bool]:
        plan = together(schedule)
        ending = self._runner.run(plan)
        return ending.steps, self._note(plan, ending)

    def _judge(self, notes: list[str]) -> None:
        if self._failures:
            raise AssertionError(
                not_idempotent(self._subject, self._failures, self._ran, passage=self._passage, notes=notes)
            )


def _check_mode(mode: str, selection: Selection) -> None:
    if mode == "eager":
        raise FidelityError(
            "assert_idempotent() delivers a message more than once; in eager mode there is none, the body runs at the "
            "call. Run this test with mode='memory'."
        )
    beyond = sorted(selection.all_kinds - _PROCESS_CAN)
    if mode.endswith("+process") and beyond:
        raise FidelityError(
            f"the plans {' and '.join(beyond)} stop a body at a line, or between two steps of the worker; in mode "
            f"{mode!r} it runs in a process of its own. Run this test with mode='memory' or 'redis', or ask for "
            "plans='sequence'."
        )
