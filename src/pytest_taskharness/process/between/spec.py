"""What a worker process is told: a file that only we can read, because it holds the broker's password."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["SPEC", "ModuleSource", "WorkerSpec"]

#: In the environment of a worker: where its directory is.
SPEC = "PYTEST_TASKHARNESS_WORKER"


@dataclass(frozen=True)
class ModuleSource:
    """A module that a worker imports: by its name, where that leads to this file, else from the file."""

    name: str
    file: str | None = None


@dataclass(frozen=True)
class WorkerSpec:
    """One worker.

    Attributes:
        name: What ``run.worker`` says.
        app: The module, and the dotted path inside it, of the app.
        modules: More modules that define tasks of the app.
        path: ``sys.path`` of the test process.
        pickled: The settings.
        arguments: The command line of ``celery worker``.
        django_databases: The name of each database of a Django test, by alias.
        instant: What time it is by the test's clock, in microseconds since the epoch; None: the clock is real.
        reloads_clock: Whether the process has to be told to look at the clock.
    """

    name: str
    app: tuple[ModuleSource, str]
    modules: tuple[ModuleSource, ...] = ()
    path: tuple[str, ...] = ()
    pickled: bytes = pickle.dumps({})
    arguments: tuple[str, ...] = ()
    django_databases: Mapping[str, str] = field(default_factory=dict)
    instant: int | None = None
    reloads_clock: bool = False

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Celery settings, on top of what the app says.

        They may name what is in modules of the user's, such as a function that routes, and are read when that is there.
        """
        found: Mapping[str, Any] = pickle.loads(self.pickled)  # noqa: S301 - as below
        return found

    def write(self, directory: Path) -> None:
        """Put it into the worker's directory."""
        descriptor = os.open(directory / "spec", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            pickle.dump(self, file)

    @classmethod
    def read(cls, directory: Path) -> WorkerSpec:
        """What :meth:`write` has put there."""
        spec = pickle.loads((directory / "spec").read_bytes())  # noqa: S301 - the file is ours alone
        assert isinstance(spec, cls)
        return spec
