"""What one plan has changed, beside one clean run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import NoVerdict
from ..timeline.runs import FINAL_STATES
from ..wording import shown
from .advice import RESULT
from .differing import Incomparable, first_difference
from .plans import Plan
from .stage import Ending

__all__ = ["STATE", "Failure", "Finding", "find"]

#: What a finding is about where the task has ended in another state.
STATE = "its state"


@dataclass(frozen=True)
class Finding:
    """The first thing that is not as after one clean run.

    Attributes:
        about: What it is, as ``observe()['balance']``.
        expected, found: The two, as texts.
    """

    about: str
    expected: str
    found: str

    def __str__(self) -> str:
        """As one sentence."""
        return f"{self.about}: expected {self.expected}, as after one clean run; found {self.found}"


@dataclass(frozen=True)
class Failure:
    """A plan that has not ended as one clean run."""

    plan: Plan
    ending: Ending
    finding: Finding


def find(clean: Ending, ending: Ending) -> Finding | None:
    """The first difference: an effect, then the state, then the result; None where there is none.

    Raises:
        NoVerdict: What ``observe()`` returned cannot be compared.
    """
    if ending.unended is not None:
        return Finding("its end", "that it comes to one", _first_line(ending.unended))
    if ending.refused is not None:
        return Finding("observe()", shown(clean.observed), f"that it raised {shown(ending.refused)}")
    try:
        effect = _differs("observe()", clean.observed, ending.observed)
        if effect is not None or clean.state not in FINAL_STATES:
            return effect  # a task that ignores its message says nothing, and leaves what a death has stored
        return _differs(STATE, clean.state, ending.state, error=ending.error) or _differs(
            RESULT, clean.result, ending.result
        )
    except Incomparable as error:
        raise NoVerdict(f"observe() cannot be compared: {error}") from error


def _differs(about: str, expected: Any, found: Any, *, error: BaseException | None = None) -> Finding | None:
    difference = first_difference(expected, found)
    if difference is None:
        return None
    if error is not None:
        return Finding(about, str(expected), f"{found}, {shown(error)}")
    if about != "observe()":
        return Finding(about, difference.expected, difference.found)
    return Finding(f"{about}{difference.path}", difference.expected, difference.found)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
