"""What one clean run comes past: the windows at which it could have died, and the lines of its body."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any, Final

from ..errors import ConfigurationError
from ..faults import CrashWindow, Point
from ..faults.lines import body_code, codes_of, in_package, package_root
from .plans import Plan

__all__ = ["FIRST_HITS", "Passage"]

#: Of a line that is reached many times, the worker dies at these times, and at the last.
FIRST_HITS: Final = 3

#: Where the main process is alone with the message.
_NODE_ONLY = ("received", "after_ack")


class Passage:
    """The windows of one clean run, in the order in which they were reached.

    A window that a later attempt (a retry) comes to again is the same window: the crash strikes the first time.
    """

    def __init__(self, body: Any) -> None:
        """``body`` is a task, or a function."""
        self._code = body_code(body)
        self._codes = codes_of(body)
        self.points: list[Point] = []

    def reach(self, point: Point) -> None:
        """Note one more; what a run of the same task under another id comes to does not count."""
        if not self.points or self.points[0].id == point.id:
            self.points.append(point)

    def package(self) -> Callable[[CodeType], bool] | None:
        """Tells the code of the package that holds the body; None where nobody knows it."""
        if self._code is None:
            return None
        root = package_root(self._code)
        return lambda code: code in self._codes or in_package(code, root)

    @property
    def starts(self) -> int:
        """How often the body has begun: by the first of its lines, or where it has none, by its end."""
        return sum(_begins(before, point) for before, point in zip([None, *self.points], self.points, strict=False))

    @property
    def completions(self) -> int:
        """How often the body has come to its end."""
        return sum(point.window == "after_body" for point in self.points)

    @property
    def lines(self) -> int:
        """How many lines the body has run in its first attempt, one that ran twice counted twice."""
        ends = (i for i, point in enumerate(self.points) if point.window == "after_body")
        return sum(point.window == "in_body" for point in self.points[: next(ends, None)])

    def windows(self, *, every_hit: bool = False) -> list[CrashWindow]:
        """Each with each death that can be had there; of a line in a loop, only the first hits and the last."""
        last = self._last_hits()
        found = [
            replace(self._window(point), death=death)
            for point in self.points
            if every_hit or point.hit <= FIRST_HITS or point.hit == last[_place(point)]
            for death in self._deaths(point)
        ]
        return list(dict.fromkeys(found))

    def point_of(self, window: CrashWindow) -> int | None:
        """Which of the points it is."""
        there = replace(window, death="node")
        return next((i for i, point in enumerate(self.points) if self._window(point) == there), None)

    def check(self, plan: Plan, *, origin: str) -> None:
        """Refuse a crash at a window that the clean run has not come to.

        Raises:
            ConfigurationError: The text names the nearest ones.
        """
        known = [str(each) for each in self.windows(every_hit=True)]
        if str(plan.window) in known:
            return
        near = difflib.get_close_matches(str(plan.window), known, n=3, cutoff=0.3) or known[:3]
        raise ConfigurationError(
            f"{str(plan)!r} (from {origin}): one clean run does not come to that window. "
            f"Nearest: {', '.join(f'crash:{each}' for each in near) or 'none, it comes to no window at all'}."
        )

    def _deaths(self, point: Point) -> Iterable[str]:
        if point.window in _NODE_ONLY or (point.window == "before_ack" and not self._has_begun_before(point)):
            return ("node",)
        return ("node", "child")

    def _has_begun_before(self, point: Point) -> bool:
        """Whether the pool process has the task when its message is acknowledged: late, that is."""
        earlier = self.points[: self.points.index(point)]
        return any(each.window == "started" for each in earlier)

    def _window(self, point: Point) -> CrashWindow:
        elsewhere = point.code is not None and point.code not in self._codes
        file = Path(point.path).name if elsewhere and point.path else None
        return CrashWindow(point.window, line=point.line, file=file, hit=point.hit)

    def _last_hits(self) -> Counter[Any]:
        last: Counter[Any] = Counter()
        for point in self.points:
            last[_place(point)] = max(last[_place(point)], point.hit)
        return last


def _place(point: Point) -> Any:
    return point.window, point.path, point.line


def _begins(before: Point | None, point: Point) -> bool:
    was_outside = before is None or before.window != "in_body"
    return was_outside and point.window in {"in_body", "after_body"}
