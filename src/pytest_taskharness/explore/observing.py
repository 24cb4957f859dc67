"""Asking ``observe()`` and ``reset()``, which are the user's, and may do anything."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ConfigurationError, NoVerdict
from ..wording import shown
from .differing import Incomparable, first_difference
from .stage import Twin

__all__ = ["Observer"]


class Observer:
    """What a test has given: how to look at the state outside, and how to put it back."""

    def __init__(self, observe: Callable[..., Any], reset: Callable[[], object] | None) -> None:
        """Check both.

        Raises:
            ConfigurationError: One of them cannot be called so.
        """
        self._observe = observe
        self._reset = reset
        self._takes_harness = _takes_harness(observe)
        _check_reset(reset)

    @property
    def can_reset(self) -> bool:
        """Whether each plan may find the same state: it is put back, or it is that of the plan's own harness."""
        return self._reset is not None or self._takes_harness

    @property
    def has_reset(self) -> bool:
        """Whether the test has said how to put the state back."""
        return self._reset is not None

    def reset(self) -> None:
        """Put the state back, where the test has said how.

        Raises:
            NoVerdict: ``reset()`` has raised.
        """
        if self._reset is None:
            return
        try:
            self._reset()
        except Exception as error:
            raise NoVerdict(f"reset() raised {_error_text(error)}") from error

    def look(self, twin: Twin) -> Any:
        """A copy of what ``observe()`` returns; what the user's function raises goes through.

        Raises:
            NoVerdict: It cannot be copied.
        """
        found = self._observe(twin.harness) if self._takes_harness else self._observe()
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()  # or Python warns that nobody has awaited it
            raise NoVerdict(_ASYNC)
        return _copied(found)

    def look_before(self, twin: Twin) -> Any:
        """Observe twice, before anything has run.

        Raises:
            NoVerdict: It raises, or the two differ.
        """
        try:
            first, second = self.look(twin), self.look(twin)
        except NoVerdict:
            raise
        except Exception as error:
            raise NoVerdict(f"observe() raised {_error_text(error)}, before anything had run.") from error
        self._check_repeatable(first, second)
        return first

    def look_after(self, twin: Twin) -> Any:
        """Observe after a clean run.

        Raises:
            NoVerdict: It raises.
        """
        try:
            return self.look(twin)
        except NoVerdict:
            raise
        except Exception as error:
            raise NoVerdict(f"observe() raised {_error_text(error)}, after one clean run.") from error

    def _check_repeatable(self, first: Any, second: Any) -> None:
        try:
            difference = first_difference(first, second)
        except Incomparable as error:
            raise NoVerdict(f"observe() cannot be compared: {error}.\n{_PLAIN}") from error
        if difference is None:
            return
        where = f"observe(){difference.path}"
        if difference.by_identity:
            raise NoVerdict(
                f"observe() cannot be compared: {where} is {difference.expected}, which equals nothing but itself.\n"
                f"{_PLAIN}"
            )
        raise NoVerdict(
            "observe() is not repeatable: called twice in a row, before anything had run, it returned two things.\n"
            f"    {where}: first {difference.expected}; then {difference.found}\n"
            "To fix this, leave out of it what differs each time (a clock, a counter, an order that is not sorted)."
        )


_PLAIN = "To fix this, let observe() return plain values: numbers, texts, lists, dicts, dataclasses."
_ASYNC = (
    "observe() is asynchronous, and its value cannot be awaited here.\n"
    "To fix this, pass a plain function: observe=lambda: asyncio.run(look())."
)


def _check_reset(reset: object) -> None:
    if reset is not None and (not callable(reset) or inspect.iscoroutinefunction(reset)):
        raise ConfigurationError(f"reset= takes a function that puts the state back; given: {shown(reset)}")


def _takes_harness(observe: object) -> bool:
    """Whether it asks for an argument: the harness that the plan has run in."""
    if not callable(observe):
        raise ConfigurationError(
            f"observe= takes a function that returns what the task changes, such as observe=lambda: account.balance; "
            f"given: {shown(observe)}"
        )
    try:
        parameters = inspect.signature(observe).parameters.values()
    except (TypeError, ValueError):
        return False  # a builtin that does not say
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.default is each.empty and each.kind in positional]
    if len(required) > 1:
        raise ConfigurationError(
            f"observe= is called with nothing, or with the harness of the plan; {shown(observe)} wants "
            f"{', '.join(each.name for each in required)}"
        )
    return bool(required)


def _copied(found: Any) -> Any:
    try:
        return copy.deepcopy(found)
    except Exception as error:
        raise NoVerdict(
            f"observe() returned {shown(found)}, which cannot be copied ({_error_text(error)}), and what is not copied "
            f"changes under our hands.\n{_PLAIN}"
        ) from error


def _error_text(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
