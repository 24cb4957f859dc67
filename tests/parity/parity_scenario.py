"""What a scenario is, and what its author needs to write one in a few lines."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import celery
from celery.result import GroupResult
from parity_app import THEMES, app
from parity_log import shown

from pytest_taskharness import Harness

__all__ = ["APART", "SCENARIOS", "Scenario", "in_order", "load", "nobody_consumes", "outcome", "scenario", "task_apart"]

#: For ``imports``: the module with tasks that not every worker may have.
APART = ["scenarios._apart"]
#: By name, in the order of the modules.
SCENARIOS: dict[str, Scenario] = {}


@dataclass(frozen=True)
class Scenario:
    """A few lines that a user could have written, and that must look the same in every mode.

    Attributes:
        name: As ``results.a_value``.
        tells: What it shows, in a sentence.
        play: Publishes, drives, and returns what the user looks at.
        config: Celery settings that it needs.
    """

    name: str
    tells: str
    play: Callable[[Harness], Any]
    config: dict[str, Any]


def scenario(
    *, since: tuple[int, ...] = (), races: tuple[tuple[int, ...], ...] = ((), ()), **config: Any
) -> Callable[[Callable[[Harness], Any]], Callable[[Harness], Any]]:
    """Register a function as a scenario: ``@scenario()``, or with settings, ``@scenario(result_extended=True)``.

    With an older Celery than ``since``, as ``(5, 7)``, there is no scenario, nor from the first to before the second
    release of ``races``, in which a real worker's processes race each other.
    """

    def register(play: Callable[[Harness], Any]) -> Callable[[Harness], Any]:
        name = f"{play.__module__.rpartition('.')[2]}.{play.__name__}"
        assert name not in SCENARIOS, f"two scenarios are called {name}"
        assert play.__doc__, f"scenario {name} has no docstring that says what it shows"
        installed = celery.VERSION[:3]
        if installed >= since and not races[0] <= installed < races[1]:
            SCENARIOS[name] = Scenario(name, play.__doc__, play, config)
        return play

    return register


def load() -> dict[str, Scenario]:
    """Every scenario there is, by name."""
    for theme in THEMES:
        importlib.import_module(f"scenarios.{theme}")
    return SCENARIOS


def task_apart(name: str) -> Any:
    """A task that not every worker has; its scenario needs the setting ``imports=APART``."""
    return getattr(importlib.import_module(*APART), name)


def outcome(*results: Any) -> Any:
    """What each result says once nothing happens any more: its state, and its value or error; of a group, all."""
    found = [_said(result) for result in results]
    return found[0] if len(found) == 1 else found


def _said(result: Any) -> Any:
    if isinstance(result, GroupResult):
        return [_said(each) for each in result.results]
    return [result.state, shown(result.result)]


def in_order(harness: Harness) -> list[Any]:
    """The first argument of each body, in the order in which they started."""
    started = [event.id for event in harness.timeline if event.kind == "start"]
    return [harness.run_of(task_id).args[0] for task_id in started]


@contextmanager
def nobody_consumes(queue: str) -> Iterator[None]:
    """While entered the worker leaves a queue alone, so that all messages are there when it begins.

    A queue that it consumes already will not do: a real worker's BRPOP may be under way, and puts back what it takes.
    """
    app.control.cancel_consumer(queue, reply=True, limit=1)
    yield
    app.control.add_consumer(queue, reply=True, limit=1)
