"""The smallest example that fails, as a test that can be pasted into a file."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .spelling import imports_of

if TYPE_CHECKING:
    from .machine import TaskMachine

__all__ = ["Paste", "failed_check"]


class Paste:
    """What a machine has done, line by line.

    Attributes:
        names: What the lines call a result, by task id.
    """

    def __init__(self, machine: type[TaskMachine]) -> None:
        """Nothing was done yet."""
        self.names: dict[str, str] = {}
        self._machine = machine
        self._tasks: list[Any] = []
        self._lines: list[str] = []
        self._step: list[str] = []

    def add(self, line: str, task: Any = None) -> None:
        """A line of the step that is being taken, and the task that it names."""
        self._step.append(line)
        if task is not None:
            self._tasks.append(task)

    def close_step(self, instead: str | None) -> None:
        """A step was taken: by a rule of ours, or by one of the user's, which does all that it does again."""
        self._lines += self._step if instead is None else [instead]
        self._step = []

    def without(self, lines: Iterable[str]) -> None:
        """Leave out what has done nothing: a crash that no run has come to, one line for each."""
        kept = self._lines + self._step
        for line in lines:
            if line in kept:
                kept.reverse()
                kept.remove(line)
                kept.reverse()
        self._lines, self._step = kept, []

    def text(self, check: str | None) -> str:
        """A test function; ``check`` is the method of the machine that has failed."""
        lines = [*self._lines, *self._step, *([f"state.{check}()"] if check else [])]
        body = "\n".join(lines)
        imports, lookups = imports_of(self._tasks, body, module=self._machine.__module__)
        own = [f"state = {self._machine.__name__}.on(harness)"] if re.search(r"\bstate\.", body) else []
        return "\n".join([
            f"# Paste this test beside {self._machine.__qualname__}{self._place()}:",
            *imports,
            "",
            "",
            f"@pytest.mark.taskharness({self._marker()})",
            f"def test_{_snake(self._machine.__name__)}{f'_{check}' if check else ''}(harness):",
            textwrap.indent("\n".join([*lookups, *own, *lines]) or "pass", "    "),
        ])  # fmt: skip

    def _place(self) -> str:
        path = getattr(sys.modules.get(self._machine.__module__), "__file__", None)
        return f", in {Path(path).name}" if path else ""

    def _marker(self) -> str:
        machine = self._machine
        config = [f"config={dict(machine.config)!r}"] if machine.config else []
        start = machine.start if isinstance(machine.start, str) else machine.start.isoformat()
        return ", ".join([f'mode="{machine.mode}"', f'start="{start}"', f"seed={machine.seed}", *config])


def failed_check(machine: TaskMachine, error: Exception) -> str | None:
    """The invariant in which the error was raised; None where it was raised by a step."""
    invariants: Any = machine.invariants
    known = invariants() if callable(invariants) else invariants  # a method in older versions of Hypothesis
    functions = [*(invariant.function for invariant in known), type(machine).at_rest]
    names: dict[Any, str] = {function.__code__: function.__name__ for function in functions}
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in names:
            return names[traceback.tb_frame.f_code]
        traceback = traceback.tb_next
    return None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
