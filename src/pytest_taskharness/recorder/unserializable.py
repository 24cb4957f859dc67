"""Names the path inside a value that a serializer cannot encode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kombu.exceptions import EncodeError

from ..errors import UnserializableValue
from ..wording import shown

__all__ = ["UnserializableEncodeError", "first_unserializable", "unserializable"]


class UnserializableEncodeError(UnserializableValue, EncodeError):  # type: ignore[misc]
    """What Celery raises, with the path."""


def unserializable(
    subject: str, value: Any, *, serializer: str, encode: Callable[[Any], object], error: Exception,
    hidden: bool = False,
) -> UnserializableEncodeError:  # fmt: skip
    """The error for ``value``, which ``encode`` has just refused with ``error``; a hidden one is not shown."""
    path, culprit = first_unserializable(value, encode)
    text = "hidden" if hidden else shown(culprit, longest=120)
    return UnserializableEncodeError(
        f"{subject} cannot be sent: {path} is {text} (type {type(culprit).__qualname__}), which the "
        f"{serializer!r} serializer cannot encode.\n"
        f"{serializer} says: {error}\n"
        "To fix this, pass plain data (an id instead of an object), or give the task a serializer that can."
    )


def first_unserializable(value: Any, encode: Callable[[Any], object], *, path: str = "") -> tuple[str, Any]:
    """The path of the innermost part that cannot be encoded, and that part."""
    for step, part in _parts(value, path):
        if not _encodes(part, encode):
            return first_unserializable(part, encode, path=step)
    return path or "it", value


def _encodes(value: Any, encode: Callable[[Any], object]) -> bool:
    try:
        encode(value)
    except Exception:  # noqa: BLE001 - each serializer has errors of its own
        return False
    return True


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            # At the top, "args" and "kwargs" are the names that the user knows.
            yield (str(key) if not path else f"{path}[{key!r}]"), item
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"{path}[{index}]", item
