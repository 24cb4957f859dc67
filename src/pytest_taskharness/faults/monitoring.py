"""Lines by ``sys.monitoring``, since Python 3.12: it goes on when a callback raises, and disturbs no debugger."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from types import CodeType
from typing import TYPE_CHECKING, Any

from ..errors import TaskHarnessError
from .leaving import codes_below, is_way_out, leave

if TYPE_CHECKING:
    from .lines import LineWatch

__all__ = ["Monitoring"]

#: The ids that Python reserves for nobody come first.
_TOOL_IDS = (4, 3, 5, 0, 2, 1)


class Monitoring:
    """The watches of all threads, under one tool id that is taken as long as there are any."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = threading.RLock()
        self._watches: dict[int, list[LineWatch]] = {}
        #: How many watches want the lines of a code.
        self._wanted: Counter[int] = Counter()
        #: What watches that ask have found wanted.
        self._found: dict[int, CodeType] = {}
        self._asking = 0
        #: By thread: what a body dies of that is about to call an ``__exit__``.
        self._leaving: dict[int, BaseException] = {}

    def begin(self, watch: LineWatch) -> None:
        """Add the innermost watch of this thread."""
        with self._lock:
            if not self._watches:
                self._take_tool()
            self._watches.setdefault(threading.get_ident(), []).append(watch)
            if watch.codes is None:
                self._ask(+1)
                self._python.restart_events()  # what nobody wanted so far, this one may
            for code in watch.codes or ():
                self._want(code, +1)

    def end(self, watch: LineWatch) -> None:
        """Take it away, and with the last one all that is ours."""
        with self._lock:
            mine = self._watches[threading.get_ident()]
            mine.remove(watch)
            if not mine:
                del self._watches[threading.get_ident()]
            if watch.codes is None:
                self._ask(-1)
            for code in watch.codes or ():
                self._want(code, -1)
            if not self._watches:
                self._give_tool_back()

    @property
    def _python(self) -> Any:
        return sys.monitoring  # type: ignore[attr-defined, unused-ignore]

    def _take_tool(self) -> None:
        python = self._python
        self._tool = next((free for free in _TOOL_IDS if python.get_tool(free) is None), None)
        if self._tool is None:
            names = ", ".join(str(python.get_tool(taken)) for taken in sorted(_TOOL_IDS))
            raise TaskHarnessError(
                f"the lines of a task cannot be watched: all tool ids of sys.monitoring are taken ({names}). Run the "
                "tests without one of these tools."
            )
        python.use_tool_id(self._tool, "pytest-taskharness")
        python.register_callback(self._tool, python.events.LINE, self._on_line)
        for event in (python.events.PY_START, python.events.PY_RESUME):
            python.register_callback(self._tool, event, self._on_start)
        python.register_callback(self._tool, python.events.CALL, self._on_call)

    def _give_tool_back(self) -> None:
        events = self._python.events
        for event in (events.LINE, events.PY_START, events.PY_RESUME, events.CALL):
            self._python.register_callback(self._tool, event, None)
        self._python.free_tool_id(self._tool)

    def _ask(self, more: int) -> None:
        """Be told of each function that begins, as long as a watch does not know its codes."""
        self._asking += more
        events = self._python.events
        self._python.set_events(self._tool, events.PY_START | events.PY_RESUME if self._asking else 0)
        if not self._asking:
            for code in self._found.values():
                self._want(code, -1)
            self._found.clear()

    @property
    def _lines(self) -> int:
        """The events of a code whose lines are wanted.

        Without ``PY_START``, Python 3.13 and later tell nothing of a line on which the function itself begins, as of
        a ``lambda``: https://github.com/python/cpython/issues/155992.
        """
        return int(self._python.events.LINE | self._python.events.PY_START)

    def _want(self, code: CodeType, more: int) -> None:
        before = self._wanted[id(code)]
        self._wanted[id(code)] += more
        if bool(before) != bool(before + more):
            self._python.set_local_events(self._tool, code, self._lines if before + more else 0)
        if not before + more:
            del self._wanted[id(code)]

    def _on_start(self, code: CodeType, _offset: int) -> Any:
        """A function begins, for the first time since a watch was added, or its lines are wanted."""
        with self._lock:
            watches = [watch for each in self._watches.values() for watch in each if watch.codes is None]
            if id(code) not in self._found and any(watch.wants(code) for watch in watches):
                self._found[id(code)] = code
                self._want(code, +1)
            return None if self._wanted.get(id(code)) else self._python.DISABLE

    def _on_line(self, code: CodeType, line: int) -> None:
        for watch in self._watches.get(threading.get_ident(), ()):
            if watch.wants(code):
                try:
                    watch.on_line(code, line)
                except BaseException as error:
                    if not is_way_out(code, sys._getframe(1).f_lasti):  # noqa: SLF001 - of the watched code
                        raise
                    self._leaving[threading.get_ident()] = error
                    self._python.set_local_events(self._tool, code, self._lines | self._python.events.CALL)
                    return

    def _on_call(self, code: CodeType, _offset: int, called: Any, _first: object) -> None:
        """The watched code calls ``__exit__``, in a body that is dead: it is called with the error instead."""
        error = self._leaving.pop(threading.get_ident(), None)
        if error is None:
            return
        self._python.set_local_events(self._tool, code, self._lines)
        manager = getattr(called, "__self__", None)
        wanted = (watch.wants(each) for each in codes_below(manager) for watch in self._watches[threading.get_ident()])
        if not any(wanted):
            leave(manager, error)
        raise error
