"""What the assertions may do to the world, and ask about the app: they know neither themselves."""

from __future__ import annotations

import inspect
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import hide_frames
from ..timeline import Run
from ..worker.bodies.thread_bound import django_connections
from ..worker.report import Report
from .unconsumed import stuck

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["Driven", "Registry"]

__tracebackhide__ = hide_frames


class Driven:
    """What assertions may do to the world."""

    def __init__(self, harness: Harness) -> None:
        """Speak for a harness."""
        self._harness = harness

    @property
    def now(self) -> datetime:
        """The current instant."""
        return self._harness.clock.now

    def stuck(self, run: Run) -> str | None:
        """Why nobody will take a message, or None."""
        return stuck(self._harness._world, run)  # noqa: SLF001 - its own

    @property
    def uncommitted(self) -> int:
        """How many calls wait for a commit of Django's."""
        return sum(len(connection.run_on_commit) for connection in django_connections())

    def drain(self) -> Report:
        """Do what is due."""
        return self._harness.drain()

    def run_until(self, when: datetime) -> Report:
        """Let time pass."""
        return self._harness.clock.advance_to(when)


class Registry:
    """What assertions may ask about the app."""

    def __init__(self, app: Any) -> None:
        """Know an app."""
        self._app = app

    def signature_of(self, task_name: str) -> inspect.Signature | None:
        """What arguments a task takes."""
        task = self._app.tasks.get(task_name)
        return None if task is None else inspect.signature(task.run)

    def route_hint(self, task_name: str, queue: str) -> str | None:
        """Why a task may not have gone to a queue."""
        routes = self._app.conf.task_routes
        count = len(routes) if isinstance(routes, (dict, list, tuple)) else int(routes is not None)
        entries = f"{count} entr{'y' if count == 1 else 'ies'}"
        return f"no route sends {task_name} to {queue!r} (task_routes has {entries})"

    def replaced(self, task_name: str) -> str | None:
        """What a test has patched on a task."""
        own = vars(self._app.tasks.get(task_name, object))
        patched = next((verb for verb in ("delay", "apply_async") if verb in own), None)
        return f"{patched} is a {type(own[patched]).__name__}" if patched else None
