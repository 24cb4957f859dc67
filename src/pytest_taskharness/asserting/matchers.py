"""The two words that an expectation may use beyond ``==``: ``including`` and ``exactly``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .matching import equal

__all__ = ["Exactly", "exactly", "including", "is_signature"]

__tracebackhide__ = True


class Including:
    """Equals whatever contains it; made by :func:`including`."""

    def __init__(self, subset: Mapping[Any, Any] | Sequence[Any]) -> None:
        """Keep what must be contained."""
        self.subset = subset

    def __eq__(self, other: object) -> bool:
        """Whether ``other`` contains the subset."""
        return _covers(self.subset, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """As it was written."""
        return f"including({self.subset!r})"


def including(subset: Mapping[Any, Any] | Sequence[Any]) -> Any:
    """Match a dict that has at least these items, however deep.

    Dicts inside ``subset`` are subsets too; lists must have the same length and are compared item by item, each of
    which may be a subset again.  Leaves may be any matcher.

    Example:
        ``harness.assert_enqueued(ship.s(order=including({"id": 42, "address": {"country": "DE"}})))``

    Raises:
        TypeError: ``subset`` is neither a dict nor a list.
    """
    if isinstance(subset, str) or not isinstance(subset, (Mapping, Sequence)):
        raise TypeError(f"including() takes a dict or a list, got {subset!r}; any other value needs no wrapping")
    return Including(subset)


def _covers(subset: Any, actual: Any) -> bool:
    if isinstance(subset, Mapping):
        return isinstance(actual, Mapping) and all(
            key in actual and _covers(item, actual[key]) for key, item in subset.items()
        )
    if isinstance(subset, (list, tuple)) and isinstance(actual, (list, tuple)):
        return len(subset) == len(actual) and all(map(_covers, subset, actual))
    return equal(subset, actual)


@dataclass(frozen=True)
class Exactly:
    """A signature that wants nothing more than it says; made by :func:`exactly`."""

    signature: Mapping[str, Any]


def exactly(sig: Mapping[str, Any]) -> Any:
    """Match a message that was published with these arguments and options, and with nothing more.

    Every argument that the publisher passed must be written, none may be left to its default, and no option may be
    set that is not written.  Options that Celery or a route fills in for every message (the queue, the exchange,
    the serializer, the publishing retry policy) are compared only where they are written.

    Example:
        ``harness.assert_enqueued(exactly(send_email.s(7, "welcome", locale="en").set(priority=9)))``

    Raises:
        TypeError: ``sig`` is not a Celery signature.
    """
    if not is_signature(sig):
        raise TypeError(f"exactly() takes a Celery signature, such as exactly(send_email.s(7)); got {sig!r}")
    return Exactly(sig)


def is_signature(value: object) -> bool:
    """Whether this is a Celery signature, or the dict that it becomes in a message."""
    return isinstance(value, Mapping) and {"task", "args", "kwargs", "options"} <= value.keys()
