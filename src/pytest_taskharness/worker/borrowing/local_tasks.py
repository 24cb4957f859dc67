"""Tasks that a test function defines: they end with the test, wherever Celery has put them."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

from celery import _state

__all__ = ["is_borrowed", "local_tasks_removed"]

_MISSING = object()
#: The apps of all open harnesses, outermost first.
_borrowed: list[Any] = []


@contextmanager
def local_tasks_removed(app: Any) -> Iterator[None]:
    """A task that a test function defines must not be found by the next test under the same name.

    Tasks of modules that were imported meanwhile stay: their module will not be imported again.
    """
    traces = {name: task.__dict__.get("__trace__", _MISSING) for name, task in app._tasks.items()}
    finalizers = set(_state._on_app_finalizers)
    others = [(other, set(other._tasks)) for other in _state._get_active_apps() if other is not app]
    _borrowed.append(app)
    try:
        yield
    finally:
        _borrowed.remove(app)
        # Celery also keeps each task's function for every app that is finalized later, in the whole process.
        for finalizer in _state._on_app_finalizers - finalizers:
            if _is_local(finalizer):
                _state._on_app_finalizers.discard(finalizer)
        _unregister_local(app, traces)
        # @shared_task has put it into every app that is alive.
        for other, names in others:
            if other not in _borrowed:
                _unregister_local(other, names)
        for name, task in app._tasks.items():
            task.__dict__.pop("__trace__", None)
            if traces.get(name, _MISSING) is not _MISSING:
                task.__dict__["__trace__"] = traces[name]


def is_borrowed(app: Any) -> bool:
    """Whether a harness is open on this app."""
    return any(each is app for each in _borrowed)


def _unregister_local(app: Any, known: Container[str]) -> None:
    for name, task in list(app._tasks.items()):
        if name not in known and "<locals>" in _qualname(task):
            app._tasks.unregister(name)


def _is_local(finalizer: Any) -> bool:
    """Whether what ``connect_on_app_finalize`` was given makes a task of a function inside a function."""
    code = getattr(finalizer, "__code__", None)
    if code is None:
        return False  # a callable of the user's, which is no function
    cells = zip(code.co_freevars, finalizer.__closure__ or (), strict=True)
    functions = (cell.cell_contents for name, cell in cells if name == "fun")
    return any("<locals>" in getattr(function, "__qualname__", "") for function in functions)


def _qualname(task: Any) -> str:
    return str(getattr(getattr(task, "run", None), "__qualname__", "")) + type(task).__qualname__
