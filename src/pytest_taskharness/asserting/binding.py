"""Arguments by name: the task's own signature makes positional and keyword arguments the same thing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .canvas import Call

__all__ = ["PARENT_RESULT", "Label", "check_fit", "defaults", "labelled", "takes"]

__tracebackhide__ = True

#: A parameter's name, or the position of an argument that has none.
Label = str | int


class _ParentResult:
    """Stands where Celery will put the result of the task before."""

    def __repr__(self) -> str:
        return "<result before>"


PARENT_RESULT = _ParentResult()


def labelled(call: Call, signature: inspect.Signature | None) -> dict[Label, Any]:
    """The arguments that were written, by parameter name where the task's signature is known and they fit it.

    Positional arguments without a name (``*args``, or all where nothing is known about the task) go by position.
    """
    args = _positional(call)
    if signature is not None:
        try:
            return _flat(signature, signature.bind_partial(*args, **call.kwargs).arguments)
        except TypeError:
            pass  # A message may carry arguments that do not fit; they are compared as they stand.
    as_written: dict[Label, Any] = dict(enumerate(args))
    as_written.update(call.kwargs)
    return as_written


def defaults(signature: inspect.Signature | None) -> dict[Label, Any]:
    """The parameters that may be left out, and what the task then gets."""
    parameters = signature.parameters.values() if signature else ()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def check_fit(call: Call, signature: inspect.Signature | None) -> None:
    """Refuse an expectation that no call of the task could ever meet.

    Raises:
        TypeError: The arguments do not fit; says what was given and what the task takes.
    """
    if signature is None:
        return
    args = _positional(call)
    try:
        signature.bind_partial(*args, **call.kwargs)
    except TypeError as error:
        shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in call.kwargs.items())]
        given = call.hidden if call.hidden is not None else ", ".join(shown)
        hint = "; a task that wants no result of the one before is written .si()" if call.follows else ""
        raise TypeError(
            f"{call.task}({given}) cannot be expected: {error}; the task takes {takes(signature)}{hint}"
        ) from None


def takes(signature: inspect.Signature) -> str:
    """The parameters without their annotations, as ``(user_id, template, locale='en')``."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _positional(call: Call) -> tuple[Any, ...]:
    return (PARENT_RESULT, *call.args) if call.follows else call.args


def _flat(signature: inspect.Signature, bound: Mapping[str, Any]) -> dict[Label, Any]:
    flat: dict[Label, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            flat.update(enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            flat.update(value)
        else:
            flat[name] = value
    return flat
