"""Words that texts of every room need."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

__all__ = ["LONGEST_VALUE", "did_you_mean", "shown", "thawed"]

#: How much of a repr is shown.
LONGEST_VALUE = 80
_FROZEN = re.compile(r"\bFake(Datetime|Date)\(")


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """As `` Did you mean 'memory'?``, or nothing where no known word is near."""
    near = difflib.get_close_matches(str(given), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def thawed(text: str) -> str:
    """The reprs in a text without freezegun's names: a ``FakeDatetime`` is a datetime to whoever reads it."""
    return _FROZEN.sub(lambda match: f"datetime.{match[1].lower()}(", text) if "Fake" in text else text


def shown(value: Any, *, longest: int = LONGEST_VALUE) -> str:
    """The repr, on one line and not too long."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's method may raise anything
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    text = thawed(text).replace("\n", "\\n")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
