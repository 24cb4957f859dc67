"""Values for a type hint, of the kind that messages are made of."""

from __future__ import annotations

import types
from collections import abc
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from hypothesis import strategies as st

__all__ = ["strategy_for"]

_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | _FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_LISTS = {list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable}
_DICTS = {dict, abc.Mapping, abc.MutableMapping}


def strategy_for(hint: Any) -> st.SearchStrategy[Any]:
    """What Hypothesis makes of the hint; less of what no message carries, and something for a bare ``list`` or Any."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in {Any, object}:
        return _PLAIN
    if origin is float:
        return _FLOATS
    make = _makers().get(origin) if _is_hashable(origin) else None
    return make(*map(strategy_for, inner)) if make else st.from_type(hint)


def _makers() -> dict[Any, Callable[..., st.SearchStrategy[Any]]]:
    return {
        **dict.fromkeys(_LISTS, _lists),
        **dict.fromkeys(_DICTS, _dicts),
        Union: st.one_of,
        types.UnionType: st.one_of,
    }


def _lists(item: st.SearchStrategy[Any] = _PLAIN) -> st.SearchStrategy[list[Any]]:
    return st.lists(item)


def _dicts(
    key: st.SearchStrategy[Any] = st.text(), value: st.SearchStrategy[Any] = _PLAIN  # noqa: B008 - they are constants
) -> st.SearchStrategy[dict[Any, Any]]:  # fmt: skip
    return st.dictionaries(key, value)


def _is_hashable(origin: Any) -> bool:
    return isinstance(origin, abc.Hashable)
