"""In a worker process: the user's app gets the test's settings, for good."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from typing import Any

from ...worker.borrowing import takeover
from ..between.spec import WorkerSpec
from .scribe import the_scribe

__all__ = ["belong_to_test"]

#: Never left: it ends with the process.
_for_good = ExitStack()


def belong_to_test(app: Any, spec: WorkerSpec) -> None:
    """Apply the settings, also to tasks that were bound before, and forget what the app has made of its own."""
    app.finalize()
    _name_databases(spec)
    enter = _for_good.enter_context
    enter(takeover._unobserved(app))
    enter(takeover._configured(app, {**spec.settings, **_kept_here()}))
    enter(takeover._fresh(app))
    enter(takeover._rebound(app, spec.settings))


def _kept_here() -> dict[str, str]:
    """What a beat remembers is gone with the worker's directory, and never lies where the tests are run."""
    return {"beat_schedule_filename": str(the_scribe().directory / "celerybeat-schedule")}


def _name_databases(spec: WorkerSpec) -> None:
    """A Django test has databases of its own: its worker must not touch the others."""
    if spec.django_databases:
        connections = importlib.import_module("django.db").connections
        for alias, name in spec.django_databases.items():
            connections.databases[alias]["NAME"] = name
            connections[alias].settings_dict["NAME"] = name
