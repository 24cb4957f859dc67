"""Lines by ``sys.settrace``, before Python 3.12."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from .leaving import codes_below, has_to_wait, is_over, is_way_out, leave, manager_of

if TYPE_CHECKING:
    from .lines import LineWatch

__all__ = ["Tracing"]

_Trace = Callable[[FrameType, str, Any], Any]
_YIELD: Final = dis.opmap["YIELD_VALUE"]
#: Where a coroutine awaits another one, whose result comes as a StopIteration.
_AWAIT: Final = dis.opmap.get("SEND", dis.opmap.get("YIELD_FROM"))


class Tracing(threading.local):
    """The watches of each thread."""

    def __init__(self) -> None:
        """None yet, in this thread."""
        self._watches: list[LineWatch] = []
        #: What frames die of as soon as an ``__exit__`` has come to its end, and whose ``on_line`` has raised it.
        self._put_off: dict[FrameType, tuple[object, BaseException]] = {}

    def begin(self, watch: LineWatch) -> None:
        """Add the innermost watch of this thread."""
        if not self._watches:
            self._outside = _stack()
            self._trace_before, self._profile_before = sys.gettrace(), sys.getprofile()
        self._watches.append(watch)
        sys.settrace(self._called)

    def end(self, watch: LineWatch) -> None:
        """Take it away, and with the outermost one all that is ours."""
        self._watches.remove(watch)
        for frame in [each for each, (raised_by, _) in self._put_off.items() if raised_by == watch.on_line]:
            self._due(frame)  # a coroutine that was not awaited to its end
        self._put_profile_back()
        if self._watches:
            sys.settrace(self._called)
        else:
            sys.settrace(self._trace_before)
            del self._outside, self._trace_before, self._profile_before

    def _put_profile_back(self) -> None:
        before: Any = self._profile_before
        if sys.getprofile() is before:
            return
        if before is not None and not callable(before):
            sys.setprofile(None)
            before.enable()  # cProfile's, which sys.setprofile() does not take
        else:
            sys.setprofile(before)

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> _Trace | None:
        """The trace function: a frame begins."""
        return self._tracer(frame.f_code)

    def _tracer(self, code: CodeType) -> _Trace | None:
        """What traces the lines of a frame of this code; None where nobody wants them."""
        callbacks = [watch.on_line for watch in self._watches if watch.wants(code)]
        if not callbacks:
            return None

        def trace(frame: FrameType, event: str, arg: Any) -> _Trace:
            if event == "line":
                for on_line in callbacks:
                    try:
                        on_line(code, frame.f_lineno)
                    except BaseException as error:  # noqa: PERF203 - whose it is, is asked
                        if self._puts_off(on_line, frame, error):
                            break
                        sys.setprofile(self._unwinding)  # Python takes us away now
                        raise
            elif frame in self._put_off:
                self._exiting(frame, event, arg)
            return trace

        return trace

    def _puts_off(self, on_line: object, frame: FrameType, error: BaseException) -> bool:
        """Whether a frame that is to die leaves a ``with`` before it does."""
        if is_way_out(frame.f_code, frame.f_lasti):
            sys.setprofile(partial(self._leaving, (frame, error)))
            return True
        if frame not in self._put_off and not has_to_wait(frame.f_code, frame.f_lasti):
            return False
        self._put_off.setdefault(frame, (on_line, error))
        frame.f_trace_opcodes = True
        return True

    def _exiting(self, frame: FrameType, event: str, arg: Any) -> None:
        """Die, if the ``__exit__`` that an error has called has come to its end, or raises itself."""
        raises = event == "exception" and not (arg[0] is StopIteration and _opcode(frame) == _AWAIT)
        if raises or (event == "opcode" and is_over(frame.f_code, frame.f_lasti, self._put_off[frame][1])):
            sys.setprofile(self._unwinding)  # as in `trace`
            raise self._due(frame)

    def _due(self, frame: FrameType) -> BaseException:
        """What a frame dies of, that waits no longer."""
        frame.f_trace_opcodes = False
        return self._put_off.pop(frame)[1]

    def _unwinding(self, frame: FrameType, event: str, _arg: Any) -> None:
        """The profile function, while no trace function is there: come back, and forbid the call that is next."""
        if event in {"c_return", "c_exception"} or (event == "call" and _is_at_a_yield(frame)):
            return
        at = self._come_back(frame if event == "c_call" else frame.f_back)
        if event != "return" and at is not None:
            for watch in self._watches:
                if watch.wants(at.f_code):
                    watch.on_line(at.f_code, at.f_lineno)  # where it raises, Python takes this function away
        self._put_profile_back()

    def _leaving(self, death: tuple[FrameType, BaseException], frame: FrameType, event: str, arg: Any) -> None:
        """The profile function, while ``__exit__`` is about to be called: it is called with the error instead."""
        body, error = death
        if event == "c_call" and frame is body:
            self._leave(getattr(arg, "__self__", None), error)
        elif event == "call" and frame.f_back is body:
            self._leave(manager_of(frame), error)
        raise error  # Python takes this function away; `trace` is still there

    def _leave(self, manager: Any, error: BaseException) -> None:
        """Leave it, unless it is as dead as the body."""
        if not any(watch.wants(code) for code in codes_below(manager) for watch in self._watches):
            leave(manager, error)

    def _come_back(self, frame: FrameType | None) -> FrameType | None:
        """Trace the lines of every frame again that is inside of the outermost watch; the innermost that is watched."""
        innermost = None
        sys.settrace(self._called)
        while frame is not None and id(frame) not in self._outside:
            frame.f_trace = tracer = self._tracer(frame.f_code)
            innermost = innermost or (frame if tracer else None)
            frame = frame.f_back
        return innermost


def _is_at_a_yield(frame: FrameType) -> bool:
    """Whether a generator goes on, or is closed, which calls nothing: where that raises, Python warns of it."""
    return frame.f_lasti >= 0 and _opcode(frame) == _YIELD


def _opcode(frame: FrameType) -> int:
    return frame.f_code.co_code[frame.f_lasti]


def _stack() -> set[int]:
    """The ids of all frames around the outermost watch; they live as long as it does."""
    ids: set[int] = set()
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - of whoever has entered it, which may be a generator
    while frame is not None:
        ids.add(id(frame))
        frame = frame.f_back
    return ids
