"""Where the test process has its app from, so that a worker process can import it from there too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from ...errors import ConfigurationError, hide_frames
from ..between.packing import MAIN, MAIN_IN_WORKER
from ..between.spec import ModuleSource

__all__ = ["app_source", "is_local", "task_sources"]

__tracebackhide__ = hide_frames

#: Modules whose tasks every worker has.
_BUILT_IN = ("celery", "kombu", "pytest_taskharness")
#: Where each app was found: to look into every module takes a while.
_known: WeakKeyDictionary[Any, tuple[str, str]] = WeakKeyDictionary()


def app_source(app: Any) -> tuple[ModuleSource, str]:
    """The module that has the app, and the attribute that is it.

    Raises:
        ConfigurationError: No module has it: it was made inside a function.
    """
    known = _known.get(app)
    if known is not None and getattr(sys.modules.get(known[0]), known[1], None) is app:
        return _source(sys.modules[known[0]]), known[1]
    found = sorted(_places(app), key=_unlikely)
    if not found:
        raise ConfigurationError(
            f"expected the Celery app {app.main or app!r} to be an attribute of a module; no imported module has it. "
            "A worker process is started anew and imports the app, as `celery -A shop.tasks:app worker` does, so that "
            "an app made inside a function (a fixture, a test) cannot be found.\n"
            "To fix this, give the app a name at the top level of a module (the test file will do), or run this test "
            "in a mode whose worker is in the test's own process: memory, fakeredis or redis."
        )
    module, name = found[0]
    _known[app] = (module.__name__, name)
    return _source(module), name


def _places(app: Any) -> Iterator[tuple[ModuleType, str]]:
    for name, module in list(sys.modules.items()):
        # A proxy of a module (py, six, a lazy loader) runs code when it is looked into.
        if type(module) is ModuleType and name != MAIN_IN_WORKER:
            for attribute, value in list(vars(module).items()):
                if value is app:
                    yield module, attribute


def _unlikely(place: tuple[ModuleType, str]) -> tuple[bool, bool, int]:
    """Most likely first: where the app is called so, is made, and is not handed through."""
    module, attribute = place
    return module.__name__ == MAIN, attribute not in {"app", "celery", "celery_app"}, module.__name__.count(".")


def task_sources(app: Any) -> tuple[ModuleSource, ...]:
    """The modules that define tasks of the app, as far as they are known here."""
    names = dict.fromkeys(task.__module__ for task in app.tasks.values() if not is_local(task))
    modules = (sys.modules.get(name) for name in names if name and name.partition(".")[0] not in _BUILT_IN)
    return tuple(_source(module) for module in modules if module is not None)


def is_local(task: Any) -> bool:
    """Whether a task was defined inside a function."""
    return "<locals>" in str(getattr(task.run, "__qualname__", ""))


def _source(module: ModuleType) -> ModuleSource:
    name = MAIN_IN_WORKER if module.__name__ == MAIN else module.__name__
    return ModuleSource(name, getattr(module, "__file__", None))
