"""Whether what was written equals what is there, and the first reason why it does not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["Verdict", "compare", "equal", "error_text"]

__tracebackhide__ = True

_PLAIN_EQ = (list.__eq__, tuple.__eq__, dict.__eq__)


class Verdict(NamedTuple):
    """The outcome of one comparison.

    Attributes:
        holds: Whether the two are equal.
        note: Why not, where that is not plain to see; may quote the actual value.
        raised: The name of the exception that the comparison raised, or ``""``.
    """

    holds: bool
    note: str = ""
    raised: str = ""


def compare(expected: Any, actual: Any) -> Verdict:
    """Compare, with the expectation on the left, so that any matcher decides for itself.

    A matcher that raises does not match; the verdict says so.
    """
    try:
        holds = equal(expected, actual)
    except Exception as error:  # noqa: BLE001 - a user's method may raise anything
        return Verdict(False, f"comparing raised {error_text(error)}", type(error).__name__)
    return Verdict(holds, "" if holds else _reason(expected, actual))


def equal(expected: Any, actual: Any) -> bool:
    """Like ``expected == actual``, except that a list equals a tuple at any depth: JSON cannot tell them apart."""
    if _is_plain(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        return len(expected) == len(actual) and all(map(equal, expected, actual))
    if _is_plain(expected, dict) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(equal(item, actual[key]) for key, item in expected.items())
    return bool(expected == actual) or _is_dumped(expected, actual)


def _is_dumped(expected: Any, actual: Any) -> bool:
    """Whether a pydantic model was expected, and this is the dict that one travels as."""
    read = getattr(type(expected), "model_validate", None)
    if read is None or not isinstance(actual, Mapping):
        return False
    with suppress(ValueError):  # pydantic's own errors are such
        return bool(expected == read(actual))
    return False


def error_text(error: BaseException) -> str:
    """As the last line of a traceback: the type, and the message where there is one."""
    name = getattr(error, "type_name", type(error).__name__)
    text = str(error)
    return f"{name}: {text}" if text else str(name)


def _is_plain(value: Any, types: type | tuple[type, ...]) -> bool:
    # A subclass with an __eq__ of its own is a matcher, and decides for itself.
    return isinstance(value, types) and type(value).__eq__ in _PLAIN_EQ


def _reason(expected: Any, actual: Any) -> str:
    if type(expected) is not type(actual) and _safe_str(expected) == _safe_str(actual):
        return f"{type(expected).__name__}, found {type(actual).__name__}"
    path = _first_difference(getattr(expected, "subset", expected), actual)
    return f"first difference at {path}" if path else ""


def _safe_str(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's method may raise anything
        return object.__repr__(value)


def _first_difference(expected: Any, actual: Any) -> str:
    """The path to the first item that differs, as ``['lines'][2]``; ``""`` where there are no items to compare."""
    for key, item in _items(expected, actual):
        if not _has(actual, key):
            return f"[{key!r}], which is missing"
        if not compare(item, actual[key]).holds:
            return f"[{key!r}]{_first_difference(getattr(item, 'subset', item), actual[key])}"
    return ""


def _items(expected: Any, actual: Any) -> list[tuple[Any, Any]]:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return list(expected.items())
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        return list(enumerate(expected))
    return []


def _has(actual: Any, key: Any) -> bool:
    return key in actual if isinstance(actual, Mapping) else key < len(actual)
