"""The first thing in which two observations differ, with the path to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..wording import LONGEST_VALUE, shown

__all__ = ["Difference", "Incomparable", "first_difference", "shown"]

#: How much of a long value is looked at, and shown before its first difference.
_WHOLE = 1_000_000
_CONTEXT = 20


@dataclass(frozen=True)
class Difference:
    """Two values at one path that should be equal.

    Attributes:
        path: Where, as ``['lines'][2]``; empty for the whole.
        expected, found: The two, as texts.
        by_identity: They are objects without an ``__eq__``: such a one equals nothing but itself, not even its copy.
    """

    path: str
    expected: str
    found: str
    by_identity: bool = False


_Inside = Callable[[Any, Any, str], "Difference | None"]


class Incomparable(Exception):
    """Two values whose ``==`` gives no answer; the text says where and why."""


def first_difference(expected: Any, found: Any, *, path: str = "") -> Difference | None:
    """The first difference in the order of what was expected; None where there is none.

    Raises:
        Incomparable: Somewhere in them is something that cannot be compared.
    """
    try:
        return _compare(expected, found, path)
    except RecursionError:
        raise Incomparable(f"what it returned{_at(path)} contains itself") from None


def _compare(expected: Any, found: Any, path: str) -> Difference | None:
    if expected is found:
        return None
    inside = next((compare for kind, compare in _KINDS if isinstance(expected, kind) and isinstance(found, kind)), None)
    if inside is not None and _eq_of(expected) in _PLAIN_EQ:
        return inside(expected, found, path)
    if _equal(expected, found, path):
        return None
    if inside is None and is_dataclass(expected) and type(expected) is type(found):
        inside = _fields
    difference = inside(expected, found, path) if inside is not None else None
    by_identity = type(expected) is type(found) and _eq_of(expected) is object.__eq__
    return difference or Difference(path, *_told_apart(expected, found), by_identity=by_identity)


def _mappings(expected: Mapping[Any, Any], found: Mapping[Any, Any], path: str) -> Difference | None:
    for key in [*expected, *(key for key in found if key not in expected)]:
        here = f"{path}[{shown(key)}]"
        if key not in found:
            return Difference(here, shown(expected[key]), "nothing there")
        if key not in expected:
            return Difference(here, "nothing there", shown(found[key]))
        if difference := _compare(expected[key], found[key], here):
            return difference
    return None


def _sequences(expected: Sequence[Any], found: Sequence[Any], path: str) -> Difference | None:
    if isinstance(expected, list) != isinstance(found, list):
        return Difference(path, *_told_apart(expected, found))
    if len(expected) != len(found):
        one, other = (f"{_counted(len(each))}, {shown(each)}" for each in (expected, found))
        return Difference(path, one, other)
    pairs = zip(expected, found, strict=True)
    return next(filter(None, (_compare(*pair, f"{path}[{i}]") for i, pair in enumerate(pairs))), None)


def _sets(expected: AbstractSet[Any], found: AbstractSet[Any], path: str) -> Difference | None:
    if _equal(expected, found, path):
        return None
    missing, extra = _members(expected - found), _members(found - expected)
    return Difference(path, f"{missing} among them" if missing else f"no {extra}", extra or f"no {missing}")


def _fields(expected: Any, found: Any, path: str) -> Difference | None:
    names = [field.name for field in fields(expected) if field.compare]
    pairs = ((name, getattr(expected, name), getattr(found, name)) for name in names)
    return next(filter(None, (_compare(one, other, f"{path}.{name}") for name, one, other in pairs)), None)


#: A value of these is compared item by item, unless its own ``__eq__`` says that it is equal.
_KINDS: tuple[tuple[Any, _Inside], ...] = ((Mapping, _mappings), ((list, tuple), _sequences), (AbstractSet, _sets))
_PLAIN_EQ: tuple[Any, ...] = (
    Mapping.__eq__,
    dict.__eq__,
    list.__eq__,
    tuple.__eq__,
    set.__eq__,
    frozenset.__eq__,
    AbstractSet.__eq__,
)


def _eq_of(value: Any) -> Any:
    return type(value).__eq__


def _equal(expected: Any, found: Any, path: str) -> bool:
    try:
        # Not-a-number is as it was before, although it is not equal to itself.
        return bool(expected == found) or bool(expected != expected and found != found)  # noqa: PLR0124
    except Exception as error:
        kind = f"{type(expected).__module__}.{type(expected).__qualname__}"
        text = f"comparing what it returned{_at(path)}, a {kind}, raised {type(error).__name__}: {error}"
        raise Incomparable(text) from error


def _told_apart(expected: Any, found: Any) -> tuple[str, str]:
    """Both as texts; where these are the same, with their types."""
    one, other = shown(expected), shown(found)
    if one != other:
        return one, other
    whole = shown(expected, longest=_WHOLE), shown(found, longest=_WHOLE)
    if whole[0] != whole[1]:
        return _around_the_difference(*whole)
    if type(expected) is type(found):
        return one, f"another {one}"
    return f"{one} ({type(expected).__name__})", f"{other} ({type(found).__name__})"


def _around_the_difference(one: str, other: str) -> tuple[str, str]:
    """The parts of two long texts in which they begin to differ."""
    pairs = enumerate(zip(one, other, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    begin = max(first - _CONTEXT, 0)
    parts = [text[begin : begin + LONGEST_VALUE - 2] for text in (one, other)]
    return f"…{parts[0]}…", f"…{parts[1]}…"


def _members(members: AbstractSet[Any]) -> str:
    """The same text whatever the hash seed."""
    texts = sorted(map(shown, members))
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _counted(items: int) -> str:
    return f"{items} item{'s' * (items != 1)}"


def _at(path: str) -> str:
    return f" at {path}" if path else ""
