"""What a harness says of one task call under every plan, each in a twin of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from types import CodeType
from typing import Any, ClassVar

from ..asserting.evidence import Asserting
from ..asserting.expectation import Expectation
from ..asserting.texts import call_text
from ..errors import NoVerdict
from ..explore.delivery import Delivery
from ..explore.idempotency import Idempotency, Limits
from ..explore.observing import Observer
from ..explore.plans import Selection
from ..explore.stage import Step, Subject
from ..faults import CrashWindow, Fault, Point
from ..timeline import Timeline
from ..wording import did_you_mean
from .workforce import Workforce

__all__ = ["Exploring"]

__tracebackhide__ = True

#: The worker that takes the second copy, where the only one could not take two.
SECOND = "second"
#: How many bodies a plan may start; thousands of plans must not take ten thousand each to find that a task is endless.
MOST_RUNS = 1_000
#: How many lines of one body may run in a plan; each plan runs them anew.
MOST_LINES = 200_000


class Exploring(Asserting):
    """Assertions that run one task many times, each time in a twin of the harness."""

    app: Any
    mode: str
    seed: int
    clock: Any
    timeline: Timeline
    #: What the harness was opened with, beyond these.
    _given: dict[str, Any]
    _workforce: Workforce
    _open: Callable[[], Any]
    open: ClassVar[Callable[..., Any]]

    def assert_idempotent(
        self, sig: Any, *, observe: Callable[..., Any], reset: Callable[[], object] | None = None,
        plans: str | Iterable[str] = "all", bound: int = 2, lines: str = "body", max_schedules: int = 2_000,
        forked: bool = False,
    ) -> list[str]:  # fmt: skip
        """However the message is delivered, the task leaves what one clean run leaves.

        Each plan runs in a harness of its own, beside this one: the same app, mode, seed, configuration and instant.
        What ``observe()`` returns, the state and the result are compared with those of a clean run.

        Args:
            sig: A Celery signature of one task.
            observe: Returns what the task changes, as plain values; it may take one argument, the harness of the plan.
            reset: Puts that back; called before each run.  Without it, only ``again`` can run where the task changes
                anything.
            plans: ``"all"``, ``"sequence"`` (once, and again), ``"crashes"``, ``"together"``, or a list of these and of
                names of plans.
            bound: How often two copies that run at once may interrupt each other.
            lines: ``"body"``, or ``"package"``: the worker dies, and copies take turns, also at the lines of what the
                body calls in its package.
            max_schedules: How many ways to interleave two copies may be tried.
            forked: Whether a body that dies does so for real, in a forked child, as in ``harness.faults.crash``: for
                state that lies outside of the process.

        Returns:
            The names of the plans that were run.

        Raises:
            AssertionError: A plan ends otherwise: the text has the plan, the line, the effect and the timeline.
            NoVerdict: The question is at fault: the clean run fails, or ``observe()`` or ``reset()`` cannot be used.
            ConfigurationError: A plan is none, or none of this task.
            FidelityError: The mode cannot run a plan.
            RunBudgetExceeded: The task does not end.
        """
        subject = self._subject(sig)
        limits = Limits(bound, lines, max_schedules)
        observer, selection = Observer(observe, reset), Selection.of(plans)
        if forked:
            self._open().ferry_or_refuse()
        with self._open().exclusively(), closing(_Stage(self._alike, sig, forked=forked)) as stage:
            return Idempotency(subject, stage, observer, selection=selection, limits=limits).answer()

    def assert_delivery(self, sig: Any, promise: str) -> list[str]:
        """Whatever dies at whatever instant, the body runs at most once, or at least once.

        The worker, and its pool process, die at every window and line of a clean run, each time in a harness of its
        own; what is not acknowledged the broker delivers again, and nobody else does.  What counts is whether the
        body begins and comes to its end; what it changes is not put back.

        Args:
            sig: A Celery signature of one task.
            promise: ``"at_most_once"`` or ``"at_least_once"``.

        Returns:
            The names of the crashes that were tried.

        Raises:
            AssertionError: The promise is broken; the text has the windows, and the setting that mends it.
            NoVerdict: The task fails by itself.
            FidelityError: The mode has no worker that can die so.
        """
        subject = self._subject(sig)
        with self._open().exclusively(), closing(_Stage(self._alike, sig)) as stage:
            return Delivery(subject, stage, promise).answer()

    def _subject(self, sig: Any) -> Subject:
        """Check the signature.

        Raises:
            TypeError: It is none, or not of one task, or its arguments do not fit.
            NoVerdict: The app has no such task.
        """
        expected = Expectation(sig, self._evidence)
        if expected.noun != "message":
            raise TypeError(
                f"expected the signature of one task, got a {expected.noun}; explore each of its tasks, with what "
                "follows it as a link: first.s(1).set(link=[second.s()])"
            )
        task = self.app.tasks.get(sig["task"])
        if task is None:
            meant = did_you_mean(sig["task"], self.app.tasks)
            raise NoVerdict(f"the app has no task {sig['task']!r}, so that nothing can be said of it.{meant}")
        late, lost = bool(task.acks_late), bool(task.reject_on_worker_lost)
        return Subject(_call(sig), task, self.mode, acks_late=late, rejects_lost=lost)

    def _alike(self) -> Any:
        """A fresh harness that has the same app, mode, seed, instant and workers."""
        world = self._open()
        workers = [] if self._workforce.is_default else list(world.nodes)
        start = None if self._given["clock"] == "real" else self.clock.now
        harness = self.open(self.app, self.mode, start=start, seed=self.seed, **self._given)
        if self.mode == "memory":  # an hour for each crash says nothing new, and no world could be used again
            harness._open().broker.redeliver_at_once()  # noqa: SLF001 - one of our own
        for node in workers:
            harness.worker(node.name, queues=node.only, concurrency=node.concurrency)
        return harness

    def _begin_anew_on(self, timeline: Timeline) -> None:
        """The world is as new, and writes on another timeline."""
        self.timeline = timeline
        self._evidence = replace(self._evidence, timeline=timeline)


class _Stage:
    """Opens a harness for each plan; where one is as new after its plan, the next plan has it too."""

    def __init__(self, opened: Callable[[], Any], sig: Any, *, forked: bool = False) -> None:
        self._opened = opened
        self._sig = sig
        self._forked = forked
        self._spare: tuple[Any, Any] | None = None

    @contextmanager
    def __call__(self) -> Iterator[_Twin]:
        harness, imprint = self._take()
        with ExitStack() as stack:
            stack.push(harness)
            world = harness._open()  # noqa: SLF001 - one of our own
            yield _Twin(harness, self._sig, world=world, forked=self._forked)
            timeline = imprint.take_back() if imprint is not None else None
            if timeline is not None:
                harness._begin_anew_on(timeline)  # noqa: SLF001 - one of our own
                self._spare = harness, imprint
                stack.pop_all()

    def _take(self) -> tuple[Any, Any]:
        spare, self._spare = self._spare, None
        return spare or self._open()

    def _open(self) -> tuple[Any, Any]:
        harness = self._opened()
        if harness.mode != "memory":
            return harness, None
        from ..worker.anew import Imprint

        return harness, Imprint(harness._open())  # noqa: SLF001 - one of our own

    def close(self) -> None:
        """No more plans."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare[0].close()


def _call(sig: Any) -> str:
    hidden = {"argsrepr", "kwargsrepr"} & sig["options"].keys()
    return call_text(sig["task"], sig["args"] or (), sig["kwargs"] or {}, hidden="…" if hidden else None)


class _Twin:
    """A harness that was opened for one plan."""

    def __init__(self, harness: Any, sig: Any, *, world: Any, forked: bool) -> None:
        self.harness = harness
        self._forked = forked
        self._sig = sig
        self._world = world
        world.most_lines = MOST_LINES
        self._trace: Any = None

    @property
    def timeline(self) -> Timeline:
        timeline: Timeline = self.harness.timeline
        return timeline

    def publish(self) -> str:
        return str(self.harness.app.signature(self._sig).clone().apply_async().id)

    def settle(self) -> None:
        self.harness.settle(max_runs=MOST_RUNS)

    def redeliver(self, task_id: str) -> None:
        self.harness.broker.redeliver(task_id)

    def crash(self, window: CrashWindow) -> Fault:
        fault: Fault = self.harness.faults.crash(self._sig["task"], window, forked=self._forked)
        return fault

    def together(
        self, task_id: str, schedule: Sequence[int], *, is_watched: Callable[[CodeType], bool] | None
    ) -> None:  # fmt: skip
        if sum(node.concurrency for node in self._world.nodes if node.alive) < 2:
            self._world.add_node(SECOND, concurrency=1)
        self._trace = self._world.together(task_id, tuple(schedule), lines=is_watched)
        self.harness.broker.duplicate(task_id)

    def steps(self) -> list[Step]:
        return [] if self._trace is None else [Step(*step) for step in self._trace.steps]

    def watch(
        self, on_point: Callable[[Point], object], *, is_watched: Callable[[CodeType], bool] | None
    ) -> AbstractContextManager[None]:  # fmt: skip
        script = getattr(self._world, "script", None)  # a real worker process has none
        watching: AbstractContextManager[None] = nullcontext()
        if script is not None:
            watching = script.watch(self._sig["task"], on_point, is_watched=is_watched)
        return watching
