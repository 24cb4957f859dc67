"""In a worker: the pool, seen from where a task is handed over to it to where its result has been dealt with.

The name of this module is the boundary of call sites: everything that Celery does by itself is called from here.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from itertools import count
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Task, current_app, signals
from celery.app.trace import fast_trace_task, trace_task_ret
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.base import BasePool

from ...worker.bodies.batch import noticing_errors, requests_in
from ...worker.bodies.pool import outcome_of
from .collecting import Collection
from .deliveries import error_in, state_after, tag_of
from .scribe import Scribe, the_scribe
from .sleeping import bodies

__all__ = ["count_anew", "listen", "unanswered", "watch_pool"]

#: In real seconds, on a busy machine.
MOMENT = 5.0
#: The ids of the tasks whose end the main process has told itself, with all that the user's code has to say to that.
unanswered: list[str] = []


def watch_pool(collection: Collection) -> None:
    """Watch every pool that is made in this process from now on; strategies hand over what they have collected."""
    apply_async = BasePool.apply_async

    @wraps(apply_async)
    def watched(pool: Any, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if target not in _TARGETS:
            return apply_async(pool, *_many(collection, target, args or (), kwargs or {}, options), **options)
        handover = _Handover(options["callback"].__self__)
        collection.gone(handover.id)
        for name in ("callback", "error_callback", "timeout_callback"):
            options[name] = getattr(handover, name)(options[name])
        limits = (options.get("soft_timeout"), options.get("timeout")) if pool.uses_semaphore else ()
        the_scribe().note("handed", id=handover.id, limits=[each for each in limits if each], **handover.told)
        return apply_async(pool, _TARGETS[target], args, {**(kwargs or {}), HANDOVER: handover.told}, **options)

    BasePool.apply_async = watched
    if hasattr(os, "pidfd_open"):
        _await_the_end_of_processes()


def _await_the_end_of_processes() -> None:
    """A pool process closes its pipe a moment before it ends: who looks for it in between looks again after 5 s."""
    event_process_exit = AsynPool._event_process_exit

    @wraps(event_process_exit)
    def awaited(pool: Any, hub: Any, process: Any) -> Any:
        with suppress(OSError):
            handle = os.pidfd_open(process.pid)
            select.select([handle], [], [], MOMENT)
            os.close(handle)
        return event_process_exit(pool, hub, process)

    AsynPool._event_process_exit = awaited


def count_anew() -> None:
    """Another test begins."""
    _Handover.numbers = count(1)


class _Handover:
    """One task in the hands of the pool; Celery's request deals with what becomes of it."""

    numbers = count(1)

    def __init__(self, request: Any) -> None:
        self.request = request
        self.id = request.id
        self.tag = tag_of(request._message)
        #: Bodies of one task id may overlap: what belongs together has the same number.
        self.told: dict[str, Any] = {"tag": self.tag, "execution": f"{the_scribe().spec.name}-{next(self.numbers)}"}

    def callback(self, on_success: Callable[..., Any]) -> Callable[..., Any]:
        """A pool process has sent an answer, whichever."""

        def answered(answer: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return on_success(answer, *args, **kwargs)
            finally:
                self._done()

        return answered

    def error_callback(self, on_failure: Callable[..., Any]) -> Callable[..., Any]:
        """There will be no answer: its process has died, or was killed."""

        def failed(info: Any, *args: Any, **kwargs: Any) -> Any:
            unanswered.append(self.id)
            error = error_in(info)
            if not isinstance(error, Terminated):  # that one is a matter of revoking
                self._ended(self._as_lost(error))
            try:
                return on_failure(info, *args, **kwargs)
            finally:
                if not isinstance(error, TimeLimitExceeded):  # whose end is dealt with below
                    self._done()

        return failed

    def timeout_callback(self, on_timeout: Callable[..., Any]) -> Callable[..., Any]:
        """A time limit has passed; after a hard one there is nothing more to come."""

        def timed_out(soft: bool, timeout: float) -> Any:
            try:
                return on_timeout(soft, timeout)
            finally:
                if not soft:
                    self._done()

        return timed_out

    def _as_lost(self, error: BaseException) -> BaseException:
        """Since Celery 5.7 the request itself makes of an exit what billiard made of it before."""
        if not isinstance(error, (SystemExit, KeyboardInterrupt)):
            return error
        return error_in(self.request._worker_lost_info(error))

    def _ended(self, error: BaseException) -> None:
        outcome = "LOST" if isinstance(error, WorkerLostError) else "FAILURE"
        the_scribe().record(
            "finish", task=self.request.task.name, id=self.id, outcome=outcome, state=state_after(outcome), error=error,
            **self.told,
        )  # fmt: skip

    def _done(self) -> None:
        the_scribe().note("done", id=self.id, **self.told)


def _many(
    collection: Collection, target: Any, args: Any, kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:  # fmt: skip
    """What is to be called for requests that a strategy has collected, where these are some."""
    told = []
    for request in requests_in(args, collection.knows):
        number = f"{the_scribe().spec.name}-{next(_Handover.numbers)}"
        told.append({"tag": collection.gone(request.id), "id": request.id, "execution": number})
        the_scribe().note("handed", limits=[], **told[-1])
    if not told:
        return target, args, kwargs

    def done(callback: Callable[..., Any] | None) -> Callable[..., Any]:
        def dealt_with(*given: Any, **named: Any) -> Any:
            try:
                return callback(*given, **named) if callback is not None else None
            finally:
                for each in told:
                    the_scribe().note("done", **each)

        return dealt_with

    for name in ("callback", "error_callback"):
        options[name] = done(options.get(name))
    return traced_many, (target, args, kwargs, told), {}


# -- in a pool process


def traced_many(target: Any, args: Any, kwargs: dict[str, Any], told: list[dict[str, Any]]) -> Any:
    """Call what a strategy has handed over, and tell of each of its requests."""
    scribe, task = _equipped_scribe(), next((each for each in args if isinstance(each, Task)), None)
    _start_many(scribe, task, {each.id: each for each in requests_in(args, bool)}, told)
    bodies.told, bodies.beside, error = told[0], told[1:], None
    try:
        with noticing_errors(task) as errors:
            answer = target(*args, **kwargs)
        error = next(iter(errors), None)
    except BaseException as raised:
        error = raised
        raise
    finally:
        bodies.told, bodies.beside = None, ()
        outcome = "SUCCESS" if error is None else "FAILURE"
        for each in told:
            scribe.record("finish", outcome=outcome, state=outcome, error=error, of_many=True, **each)
    return answer


def _start_many(scribe: Scribe, task: Any, requests: dict[str, Any], told: list[dict[str, Any]]) -> None:
    for each in told:
        request = requests[each["id"]]
        each["task"] = request.name if request.name in current_app.tasks or task is None else task.name
        redelivered = bool((request.delivery_info or {}).get("redelivered"))
        shown = {name: (request.request_dict or {}).get(name) for name in ("argsrepr", "kwargsrepr")}
        scribe.record("start", redelivered=redelivered, **shown, **each)


def traced_fast(*args: Any, **kwargs: Any) -> Any:
    """``celery.app.trace.fast_trace_task``, told of."""
    return _traced(fast_trace_task, args, kwargs)


def traced(*args: Any, **kwargs: Any) -> Any:
    """``celery.app.trace.trace_task_ret``, told of."""
    return _traced(trace_task_ret, args, kwargs)


_TARGETS = {fast_trace_task: traced_fast, trace_task_ret: traced}
#: Under this name a handover travels to the pool process, which takes it off before Celery sees the arguments.
HANDOVER = "_taskharness_handover"


def _traced(trace: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    name, task_id, request = args[:3]
    told = {"task": name, "id": task_id, **kwargs.pop(HANDOVER)}
    scribe = _equipped_scribe()
    redelivered = bool((request.get("delivery_info") or {}).get("redelivered"))
    shown = {name: request.get(name) for name in ("argsrepr", "kwargsrepr")}
    scribe.record("start", redelivered=redelivered, **shown, **told)
    bodies.told, bodies.began = told, False
    try:
        answer = trace(*args, **kwargs)
    finally:
        bodies.told = None
    outcome, error = outcome_of(answer) if bodies.began else ("SKIPPED", None)
    kind = "retry" if outcome == "RETRY" else "finish"
    scribe.record(kind, outcome=outcome, state=state_after(outcome), error=error, **told)
    return answer


def _begin(**_: object) -> None:
    bodies.began = True


_listening: list[Scribe] = []


def _equipped_scribe() -> Scribe:
    """A pool process that was not forked but started anew has an app that nobody listens to yet."""
    scribe = the_scribe()
    if not _listening:
        listen(scribe, current_app._get_current_object())
    return scribe


def listen(scribe: Scribe, app: Any) -> None:
    """Write down what this app publishes and stores, in this process and in those that it forks."""
    _listening.append(scribe)
    scribe.listen_to(app)
    signals.task_prerun.connect(_begin, weak=False)
