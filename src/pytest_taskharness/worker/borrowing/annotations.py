"""``task_annotations`` of a test: Celery reads them when it binds a task, and a user's tasks were bound before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from celery.app.annotations import prepare, resolve_all

__all__ = ["annotated"]

SETTING = "task_annotations"
#: In front of the name of a method that is wrapped, and not replaced.
AROUND = "@"
_MISSING = object()


@contextmanager
def annotated(app: Any, config: Mapping[str, Any]) -> Iterator[set[tuple[type, str]]]:
    """While entered, the tasks of an app are as ``config`` says; yields which attributes of which classes it names.

    What the app's own annotations have made of the tasks stays beneath: Celery does not remember what was before.
    """
    annotations = prepare(config.get(SETTING))
    classes = {type(task): task for task in app._tasks.values()} if annotations else {}
    said: set[tuple[type, str]] = set()
    with ExitStack() as stack:
        for cls, task in classes.items():
            for found in resolve_all(annotations, cls):
                stack.enter_context(_changed(cls, found))
                said.update((cls, name.removeprefix(AROUND)) for name in found)
            stack.callback(task.__dict__.pop, "_exec_options", None)
            task.__dict__.pop("_exec_options", None)
        yield said


@contextmanager
def _changed(cls: Any, attributes: Mapping[str, Any]) -> Iterator[None]:
    names = {name: name.removeprefix(AROUND) for name in attributes}
    before = {name: vars(cls).get(name, _MISSING) for name in names.values()}
    try:
        for given, name in names.items():
            if given != name:
                cls.add_around(name, attributes[given])
            else:
                setattr(cls, name, attributes[given])
        yield
    finally:
        for name, value in before.items():
            _put_back(cls, name, value)


def _put_back(cls: type, name: str, value: Any) -> None:
    if value is not _MISSING:
        setattr(cls, name, value)
    elif name in vars(cls):
        delattr(cls, name)
