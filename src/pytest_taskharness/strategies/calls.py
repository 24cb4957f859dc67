"""Calls of a task, from its type hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, get_type_hints

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from ..errors import ConfigurationError, hide_frames
from ..recorder.carrying import Refused, arrives_unchanged, carried
from ..wording import did_you_mean
from .hints import strategy_for

__all__ = ["calls"]

__tracebackhide__ = hide_frames

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
#: What a serializer may refuse for its value, not for its type: an integer of more than 64 bits, a lone surrogate.
_SCALARS = (bool, int, float, str, bytes)


def calls(task: Any, /, **overrides: Any) -> st.SearchStrategy[Any]:
    """Signatures of a task, whose arguments come from its type hints.

    A parameter with a default is left out at times.  Each value is one that the task's serializer carries unchanged:
    with JSON there is no NaN, and a tuple is a list, as it is for the worker.  ``*args`` and ``**kwargs`` stay empty.

    Args:
        task: The task, or another one's name in ``overrides``.
        overrides: A strategy, or a value, for a parameter: instead of its hint, and in each call.

    Raises:
        ConfigurationError: A parameter has neither a hint nor an override, or there is no such parameter.
    """
    parameters = _parameters(task, overrides)
    hints = _hints(task)
    given = {name: _given(value) for name, value in overrides.items()}
    wanted = {
        parameter.name: _by_hint(task, parameter, hints)
        for parameter in parameters
        if parameter.name not in given and (parameter.name in hints or parameter.default is Parameter.empty)
    }
    always = {parameter.name for parameter in parameters if parameter.default is Parameter.empty} | given.keys()
    both = {**wanted, **given}
    values = st.fixed_dictionaries(
        {name: strategy for name, strategy in both.items() if name in always},
        optional={name: strategy for name, strategy in both.items() if name not in always},
    )
    return values.map(lambda drawn: _signature(task, parameters, drawn))


def _parameters(task: Any, overrides: Mapping[str, Any]) -> list[Parameter]:
    run = getattr(task, "run", None)
    if not callable(run) or not hasattr(task, "s"):
        raise ConfigurationError(f"calls() takes a task of a Celery app; given: {task!r}")
    every = list(inspect.signature(run).parameters.values())
    plain = [parameter for parameter in every if parameter.kind not in _VARIADIC]
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in every):
        _check_names(task, overrides, [parameter.name for parameter in plain])
    return plain


def _check_names(task: Any, overrides: Mapping[str, Any], known: list[str]) -> None:
    for name in overrides:
        if name not in known:
            meant = did_you_mean(name, known)
            raise ConfigurationError(
                f"calls({task.name}, {name}=…): the task has no parameter {name!r}.{meant} It takes: "
                f"{', '.join(known) or 'none'}."
            )


def _hints(task: Any) -> dict[str, Any]:
    try:
        return get_type_hints(task.run, include_extras=True)
    except Exception as error:
        raise ConfigurationError(
            f"the type hints of {task.name} cannot be read: {type(error).__name__}: {error}. A name that is imported "
            "under TYPE_CHECKING only is not there when the tests run."
        ) from error


def _given(value: Any) -> st.SearchStrategy[Any]:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


def _by_hint(task: Any, parameter: Parameter, hints: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    name = parameter.name
    if name not in hints:
        raise ConfigurationError(
            f"calls({task.name}) cannot know what to pass as {name!r}: it has no type hint. Give it one, or say "
            f"calls({_short(task)}, {name}=…) with a strategy."
        )
    try:
        strategy = strategy_for(hints[name])
        strategy.validate()
    except HypothesisException as error:
        raise _not_made(task, parameter, f"Hypothesis knows no values of it: {error}") from error
    return strategy.map(_plain).map(_arriving(task, parameter))


def _plain(value: Any) -> Any:
    """What a caller passes for a pydantic model."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _arriving(task: Any, parameter: Parameter) -> Callable[[Any], Any]:
    def arriving(value: Any) -> Any:
        serializer = task.serializer or task.app.conf.task_serializer
        try:
            arrived = carried(value, serializer)
            unchanged = arrives_unchanged(arrived, serializer)
        except Refused as error:
            if isinstance(error.culprit, _SCALARS):
                reject()
            raise _not_made(
                task, parameter, f"the serializer {serializer!r} cannot encode {error.culprit!r:.80}"
            ) from error  # fmt: skip
        return arrived if unchanged else reject()

    return arriving


def _not_made(task: Any, parameter: Parameter, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"calls({task.name}) cannot make a value for {str(parameter).partition(' = ')[0]!r}: {why}.\n"
        f"Say what to pass: calls({_short(task)}, {parameter.name}=…) with a strategy."
    )


def _short(task: Any) -> str:
    return str(task.name).rpartition(".")[2]


def _signature(task: Any, parameters: list[Parameter], drawn: dict[str, Any]) -> Any:
    """What is required goes by position, as people write it; the rest by name."""
    args, kwargs, by_position = [], dict(drawn), True
    for parameter in parameters:
        by_position &= parameter.kind is not Parameter.KEYWORD_ONLY and parameter.name in kwargs
        if by_position and (parameter.default is Parameter.empty or parameter.kind is Parameter.POSITIONAL_ONLY):
            args.append(kwargs.pop(parameter.name))
        elif parameter.kind is Parameter.POSITIONAL_ONLY:
            kwargs.pop(parameter.name, None)  # one before it was left out
    return task.s(*args, **kwargs)
