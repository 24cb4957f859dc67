"""A state machine that publishes, steps, duplicates and crashes, in any order."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, rule

from ..errors import ConfigurationError, hide_frames
from ..faults import CrashWindow, Fault
from ..harness import Harness
from ..report.attaching import attach_harness, attach_section, attached
from .calls import calls
from .pasting import Paste, failed_check
from .plans import possible_windows
from .schedules import duplicate_one, redeliver_one, seconds_up_to
from .spelling import call_code, python_name

__all__ = ["TaskMachine"]

__tracebackhide__ = hide_frames

MODES = ("memory", "fakeredis", "redis")
PASTE_TITLE = "taskharness test of the smallest example that fails"
#: How many steps an example has at most.
STEPS = 20
_NUMBERS = st.integers(0, 20)
_LOGGER = logging.getLogger("celery")
#: The harness that the next machine works on, instead of one of its own.
_given: list[Harness] = []


class TaskMachine(RuleBasedStateMachine):
    """What can happen to a worker, in any order: subclass it, name the app and the tasks, and add invariants.

    ::

        class Checkout(TaskMachine):
            app = app
            tasks = [charge]

            @invariant()
            def nobody_pays_twice(self):
                assert len(payments) <= len(set(payments))

        TestCheckout = Checkout.TestCase

    A failure ends with the smallest example that fails, written as a pytest test.  Hypothesis' settings are those of
    any state machine, except that an example has at most 20 steps.  Rules that are not wanted are set
    to None (``crash = None``), and more of them are written with Hypothesis' own ``@rule``.

    Attributes:
        app: The Celery app, or a path to it as ``celery -A`` takes it.
        tasks: The tasks that are published, and that crash.
        calls: A strategy of signatures to publish, instead of any calls of ``tasks`` by their type hints.
        mode: ``memory``, ``fakeredis`` or ``redis``.
        start: The first instant of the virtual clock; always the same, so that a failure can be repeated.
        seed: Makes what is random in the harness repeatable.
        config: Celery settings that hold as long as the harness is open.
        harness: The harness of this example.
    """

    app: ClassVar[Any] = None
    tasks: ClassVar[Iterable[Any]] = ()
    calls: ClassVar[st.SearchStrategy[Any] | None] = None
    mode: ClassVar[str] = "memory"
    start: ClassVar[datetime | str] = "2030-01-01T00:00:00+00:00"
    seed: ClassVar[int] = 0
    config: ClassVar[Mapping[str, Any]] = {}

    #: The results of what was published, for rules of your own.
    published = Bundle("published")

    harness: Harness
    _strategy: ClassVar[st.SearchStrategy[Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Nobody closes the harness of a machine whose ``__init__`` has failed: it has to do so itself."""
        super().__init_subclass__(**options)
        # Read once: Hypothesis is slow with strategies that are made anew for each step.
        cls._strategy = st.deferred(lambda: st.one_of([calls(task) for task in cls.tasks]))
        cls.TestCase.settings = _default_settings()
        if "__init__" in vars(cls):
            cls.__init__ = _closing_on_error(cls.__init__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        """Open a harness."""
        self._check()
        super().__init__()
        self._is_own = not _given
        self._paste = Paste(type(self))
        self._crashes: list[tuple[Fault, str]] = []
        self._context = sys.exc_info()[1]
        self.harness = self._opened() if self._is_own else _given[-1]

    @classmethod
    def on(cls, harness: Harness) -> TaskMachine:
        """A machine for a harness that is open already: a pasted test has its invariants checked by one."""
        _given.append(harness)
        try:
            return cls()
        finally:
            _given.pop()

    def _check(self) -> None:
        name = type(self).__name__
        if self.app is None:
            raise ConfigurationError(f"{name} needs the app that it steps: class {name}(TaskMachine): app = app")
        if self.mode not in MODES:
            raise ConfigurationError(
                f"{name}.mode = {self.mode!r}: a TaskMachine steps, crashes and duplicates, which works in the modes "
                f"{', '.join(map(repr, MODES))}."
            )
        if self.calls is None and not list(self.tasks):
            raise ConfigurationError(f"{name} needs tasks to publish: tasks = [charge], or calls = a strategy of them")

    def _opened(self) -> Harness:
        harness = Harness.open(self.app, self.mode, start=self.start, seed=self.seed, config=self.config)
        # What Celery says of each death, in each of some hundred examples, would bury what the failing one has to say.
        self._level = _LOGGER.level
        _LOGGER.setLevel(logging.CRITICAL)
        return harness

    # -- what can happen

    @rule(target=published, call=st.runner().flatmap(lambda machine: machine.possible_calls()))
    def publish(self, call: Any) -> Any:
        """Publish a call of one of the tasks."""
        name = f"published_{len(self.bundle('published'))}"
        task = self.harness.app.tasks.get(call.get("task"))
        code = call_code(call, task if call.get("subtask_type") is None else None)
        self._paste.add(f"{name} = {code}", task)
        result = call.apply_async()
        self._paste.names[result.id] = name
        return result

    @rule()
    def step(self) -> None:
        """Let a worker take one step."""
        self._paste.add("harness.step()")
        self.harness.step()

    @rule()
    def drain(self) -> None:
        """Do all that is due now."""
        self._paste.add("harness.drain()")
        self.harness.drain()

    @rule(seconds=seconds_up_to(86_400))
    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self._paste.add(f"harness.clock.advance(seconds={seconds})")
        self.harness.clock.advance(seconds=seconds)

    @precondition(lambda self: self.has_published())
    @rule(number=_NUMBERS)
    def duplicate(self, number: int) -> None:
        """Put a second copy of a message into its queue."""
        self._about("duplicate", duplicate_one(self.harness, number))

    @precondition(lambda self: self.has_published())
    @rule(number=_NUMBERS)
    def redeliver(self, number: int) -> None:
        """Let the broker take a delivery for lost."""
        self._about("redeliver", redeliver_one(self.harness, number))

    @rule(at=st.runner().flatmap(lambda machine: st.sampled_from(machine.possible_deaths())))
    def crash(self, at: _Death) -> None:
        """Let the worker die at a window of the next run of a task that comes to it; the last word counts."""
        # If the first one counted, what uses it up ("drain") could be left out only together with it: Hypothesis
        # takes away one step at a time, and would often end with both.
        for fault, _ in self._crashes:
            if fault.is_pending and fault.task == at.task.name:
                fault.cancel()
        fault = self.harness.faults.crash(at.task, at.window)
        line = f'harness.faults.crash({python_name(at.task)}, "{at.window}")'
        self._crashes.append((fault, line))
        self._paste.add(line, at.task)

    # -- what may happen next

    def has_published(self) -> bool:
        """Whether any message was published."""
        return bool(self.bundle("published"))

    def possible_calls(self) -> st.SearchStrategy[Any]:
        """What :meth:`publish` publishes."""
        return self._strategy if self.calls is None else self.calls

    def possible_deaths(self) -> list[_Death]:
        """What :meth:`crash` chooses from."""
        tasks = list(self.tasks) or [task for name, task in self.harness.app.tasks.items() if name[:7] != "celery."]
        return [_Death(task, window) for task in tasks for window in possible_windows(task)]

    def _about(self, verb: str, index: int | None) -> None:
        if index is not None:
            name = self._paste.names.get(self.harness.outbox[index].id, f"harness.outbox[{index}]")
            self._paste.add(f"harness.broker.{verb}({name})")

    # -- the end

    def at_rest(self) -> None:
        """Override it with what has to hold when all work is done: it is called at the end of each example."""

    def teardown(self) -> None:
        """Let the work come to its end, check :meth:`at_rest`, and close the harness."""
        error = sys.exc_info()[1]
        try:
            if error is None or error is self._context:
                self._come_to_rest()
        except Exception as found:
            self._explain(found)
            raise
        else:
            if isinstance(error, Exception) and error is not self._context:
                self._explain(error)
        finally:
            self._close()

    def _come_to_rest(self) -> None:
        if type(self).at_rest is not TaskMachine.at_rest:
            self._paste.add("harness.settle()")
            self.harness.settle()
            self.at_rest()

    def _explain(self, error: Exception) -> None:
        """For pytest's report; elsewhere Hypothesis prints what is noted of the smallest example that fails."""
        self._paste.without([line for fault, line in self._crashes if not fault.struck])
        attach_section(error, PASTE_TITLE, self._paste.text(failed_check(self, error)))
        attach_harness(error, self.harness)
        if "PYTEST_CURRENT_TEST" not in os.environ:
            for title, text in attached(error):
                note(f"{title}\n{text}")

    def _close(self) -> None:
        for fault, _ in self._crashes:
            fault.cancel()
        if self._is_own:
            _LOGGER.setLevel(self._level)
            self.harness.forgive()
            self.harness.close()

    def _repr_step(self, rule: Any, data: Any, result: Any) -> str:
        """Hypothesis writes down each step of the example that it prints: those of rules of the user's go into ours."""
        text = super()._repr_step(rule, data, result)
        self._paste.close_step(None if rule.function.__module__ == __name__ else text)
        return text


class _Death:
    """A task, and the window at which its next run dies."""

    def __init__(self, task: Any, window: CrashWindow) -> None:
        self.task = task
        self.window = window

    def __repr__(self) -> str:
        return f"{python_name(self.task)} at {self.window}"


def _default_settings() -> settings:
    """Short examples find what a worker can do wrong; which of our lines they all run explains nothing."""
    phases = tuple(phase for phase in settings().phases if phase is not Phase.explain)
    return settings(
        deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=STEPS, phases=phases
    )  # fmt: skip


def _closing_on_error(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def initialize(self: TaskMachine, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except BaseException:
            if "harness" in vars(self):
                self._close()
            raise

    return initialize
