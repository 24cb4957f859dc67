"""The instants of a delivery at which a worker can die."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError
from ..wording import did_you_mean
from .lines import body_code, lines_of

__all__ = ["DEATHS", "WINDOWS", "CrashWindow", "check_line", "crash_windows"]

#: In the order in which a delivery with a late acknowledgement passes them; an early one comes before ``started``.
WINDOWS: Final = (
    "received",
    "started",
    "in_body",
    "after_body",
    "between_callbacks",
    "before_result",
    "before_ack",
    "after_ack",
)
#: The whole worker, and the pool process that runs the task.
DEATHS: Final = ("node", "child")

#: Where the main process is alone with the message.
_NODE_ONLY = {
    "received": "no pool process has the task yet",
    "after_ack": "the pool process has ended the task, or not begun it: use 'before_ack', or 'started'",
}
_WRITTEN = re.compile(
    r"(?:(?P<death>\w+)@)?(?P<name>\w+)(?::(?:(?P<file>[^:#]+):)?(?P<line>\d+))?(?:#(?P<hit>\d+))?\Z", re.ASCII
)


@dataclass(frozen=True)
class CrashWindow:
    """One instant of a delivery, and what dies there.

    ``str(window)`` is short and can be read back: ``node@before_ack``, ``child@in_body:24``,
    ``node@in_body:helpers.py:31#2``.

    Attributes:
        name: One of ``received``, ``started``, ``in_body``, ``after_body``, ``between_callbacks``, ``before_result``,
            ``before_ack`` and ``after_ack``.
        death: ``node``, the whole worker with its connection, or ``child``, the pool process that runs the task.
        line: Of ``in_body``: the line of the file before which it dies.
        file: Of ``in_body``: the last part of the file's path, where it is not the one that holds the task's body.
        hit: The how-many-eth time within a delivery that the window is reached.

    Raises:
        ConfigurationError: There is no such window, or nothing of the kind can die there.
    """

    name: str
    death: str = "node"
    line: int | None = None
    file: str | None = None
    hit: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check_word("window", self.name, WINDOWS)
        _check_word("death", self.death, DEATHS)
        if (self.line is None) != (self.name != "in_body"):
            needs = "needs a line, as in 'in_body:24'" if self.line is None else "has no lines; 'in_body' has"
            raise ConfigurationError(f"the crash window {self.name!r} {needs}.")
        if self.line is not None and not _is_from_one(self.line):
            raise ConfigurationError(f"the lines of a file are numbers from 1 on; given: {self.line!r}.")
        if not _is_from_one(self.hit):
            raise ConfigurationError(f"a window is reached for the first time as #1; given: #{self.hit}.")
        if self.death == "child" and self.name in _NODE_ONLY:
            raise ConfigurationError(
                f"the pool process cannot die at {self.name!r}: {_NODE_ONLY[self.name]}. The whole worker can: "
                f"'node@{self.name}'."
            )

    @classmethod
    def parse(cls, text: str, *, death: str = "node") -> CrashWindow:
        """Read back what ``str()`` has written; ``death`` is what dies where the text does not say.

        Raises:
            ConfigurationError: It is no window; the text names the nearest one.
        """
        found = _WRITTEN.match(text) if isinstance(text, str) else None  # type: ignore[redundant-expr]
        if found is None:
            raise ConfigurationError(
                f"{text!r} is no crash window. It is written as 'before_ack', 'node@before_ack', 'child@in_body:24' or "
                "'node@in_body:helpers.py:31#2'."
            )
        line, hit = found["line"], found["hit"]
        return cls(
            found["name"], found["death"] or death, int(line) if line else None, file=found["file"],
            hit=int(hit) if hit else 1,
        )  # fmt: skip

    @property
    def __name__(self) -> str:  # pytest reads it: the id of a parameter
        """As ``str()``."""
        return str(self)

    @property
    def is_of_the_body(self) -> bool:
        """Whether it is reached where the body runs, and not in the main process."""
        return self.death == "child" or self.name not in {"received", "before_ack", "after_ack"}

    def is_at(self, *, line: int | None, path: str | None, body: str | None) -> bool:
        """Whether it is this line, in a file that is, or is not, the one of the body."""
        if self.name != "in_body":
            return True
        here = self.file == Path(path).name if self.file and path else path == body
        return line == self.line and here

    def __str__(self) -> str:
        """As ``node@in_body:24#2``."""
        place = "".join(f":{part}" for part in (self.file, self.line) if part is not None)
        return f"{self.death}@{self.name}{place}{f'#{self.hit}' if self.hit > 1 else ''}"


def crash_windows(task: Any, *, deaths: Iterable[str] = DEATHS, lines: bool = True) -> list[CrashWindow]:
    """Every window at which a run of ``task`` could crash, for ``pytest.mark.parametrize``.

    Lines are those of the body, whether or not a call comes to them: a crash at a line that is not reached does
    nothing, and a window with no callbacks to stand between is not reached.

    Args:
        task: The Celery task.
        deaths: ``node``, ``child`` or both.
        lines: Whether to include the lines of the body.

    Raises:
        ConfigurationError: It is no task, or there is no such death.
    """
    if not hasattr(task, "acks_late"):
        raise ConfigurationError(f"crash_windows() takes a task, such as shop.tasks.charge; given: {task!r}")
    deaths = (deaths,) if isinstance(deaths, str) else tuple(deaths)
    body = lines_of(task) if lines else []
    # An early acknowledgement is the main process's alone.
    return [
        CrashWindow(name, death, line)
        for name in WINDOWS
        for line in (body if name == "in_body" else [None])
        for death in deaths
        if death != "child" or not (name in _NODE_ONLY or (name == "before_ack" and not task.acks_late))
    ]


def check_line(task: Any, window: CrashWindow) -> None:
    """Refuse a line that no run of ``task`` can come to.

    Raises:
        ConfigurationError: The body has no such line; the text names the nearest one.
    """
    if window.line is None or window.file is not None or window.line in (lines := lines_of(task)):
        return
    code = body_code(task)
    if code is None:
        raise ConfigurationError(f"expected a body with lines; found instead: {task.name} is not written in Python.")
    line, file = window.line, Path(code.co_filename).name
    raise ConfigurationError(
        f"expected a line of the body of {task.name} that can run ({file}:{lines[0]}-{lines[-1]}); found instead: "
        f"'in_body:{line}'. Nearest: 'in_body:{min(lines, key=lambda each: abs(each - line))}'. A line of another "
        f"function is named with its file: 'in_body:{file}:{line}'."
    )


def _is_from_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_word(what: str, given: object, known: tuple[str, ...]) -> None:
    if given not in known:
        meant = did_you_mean(given, known)
        raise ConfigurationError(f"{given!r} is no {what}.{meant} There are: {', '.join(map(repr, known))}.")
