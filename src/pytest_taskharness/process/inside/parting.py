"""In a worker: whether it may go on for another test, and its pool processes, which never do.

What a body does to its process (globals, the environment, the working directory, handlers of signals, settings of the
app, threads that go on) the next test must not see: it gets new processes, forked from a main process in which no code
of a test has run.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from celery import Task, signals
from celery.concurrency.asynpool import AsynPool

from ..between.words import LEAVES_NO_TRACE
from .tracing import unanswered

__all__ = ["end_processes", "is_as_it_was", "start_processes"]

#: What Celery tells in the main process while it works, and how many receivers of ours there are.
_HEARD = ((signals.task_received, 1), (signals.task_revoked, 1), (signals.task_rejected, 0), (signals.task_unknown, 0))


def is_as_it_was(consumer: Any, *, obeyed: Collection[str]) -> bool:
    """Whether no code of the user's has run in the main process since it was ready, and nobody has changed it."""
    prefork = isinstance(getattr(consumer.pool, "_pool", None), AsynPool)
    heard = any(len(each.receivers or ()) > ours for each, ours in _HEARD)
    extended = heard or any(consumer.app.steps.values()) or not all(map(_is_plain, consumer.app.tasks.values()))
    return prefork and not (extended or unanswered) and LEAVES_NO_TRACE.issuperset(obeyed)


def _is_plain(task: Any) -> bool:
    """Whether the main process deals with its messages in Celery's own way."""
    return (task.Strategy, task.Request) == (Task.Strategy, Task.Request)


def end_processes(pool: Any) -> None:
    """End all pool processes, which do nothing now."""
    processes = list(pool._pool._pool)
    for process in processes:
        process._controlled_termination = True  # it is no error that they end
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()


def start_processes(pool: Any) -> None:
    """New ones in their places."""
    # Before each fork Celery looks for garbage, and that takes longer than the fork.
    gc.freeze()
    pool._pool.maintain_pool()
    gc.unfreeze()
