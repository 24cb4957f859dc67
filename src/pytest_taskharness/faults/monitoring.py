"""Lines by ``sys.monitoring``, since Python 3.12: it goes on when a callback raises, and disturbs no debugger."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..errors import TaskHarnessError
from .leaving import codes_below, has_to_wait, is_over, is_way_out, leave

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
        self._leaving: dict[int, tuple[CodeType, BaseException]] = {}
        #: What frames die of as soon as an ``__exit__`` has come to its end, and whose watch has raised it.
        self._put_off: dict[FrameType, tuple[LineWatch, BaseException]] = {}

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
            for frame in [each for each, (raised_by, _) in self._put_off.items() if raised_by is watch]:
                self._due(frame)  # a coroutine that was not awaited to its end
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
        python.register_callback(self._tool, python.events.INSTRUCTION, self._on_instruction)

    def _give_tool_back(self) -> None:
        events = self._python.events
        for event in (events.LINE, events.PY_START, events.PY_RESUME, events.CALL, events.INSTRUCTION):
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
                    if not self._puts_off(watch, sys._getframe(1), error):  # noqa: SLF001 - of the watched code
                        raise
                    return

    def _puts_off(self, watch: LineWatch, frame: FrameType, error: BaseException) -> bool:
        """Whether a frame that is to die leaves a ``with`` before it does."""
        code, offset = frame.f_code, frame.f_lasti
        with self._lock:
            if is_way_out(code, offset):
                self._leaving[threading.get_ident()] = code, error
            elif frame not in self._put_off and not has_to_wait(code, offset):
                return False
            else:
                self._put_off.setdefault(frame, (watch, error))
            self._listen(code)
        return True

    def _listen(self, code: CodeType) -> None:
        """Be told of the calls, or of all instructions, of a code as long as somebody dies in it."""
        events, of_python = self._lines, self._python.events
        if any(leaving is code for leaving, _ in self._leaving.values()):
            events |= of_python.CALL
        if any(frame.f_code is code for frame in self._put_off):
            events |= of_python.INSTRUCTION
        self._python.set_local_events(self._tool, code, events)

    def _due(self, frame: FrameType) -> BaseException:
        """What a frame dies of, that waits no longer."""
        with self._lock:
            _, error = self._put_off.pop(frame)
            self._listen(frame.f_code)
        return error

    def _on_instruction(self, code: CodeType, offset: int) -> None:
        """The watched code goes on; it dies as soon as the ``__exit__`` that an error has called is at its end."""
        frame = sys._getframe(1)  # noqa: SLF001 - of the watched code
        waiting = self._put_off.get(frame)
        if waiting is not None and is_over(code, offset, waiting[1]):
            raise self._due(frame)

    def _on_call(self, code: CodeType, _offset: int, called: Any, _first: object) -> None:
        """The watched code calls ``__exit__``, in a body that is dead: it is called with the error instead."""
        with self._lock:
            _, error = self._leaving.pop(threading.get_ident(), (code, None))
            if error is None:
                return
            self._listen(code)
        manager = getattr(called, "__self__", None)
        wanted = (watch.wants(each) for each in codes_below(manager) for watch in self._watches[threading.get_ident()])
        if not any(wanted):
            leave(manager, error)
        raise error
