"""Names what changes on the way through a serializer: a tuple that becomes a list, an int key a str."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["differences"]


def differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Each place where a value did not come back as it was sent, as ``args[0].sizes: tuple → list``."""
    if isinstance(before, dict) and "subtask_type" in before:
        return  # a signature: Celery itself sends it as a dict, and makes a signature of it again
    if type(before) is not type(after) and not _is_frozen(before, after):
        yield f"{path}: {type(before).__name__} → {type(after).__name__}"
    elif isinstance(before, dict):
        yield from _in_dict(before, after, path)
    elif isinstance(before, (list, tuple)):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{index}]")
    elif before != after and before == before:  # noqa: PLR0124 - not a number is not even itself
        yield f"{path}: {before!r:.60} → {after!r:.60}"


def _is_frozen(before: Any, after: Any) -> bool:
    """Whether the two differ by what freezegun has made of ``datetime`` and ``date``."""
    types = {type(before), type(after)}
    fake = next((kind for kind in types if kind.__module__.startswith("freezegun.")), None)
    return fake is not None and types - {fake} <= set(fake.__mro__)


def _in_dict(before: dict[Any, Any], after: dict[Any, Any], path: str) -> Iterator[str]:
    for key, value in before.items():
        if key in after:
            yield from differences(value, after[key], f"{path}[{key!r}]")
        else:
            yield f"{path}: key {key!r} ({type(key).__name__}) → {str(key)!r} (str)"
