"""Celery's exponential backoff, as an oracle."""

from __future__ import annotations

from collections.abc import Sequence

from .texts import seconds

__all__ = ["Backoff"]

__tracebackhide__ = True

Delays = Sequence[tuple[int, float]]

#: What is lost where a delay goes through an eta, which has microseconds.
_ROUNDING = 0.001


class Backoff:
    """``min(maximum, factor * 2**n)``, or with jitter anything from 0 to that.

    Mirrors ``celery.utils.time.get_exponential_backoff_interval``.
    """

    def __init__(self, factor: float, maximum: float, *, jitter: bool | str) -> None:
        """Keep the three numbers.

        Raises:
            ValueError: ``jitter`` is not False, True or ``"full"``.
        """
        if jitter not in (False, True, "full"):
            raise ValueError(f"jitter is False, True or 'full' (the only kind that Celery has), got {jitter!r}")
        self.factor, self.maximum, self.jitter = factor, maximum, bool(jitter)

    def __str__(self) -> str:
        """As ``min(600, 1 * 2**n)``."""
        formula = f"min({self.maximum}, {self.factor} * 2**n)"
        return f"0 to {formula}" if self.jitter else formula

    def bound(self, retry: int) -> float:
        """The delay of the retry with this number, counted from 1."""
        return float(min(self.maximum, self.factor * 2 ** (retry - 1)))

    def holds(self, delays: Delays) -> bool:
        """Whether each of them, given with the number of its retry, is as it should be."""
        return all(self._fits(*delay) for delay in delays)

    def _fits(self, retry: int, delay: float) -> bool:
        bound = self.bound(retry)
        lowest = 0 if self.jitter else bound
        return lowest - _ROUNDING <= delay <= bound + _ROUNDING

    def rows(self, delays: Delays) -> list[list[str]]:
        """A table of what was expected and what was found."""
        rows = [["retry", "expected", "found", ""]]
        for retry, delay in delays:
            expected = f"{'0 to ' * self.jitter}{seconds(self.bound(retry))}"
            rows.append([str(retry), expected, seconds(delay), "" if self._fits(retry, delay) else "<--"])
        return rows

    def hints(self, delays: Delays) -> list[str]:
        """What would make it hold."""
        jittered = Backoff(self.factor, self.maximum, jitter=True)
        if not self.jitter and jittered.holds(delays):
            return ["hint: all of them are within the bound, so the delay is jittered: pass jitter=True"]
        first = dict(delays).get(1)
        scaled = Backoff(first, self.maximum, jitter=False) if first and not self.jitter else None
        if scaled is not None and scaled.holds(delays):
            return [f"hint: they are those of factor={first:g}"]
        return []
