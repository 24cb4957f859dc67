"""Where Celery's tracer calls the body of a task: faults come between the two.

Nothing here costs more than a call where nobody has asked for a fault.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CodeType
from typing import TYPE_CHECKING, Any

from celery.app import trace

from ...errors import RunBudgetExceeded
from ...faults import Point, Watched
from ...faults.lines import LineWatch, body_code, codes_of, with_lines
from ..explain import endless_body
from .pool import Execution

if TYPE_CHECKING:
    from ..world import World

__all__ = ["Body", "with_body"]


@contextmanager
def with_body(task: Any, world: World) -> Iterator[None]:
    """While entered, a tracer that is built for ``task`` calls the body through :class:`Body`."""
    has_custom = trace.task_has_custom

    def not_called(task: Any, attribute: str) -> bool:
        return attribute != "__call__" and bool(has_custom(task, attribute))

    # The tracer calls the task itself where its class has a __call__ of its own, and else what `run` says.
    task.__dict__["run"], before = Body(task, world, task if has_custom(task, "__call__") else task.run), (
        task.__dict__.get("run")
    )  # fmt: skip
    trace.task_has_custom = not_called
    try:
        yield
    finally:
        trace.task_has_custom = has_custom
        del task.__dict__["run"]
        if before is not None:
            task.__dict__["run"] = before


class Body:
    """The body of one task, and what may go wrong in it."""

    def __init__(self, task: Any, world: World, call: Callable[..., Any]) -> None:
        """``call`` is what Celery would call."""
        self._name: str = task.name
        self._task = task
        self._world = world
        self._call = call
        #: How many copies run, and what `autoretry_for` calls where it is not us.
        self._running = 0
        self._retried: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body as Celery does."""
        execution = self._world.execution_here()
        asked = self._world.script.armed or self._world.most_lines
        if execution is None or not (asked or execution.on_line or execution.on_begin):
            return self._call(*args, **kwargs)
        if execution.on_begin is not None:
            execution.on_begin(execution)
        self._reach(execution, "started")
        try:
            result = self._run(self._watch(execution), *args, **kwargs)
        finally:
            if execution.on_end is not None:
                execution.on_end()
        self._reach(execution, "after_body")
        execution.body_done = True
        return result

    def _run(self, watch: AbstractContextManager[object], /, *args: Any, **kwargs: Any) -> Any:
        """Call the body; what goes wrong does so inside of what ``autoretry_for`` puts around it.

        Two copies that run at once leave in any order.
        """
        attributes = self._task.__dict__
        if not self._running:
            self._retried = attributes.get("_orig_run")
        self._running += 1
        try:
            if self._retried is None:
                with watch:
                    return self._inner(*args, **kwargs)
            attributes["_orig_run"] = self._inner
            with watch:
                return self._call(*args, **kwargs)
        finally:
            self._running -= 1
            if self._retried is not None and not self._running:
                attributes["_orig_run"] = self._retried

    def _inner(self, *args: Any, **kwargs: Any) -> Any:
        execution = self._world.execution_here()
        if execution is not None:
            self._go_wrong(execution)
        return (self._retried or self._call)(*args, **kwargs)

    def _go_wrong(self, execution: Execution) -> None:
        strikes, worker = self._world.script.strikes, execution.node.name
        point = Point("started", self._name, execution.task_id)
        if slow := strikes("slow", self._name):
            self._world.record_fault(f"slow: {slow.what:g} s more", point, worker=worker)
            time.sleep(slow.what)  # looked up when it is called: it is virtual by then
        if self._world.script.luck and (seconds := self._world.script.luck.delays()):
            self._world.record_fault(f"slow: {seconds:g} s more, by chance", point, worker=worker)
            time.sleep(seconds)
        if fail := strikes("fail", self._name):
            self._world.record_fault(f"fails with {fail.what!r}", point, worker=worker)
            raise copy.copy(fail.what)  # each time without the traceback of the time before

    def _reach(self, execution: Execution, window: str) -> None:
        self._world.reach(Point(window, self._name, execution.task_id), execution)

    def _watch(self, execution: Execution) -> AbstractContextManager[object]:
        body = body_code(self._task)
        wanted = self._world.script.lines_wanted(self._name, body)
        if wanted is None and execution.on_line is None and self._world.most_lines is None:
            return nullcontext()
        lines = _Lines(self._world, execution, body, wanted=wanted)
        return LineWatch(lines.watched, lines.on_line)


class _Lines:
    """The lines of one body, as they come."""

    def __init__(
        self, world: World, execution: Execution, body: CodeType | None, *, wanted: Watched | None
    ) -> None:  # fmt: skip
        self._world = world
        self._execution = execution
        self._body = body
        shared: Watched = frozenset()
        if execution.on_line is not None or world.most_lines is not None:
            shared = execution.lines or (codes_of(body) if body is not None else frozenset())
        self.watched = _either(wanted or frozenset(), shared)
        self._is_wanted = _asked(wanted or frozenset())
        self._is_shared = _asked(shared)
        # By file: a lambda has lines of the function that it stands in, and a window is named by file and line.
        self._hits: Counter[tuple[str, int]] = Counter()
        self._count = 0

    def on_line(self, code: CodeType, line: int) -> None:
        """Just before a line runs."""
        execution = self._execution
        if execution.killed and line in with_lines(code):
            return  # left, not entered: a process that dies rolls back and closes what `__exit__` would
        execution.stay_dead()
        self._end_the_endless(line)
        if execution.on_line is not None and self._is_shared(code):
            execution.on_line(code, line)
            execution.stay_dead()
        if self._is_wanted(code):
            self._hits[place := (code.co_filename, line)] += 1
            point = Point("in_body", execution.task_name, execution.task_id, code, line, hit=self._hits[place])
            self._world.reach(point, execution, body=self._body)

    def _end_the_endless(self, line: int) -> None:
        """A body that loops for ever would keep the test for ever."""
        self._count += 1
        most, execution = self._world.most_lines, self._execution
        if most is not None and self._count > most:
            self._world.broke(RunBudgetExceeded(endless_body(execution.task_name, execution.task_id, most, line=line)))
            execution.killed = True
            execution.stay_dead()


def _asked(watched: Watched) -> Callable[[CodeType], bool]:
    return watched.__contains__ if isinstance(watched, frozenset) else watched


def _either(first: Watched, second: Watched) -> Watched:
    if isinstance(first, frozenset) and isinstance(second, frozenset):
        return first | second
    return lambda code: _asked(first)(code) or _asked(second)(code)
