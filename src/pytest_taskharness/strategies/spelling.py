"""Writes down what was done to a harness as lines of Python that can be pasted into a test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hypothesis import currently_in_test_context, note

__all__ = ["call_code", "imports_of", "python_name", "show_lines"]

#: What the repr of a value that a message can carry needs, beyond builtins.
_IMPORTS = {"datetime.": "import datetime", "Decimal(": "from decimal import Decimal", "UUID(": "from uuid import UUID"}
#: Options that ``apply_async`` fills in by itself.
_OWN_OPTIONS = {"task_id", "reply_to"}


def show_lines(lines: Iterable[str]) -> None:
    """Let Hypothesis print lines with the example that fails in the end."""
    if currently_in_test_context():
        for line in lines:
            note(line)


def python_name(task: Any) -> str:
    """What a test calls the task: its name in its module, or the last part of its registered name."""
    return _global_name(task) or re.sub(r"\W", "_", str(task.name).rpartition(".")[2])


def _global_name(task: Any) -> str | None:
    return next(_names(task, task.__class__.__module__), None)


def _names(task: Any, module: str) -> Iterator[str]:
    """What a module calls the task; either may be the proxy that Celery gives out, whose ``type()`` says nothing."""
    found = vars(sys.modules.get(module, object))
    return (name for name, value in list(found.items()) if isinstance(value, task.__class__))


def imports_of(tasks: Iterable[Any], code: str, *, module: str) -> tuple[list[str], list[str]]:
    """The import lines that a test with ``code``, in this module, needs; and those that look up tasks of no module."""
    imports = ["import pytest", *(line for part, line in _IMPORTS.items() if part in code)]
    lookups = []
    for task in {task.name: task for task in tasks}.values():
        if _global_name(task) is None:
            lookups.append(f"{python_name(task)} = harness.app.tasks[{task.name!r}]")
        elif python_name(task) not in _names(task, module):
            imports.append(f"from {task.__class__.__module__} import {python_name(task)}")
    return sorted(imports, key=_place_of_import), sorted(lookups)


def _place_of_import(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def call_code(signature: Any, task: Any) -> str:
    """The expression that publishes this signature; ``task`` is the task that it calls, None for a canvas."""
    if task is None:
        return f"harness.app.signature({_as_data(signature)!r}).delay()"
    arguments = ", ".join([*map(repr, signature.args), *_by_name(signature.kwargs)])
    options = _by_name({name: value for name, value in signature.options.items() if name not in _OWN_OPTIONS})
    if not options:
        return f"{python_name(task)}.delay({arguments})"
    return f"{python_name(task)}.s({arguments}).apply_async({', '.join(options)})"


def _by_name(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]


def _as_data(value: Any) -> Any:
    """A signature, whose repr is no code, as the dicts that it is made of."""
    if isinstance(value, dict):
        return {key: _as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_data, value))
    return value
