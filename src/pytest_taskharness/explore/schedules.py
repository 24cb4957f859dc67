"""The order in which two copies of a body take turns: every one with no more than so many preemptions.

A schedule is a tuple of line counts: the first copy runs so many lines, then the second so many, and so on; after the
last number each runs to its end, beginning with the one whose turn it is.  Which schedules there are is found out on
the way: how long a copy goes on depends on what the other has done before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .stage import Step

__all__ = ["Search", "lines_to_its_end"]

Schedule = tuple[int, ...]


def lines_to_its_end(schedule: Schedule, steps: Sequence[Step]) -> int:
    """How many lines the copy ran, without a break, whose turn it was after the last number."""
    tail = steps[sum(schedule) :]
    turn = len(schedule) % 2
    return next((i for i, step in enumerate(tail) if step.copy != turn), len(tail))


@dataclass
class Search:
    """All schedules up to a bound, those with the fewest preemptions first.

    Attributes:
        bound: How many preemptions a schedule may have.
        most: How many schedules may be tried.
        tried: How many were.
        left_out: Whether there would have been more.
    """

    bound: int
    most: int
    tried: int = 0
    left_out: bool = False
    _next: list[Schedule] = field(default_factory=list)

    def run(self, attempt: Callable[[Schedule], tuple[Sequence[Step], bool]], *, lines: int) -> Schedule | None:
        """Try them until one fails.

        Args:
            attempt: Runs one schedule: the steps, and whether all is well.
            lines: How many lines the first copy runs where nobody interrupts it.

        Returns:
            The schedule that failed, or None.
        """
        level: list[Schedule] = [(count,) for count in range(1, lines + 1)]
        while level:
            self._next = []
            for schedule in level:
                if self.tried >= self.most:
                    self.left_out = True
                    return None
                if not self._try(schedule, attempt):
                    return schedule
            level = self._next
        return None

    def _try(self, schedule: Schedule, attempt: Callable[[Schedule], tuple[Sequence[Step], bool]]) -> bool:
        self.tried += 1
        steps, is_well = attempt(schedule)
        if len(schedule) < self.bound:
            # After the last line too: then the body has ended, and its result is not stored.
            self._next += [(*schedule, count) for count in range(1, lines_to_its_end(schedule, steps) + 1)]
        return is_well
