"""Rows, and the Markdown table that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "at_least", "at_most", "markdown", "micros", "millis", "times"]

SIGN = "\N{MULTIPLICATION SIGN}"
HEADER = ("what", "measured", "beside, in the same run", "ratio", "goal", "")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        measured: The value, with its unit.
        beside: What it was compared with, with its value.
        ratio: The one to the other.
        goal: What the specification asks for; empty where it asks for nothing.
        reached: Whether it is; None where there is no goal, or nothing was measured.
    """

    what: str
    measured: str
    beside: str = ""
    ratio: str = ""
    goal: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "reached", False: "**not reached**", None: ""}[self.reached]

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of the table's columns."""
        return self.what, self.measured, self.beside, self.ratio, self.goal, self.verdict


def at_most(value: float, limit: float) -> bool:
    """Whether a value keeps below its limit, to the three digits that the table shows."""
    return float(f"{value:.3g}") <= limit


def at_least(value: float, limit: float) -> bool:
    """Whether a value gets as far as its limit, to the three digits that the table shows."""
    return float(f"{value:.3g}") >= limit


def markdown(rows: Iterable[Row]) -> str:
    """The table."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def millis(seconds: float) -> str:
    """As ``1.23 ms``, or in seconds from a second on."""
    return f"{_digits(seconds)} s" if seconds >= 1 else f"{_digits(seconds * 1e3)} ms"


def micros(seconds: float) -> str:
    """As ``283 µs``."""
    return f"{_digits(seconds * 1e6)} µs"


def times(ratio: float, exact: str | None = None) -> str:
    """A ratio, to three digits or in a format of its own, with the multiplication sign; small ones as ``1 / 250``."""
    if ratio < 0.05:
        return f"1 / {_digits(1 / ratio)}"
    return f"{_digits(ratio) if exact is None else format(ratio, exact)}{SIGN}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
