"""New-style errbacks, which Celery calls inside the failing worker: no message, no signal, and yet a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from .recorder import Recorder

__all__ = ["recording_errbacks"]


def recording_errbacks(backend: Any, recorder: Recorder) -> Callable[[Any, Any, Any], None]:
    """``Backend._call_task_errbacks`` for this backend, each inline call written down as a ``callback`` event.

    Celery decides by the errback's arity whether it calls or publishes it.  While it decides, ``run`` of each
    errback is shadowed on the instance; a published one is not touched by that.
    """
    call = backend._call_task_errbacks

    def call_task_errbacks(request: Any, exc: Any, traceback: Any) -> None:
        with _shadowed(backend.app, request, recorder):
            call(request, exc, traceback)

    return call_task_errbacks


@contextmanager
def _shadowed(app: Any, request: Any, recorder: Recorder) -> Iterator[None]:
    names = dict.fromkeys(app.signature(errback).task for errback in request.errbacks)
    tasks = [app._tasks[name] for name in names if name in app._tasks and "run" not in app._tasks[name].__dict__]
    for task in tasks:
        task.run = _recording(task, task.run, request, recorder)
    try:
        yield
    finally:
        for task in tasks:
            del task.__dict__["run"]


def _recording(task: Any, run: Callable[..., Any], request: Any, recorder: Recorder) -> Callable[..., Any]:
    def recording_run(*args: Any, **kwargs: Any) -> Any:
        if not task.request.called_directly:
            # A published errback that runs right now, in eager mode: the worker records it.
            return run(*args, **kwargs)
        detail: dict[str, Any] = {"outcome": "SUCCESS", "state": "SUCCESS"}
        try:
            return run(*args, **kwargs)
        except Exception as error:
            detail = {"outcome": "FAILURE", "state": "FAILURE", "error": error}
            raise
        finally:
            recorder.record(
                "callback",
                task=task.name,
                id=_identity(request, recorder),
                args=args,
                kwargs=kwargs,
                argsrepr=saferepr(args),
                kwargsrepr=saferepr(kwargs),
                parent_id=request.id,
                **detail,
            )

    return recording_run


def _identity(request: Any, recorder: Recorder) -> str:
    """Celery gives an inline errback no id of its own; ours is counted, so that it is the same in each run."""
    prefix = f"{request.id}-errback-"
    number = 1
    while recorder.timeline.of(f"{prefix}{number}"):
        number += 1
    return f"{prefix}{number}"
