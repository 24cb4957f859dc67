"""Pairing expectations with what there is, so that as many as possible find a partner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["pair"]

__tracebackhide__ = True

T = TypeVar("T")


def pair(
    table: Sequence[Sequence[T]], *, holds: Callable[[T], bool], score: Callable[[T], Any] | None = None
) -> dict[int, int]:
    """Give each row a column of its own.

    The pairs that hold come first, as many as there can be (augmenting paths, so a wildcard does not take the only
    partner of another row).  With ``score``, rows that are left over get the best of the columns that are left
    over; without it they get none.

    Returns:
        The column of each row that found one.
    """
    possible = [[column for column, item in enumerate(row) if holds(item)] for row in table]
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column in sorted(possible[row], key=owner.__contains__):  # free ones first
            if column not in tried:
                tried.add(column)
                if column not in owner or place(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    for row in range(len(table)):
        place(row, set())
    pairs = {row: column for column, row in owner.items()}
    return pairs if score is None else pairs | _leftovers(table, pairs, score)


def _leftovers(table: Sequence[Sequence[T]], pairs: dict[int, int], score: Callable[[T], Any]) -> dict[int, int]:
    taken, found = set(pairs.values()), dict[int, int]()
    for row, items in enumerate(table):
        free = [column for column in range(len(items)) if column not in taken]
        if row not in pairs and free:
            found[row] = max(free, key=lambda column: score(items[column]))
            taken.add(found[row])
    return found
