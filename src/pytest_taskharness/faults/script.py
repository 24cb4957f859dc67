"""The faults that one test has asked for, and those that have struck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

from ..errors import ConfigurationError
from .lines import codes_of
from .luck import Luck
from .windows import CrashWindow

__all__ = ["Fault", "Point", "Script", "Watched"]

#: Code objects, or what says of each whether it is one of them; the former costs less.
Watched = frozenset[CodeType] | Callable[[CodeType], bool]
#: The windows that a run does not come to whose body is replaced by an error.
_NEEDS_THE_BODY = ("in_body", "after_body", "between_callbacks")


@dataclass(frozen=True)
class Point:
    """One window of one delivery, at the moment when it is reached.

    Attributes:
        window: Its name.
        task: The task's registered name.
        id: The task id.
        code: Of ``in_body``: the code object that runs.
        line: Of ``in_body``: the line of the file that is about to run.
        hit: The how-many-eth time within the delivery.
    """

    window: str
    task: str
    id: str
    code: CodeType | None = None
    line: int | None = None
    hit: int = 1

    @property
    def path(self) -> str | None:
        """The file of the line."""
        return None if self.code is None else self.code.co_filename


@dataclass(eq=False)
class Fault:
    """Something that is to go wrong.

    Attributes:
        kind: ``fail``, ``crash``, ``slow``, ``lose_result`` or ``publish_unknown``.
        task: The registered name of the task that it is for.
        what: The exception, the window, or the seconds.
        times: How often it strikes; None: each time.
        must_strike: Whether a test in which it never does has a mistake.
        struck: How often it has.
        origin: The line of the test that asked for it.
        forked: Of a crash: whether the body dies in a process of its own.
    """

    kind: str
    task: str
    what: Any = None
    times: int | None = 1
    must_strike: bool = True
    struck: int = 0
    origin: str = ""
    forked: bool = False
    _cancelled: bool = field(default=False, repr=False)

    @property
    def is_pending(self) -> bool:
        """Whether it can strike."""
        return not self._cancelled and (self.times is None or self.struck < self.times)

    @property
    def is_amiss(self) -> bool:
        """Whether it should have struck, and never did."""
        return self.must_strike and not self.struck and not self._cancelled

    def cancel(self) -> None:
        """Strike no more."""
        self._cancelled = True

    def __str__(self) -> str:
        """As the call that made it, ``crash('shop.charge', at='node@before_ack')``."""
        what = {"crash": f", at={str(self.what)!r}", "fail": f", {self.what!r}", "slow": f", seconds={self.what!r}"}
        times = "" if self.times == 1 else f", times={self.times}"
        return f"{self.kind}({self.task!r}{what.get(self.kind, '')}{times})"


@dataclass(eq=False)
class _Watcher:
    task: str
    on_point: Callable[[Point], object]
    is_watched: Callable[[CodeType], bool] | None


class Script:
    """The faults of one world."""

    def __init__(self) -> None:
        """Nothing goes wrong."""
        self.faults: list[Fault] = []
        self._watchers: list[_Watcher] = []
        #: What goes wrong by chance; None: nothing.
        self.luck: Luck | None = None
        #: Whether anybody may want to know what is reached; asked so often that it is kept.
        self.armed = False

    def trust_to(self, luck: Luck) -> None:
        """Let anything go wrong by chance."""
        self.luck, self.armed = luck, True

    def add(self, fault: Fault) -> Fault:
        """Let something go wrong.

        Raises:
            ConfigurationError: It contradicts another fault, or could never strike.
        """
        times: object = fault.times
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            raise ConfigurationError(
                f"{fault.kind}({fault.task!r}): times= is a number from 1 on, or None for each time; given: {times!r}"
            )
        for other in self.faults:
            if other.is_pending and other.task == fault.task and (why := _contradiction(other, fault)):
                raise ConfigurationError(f"{fault} contradicts {other}{_at(other)}: {why}")
        self.faults.append(fault)
        self.armed = True
        return fault

    def strikes(self, kind: str, task: str) -> Fault | None:
        """The next fault of this kind for this task, which strikes now; None where there is none."""
        fault = next((each for each in self._pending(kind) if each.task == task), None)
        if fault is not None:
            fault.struck += 1
        return fault

    def _pending(self, kind: str) -> Iterator[Fault]:
        return (fault for fault in self.faults if fault.kind == kind and fault.is_pending)

    def never_struck(self) -> list[Fault]:
        """The faults that the test has asked for in vain."""
        return [fault for fault in self.faults if fault.is_amiss]

    def forks(self, task: str) -> bool:
        """Whether the next run of this task is to run in a process of its own."""
        dying = (fault for fault in self._pending("crash") if fault.forked and fault.task == task)
        return any(fault.what.is_of_the_body for fault in dying)

    # -- windows

    def reach(self, point: Point, *, death: str | None = None, body: CodeType | None = None) -> CrashWindow | None:
        """A delivery comes to a window: what dies there, if anything does.

        Args:
            point: The window.
            death: The only death that can be had here, where it is not the window's usual place.
            body: The code of the task's body, which an ``in_body`` without a file means.
        """
        if death != "child":
            for watcher in list(self._watchers):
                if watcher.task == point.task:
                    watcher.on_point(point)
        for fault in self._pending("crash"):
            window: CrashWindow = fault.what
            if fault.task == point.task and _is_reached(window, point, body) and death in {None, window.death}:
                fault.struck += 1
                return window
        return self.luck.crashes(point.id, point.window) if self.luck and death != "child" else None

    @contextmanager
    def watch(
        self, task: str, on_point: Callable[[Point], object], *, is_watched: Callable[[CodeType], bool] | None = None
    ) -> Iterator[None]:  # fmt: skip
        """While entered, see every window that a task comes to.

        Args:
            task: The registered name.
            on_point: Called with each, before anything dies there.
            is_watched: Whether to see the lines of a code object too; only those of the body if not given.
        """
        watcher = _Watcher(task, on_point, is_watched)
        self._watchers.append(watcher)
        self.armed = True
        try:
            yield
        finally:
            self._watchers.remove(watcher)
            self.armed = bool(self.faults or self._watchers or self.luck)

    def lines_wanted(self, task: str, body: CodeType | None) -> Watched | None:
        """Whose lines somebody wants to see while the body of this task runs; None where nobody does."""
        predicates = [watcher.is_watched for watcher in self._watchers if watcher.task == task]
        predicates += [
            _in_file(fault.what.file) if fault.what.file else None
            for fault in self._pending("crash")
            if fault.task == task and fault.what.name == "in_body"
        ]
        if not predicates:
            return None
        codes = codes_of(body) if body is not None else frozenset()
        others = [is_watched for is_watched in predicates if is_watched is not None]
        if not others:
            return codes
        its_own = len(others) < len(predicates)
        return lambda code: (its_own and code in codes) or any(is_watched(code) for is_watched in others)


def _is_reached(window: CrashWindow, point: Point, body: CodeType | None) -> bool:
    if (window.name, window.hit) != (point.window, point.hit):
        return False
    return window.is_at(line=point.line, path=point.path, body=body.co_filename if body else None)


def _in_file(name: str) -> Callable[[CodeType], bool]:
    return lambda code: code.co_filename.replace("\\", "/").rpartition("/")[2] == name


def _contradiction(first: Fault, second: Fault) -> str | None:
    kinds = {first.kind, second.kind}
    if kinds == {"fail"} and first.times is None:
        return "that one strikes each time, and so this one never would. Give that one times=, or cancel() it."
    if kinds == {"fail", "crash"}:
        fail, crash = (first, second) if first.kind == "fail" else (second, first)
        if fail.times is None and crash.what.name in _NEEDS_THE_BODY:
            return f"a run whose body is replaced by an error never comes to {crash.what.name!r}. Give fail() times=."
    if kinds == {"crash"} and first.what != second.what and replace(first.what, death=second.what.death) == second.what:
        return "two things cannot die at one instant. Script them for different windows, or hits."
    return None


def _at(fault: Fault) -> str:
    return f" ({fault.origin})" if fault.origin else ""
