"""In a worker process: import what the test process has imported, from the same files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..between.packing import MAIN, MAIN_IN_WORKER
from ..between.spec import ModuleSource, WorkerSpec

__all__ = ["import_app", "name_main"]


def name_main(spec: WorkerSpec) -> None:
    """Tell Celery, before it is imported, which file was the program: it names its tasks by that."""
    for source in (spec.app[0], *spec.modules):
        if source.name == MAIN_IN_WORKER and source.file:
            os.environ["MP_MAIN_FILE"] = source.file


def import_app(spec: WorkerSpec) -> Any:
    """The app that the spec names, with all the tasks of the modules that it names.

    Raises:
        Exception: Whatever the user's modules raise.
    """
    sys.path[:] = spec.path
    source, attribute = spec.app
    app = getattr(_imported(source), attribute)
    if spec.django_databases:
        _set_up_django()
    for module in spec.modules:
        _imported(module)
    return app


def _set_up_django() -> None:
    """As Celery's worker does, before it imports the modules of tasks: those import models."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") or importlib.import_module("django.conf").settings.configured:
        importlib.import_module("django").setup()


def _imported(source: ModuleSource) -> ModuleType:
    if source.name in sys.modules:
        return sys.modules[source.name]
    if source.name == MAIN_IN_WORKER:
        # Under another name, so that what stands under ``if __name__ == "__main__"`` does not run.
        return _executed(source, also=MAIN)
    if source.file is None or _leads_to(source):
        return importlib.import_module(source.name)
    return _executed(source)  # what pytest imports by its path alone: test files and conftest.py


def _leads_to(source: ModuleSource) -> bool:
    """Whether importing by name would load this very file."""
    try:
        found = importlib.util.find_spec(source.name)
    except (ImportError, ValueError):  # the package that it was said to be in
        return False
    assert source.file is not None
    return found is not None and found.origin is not None and _same(found.origin, source.file)


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _executed(source: ModuleSource, *, also: str | None = None) -> ModuleType:
    assert source.file is not None
    spec = importlib.util.spec_from_file_location(source.name, source.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.update(dict.fromkeys(filter(None, [source.name, also]), module))
    spec.loader.exec_module(module)
    return module
