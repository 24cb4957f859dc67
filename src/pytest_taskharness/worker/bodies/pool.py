"""The pool of a stepped worker: a task runs here and now, under the virtual clock's time limits.

It behaves towards Celery as prefork does, which is what runs in production: a soft limit raises in the body, a hard
limit or ``SystemExit`` is the death of the pool child.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from signal import SIGKILL
from types import CodeType
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import _state
from celery.app.trace import fast_trace_task, trace_task_ret
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry
from celery.result import denied_join_result
from celery.utils.log import get_logger

from ...errors import TaskHarnessError
from ...faults import Point
from ..frames import close_all
from .forked import run_forked

if TYPE_CHECKING:
    from ..node import Node
    from .strand import Strand

logger = get_logger("celery.pool")

__all__ = ["Execution", "Job", "Killed", "SteppedPool", "outcome_of"]


class Killed(BaseException):
    """Unwinds a body whose process is dead: by the hard time limit, by a fault, or with its worker."""


@dataclass
class Execution:
    """One running body, and the limits on its time."""

    task_id: str
    task_name: str
    node: Node
    soft_at: datetime | None
    hard_at: datetime | None
    on_soft: Callable[[], object]
    on_hard: Callable[[], object]
    #: The ids that the body waits for in ``result.get()``.
    waiting_for: tuple[str, ...] = ()
    killed: bool = False
    #: The tracer has come to the body; it skips that of a message whose task has succeeded before.
    began: bool = False
    #: The body has returned: what is published now are its callbacks.
    body_done: bool = False
    #: How many of them are out.
    callbacks: int = 0
    #: Called just before each line of the body, or of the code objects that ``lines`` chooses.
    on_line: Callable[[CodeType, int], object] | None = None
    lines: Callable[[CodeType], bool] | None = None
    #: The pool child has died of a fault, and the main process lives to see it.
    lost: bool = False
    #: Called when the body begins and when it has ended.
    on_begin: Callable[[Execution], object] | None = None
    on_end: Callable[[], object] | None = None
    #: It stays in its beginning until somebody releases it.
    held: bool = False
    #: What Celery takes for the number of its process: one at a time has it, so that it can be told to terminate.
    pid: int = 0
    #: Its process was told to end (SIGTERM), and not killed.
    was_told: bool = False

    def deadline(self) -> datetime | None:
        """The next limit that will strike."""
        return min((at for at in (self.soft_at, self.hard_at) if at is not None), default=None)

    def stay_dead(self) -> None:
        """A killed child publishes nothing and stores nothing, whatever its ``except:`` and ``finally:`` say."""
        if self.killed:
            raise Killed

    def strike(self, now: datetime) -> None:
        """Raise in the body what is due now."""
        if self.hard_at is not None and now >= self.hard_at and not self.killed:
            self.on_hard()  # the main process reports the death; what the body still does in dying comes after it
            self.killed = True
        self.stay_dead()
        if self.soft_at is not None and now >= self.soft_at:
            self.soft_at = None
            self.on_soft()
            raise SoftTimeLimitExceeded


class SteppedPool(BasePool):  # type: ignore[misc]
    """Celery's pool interface, without processes or threads; ``node`` is set on a subclass for each worker."""

    node: Node
    body_can_be_buffer = True
    task_join_will_block = True

    def on_apply(
        self, target: Any, args: Any = (), kwargs: Any = None, *, callback: Any = None, accept_callback: Any = None,
        error_callback: Any = None, timeout_callback: Any = None, soft_timeout: Any = None, timeout: Any = None,
        **options: Any,
    ) -> None:  # fmt: skip
        """Run one task, now or when the body that it must not run inside of has ended."""
        # Before Celery 5.7 the limits of the configuration are the pool's own.
        limits = (soft_timeout or self.options.get("soft_timeout"), timeout or self.options.get("timeout"))
        job = self._job(target, args, kwargs, limits=limits)
        job.on_accepted, job.on_answer, job.on_error, job.on_timeout = (
            each or _unheard for each in (accept_callback, callback, error_callback, timeout_callback)
        )
        if self.node.world.script.armed:
            self.node.world.reach(Point("received", job.task_name, job.task_id), node=self.node)
        # A copy of what runs (redelivered after the visibility timeout) would never see it end.
        if self.node.world.asleep or self.node.world.is_running(job.task_id):
            self.node.reserve(job.task_id, partial(self.node.world.company.start, job))
        else:
            self.node.world.company.start(job)

    def _job(self, target: Any, args: Any, kwargs: Any, *, limits: tuple[float | None, float | None]) -> Job:
        if target in {trace_task_ret, fast_trace_task}:
            return Job(self.node, target, args, limits=limits)
        from .batch import Batch  # a Job of its own kind

        return Batch(self.node, target, args, limits=limits, kwargs=kwargs)

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """``revoke(terminate=True)``: a body that is held ends at once, another one where it sleeps or waits."""
        self.node.world.company.terminate(pid, self.node, unwinds=signal != SIGKILL)

    def grow(self, n: int = 1) -> None:
        """The remote control command ``pool_grow``."""
        self.limit += n
        self.node.concurrency += n

    def shrink(self, n: int = 1) -> None:
        """The remote control command ``pool_shrink``; prefork refuses to stop its last process, too.

        Raises:
            ValueError: It is an answer.
        """
        if n >= self.node.concurrency:
            raise ValueError("Can't shrink pool. All processes busy!")
        self.grow(-n)

    def restart(self) -> None:
        """The remote control command ``pool_restart``: there are no processes."""

    def flush(self) -> None:
        """Nothing is on its way to a process."""


class Job:
    """One task that the pool was given; reports what becomes of it as prefork's result handler does."""

    on_accepted: Callable[..., object]
    on_answer: Callable[..., object]
    on_error: Callable[..., object]
    on_timeout: Callable[..., object]
    #: The thread of its own that it runs in, and what is called there: before each line, and when the body begins.
    strand: Strand | None = None
    on_line: Callable[[CodeType, int], object] | None = None
    lines: Callable[[CodeType], bool] | None = None
    on_begin: Callable[[Execution], object] | None = None

    def __init__(self, node: Node, target: Any, args: Any, *, limits: tuple[float | None, float | None]) -> None:
        self.node = node
        self.target = fast_trace_task if target is trace_task_ret else target
        self.args = args
        self.task_id, self.task_name, self.request = args[1], args[0], args[2]
        self.soft, self.hard = limits

    def run(self) -> None:
        """Run it to its end."""
        node = self.node
        self.pid = node.free_pid()
        self.on_accepted(self.pid, node.monotonic())
        # Before Celery 5.7 the early ack is put off until the event loop turns, which prefork's does at once.
        node.consumer.perform_pending_operations()
        self.execution = self._execution()
        self.number = node.world.starts + 1
        self._started()
        try:
            answer = self._trace()
            self._die_unheard()
        except Killed as death:  # reported when it was killed, or below, or dead with its worker
            close_all(death)
        except (SystemExit, KeyboardInterrupt) as end:
            self._died(_as_lost(end), "LOST")
        except Exception as error:  # noqa: BLE001 - outside the body: what prefork's child sends to its parent
            self._died(error, "FAILURE")
        else:
            if not node.dead:
                self._finished(*self._outcome(answer))
                _safely(self.on_answer, answer)
        if self.execution.lost:
            self._died(WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)."), "LOST")

    def _started(self) -> None:
        redelivered = bool((self.request.get("delivery_info") or {}).get("redelivered"))
        self._record("start", redelivered=redelivered, **self.node.recorder.reprs(self.task_id, self.request))

    def _outcome(self, answer: Any) -> tuple[str, BaseException | None]:
        return outcome_of(answer) if self.execution.began else ("SKIPPED", None)

    def _trace(self) -> Any:
        """Trace the task as a prefork child does, whatever app is current and whatever its settings."""
        world = self.node.world
        if world.script.armed and world.script.forks(self.task_name):
            return run_forked(world, self.execution, self._target)
        return self._target()

    def _target(self) -> Any:
        node = self.node
        with denied_join_result(), node.executing(self.execution):
            return _as_sent(self.target(*self.args, _loc=(node.app.tasks, node.accept, node.worker.hostname)))

    def _die_unheard(self) -> None:
        """A child can die before its answer is read; with an early acknowledgement that changes nothing."""
        if self.node.world.script.armed and self.node.app.tasks[self.task_name].acks_late:
            point = Point("before_ack", self.task_name, self.task_id)
            self.node.world.reach(point, self.execution, death="child")

    def _execution(self) -> Execution:
        now = self.node.time.now
        execution = Execution(
            self.task_id,
            self.task_name,
            self.node,
            soft_at=now + timedelta(seconds=self.soft) if self.soft else None,
            hard_at=now + timedelta(seconds=self.hard) if self.hard else None,
            on_soft=lambda: self.on_timeout(True, self.soft),
            on_hard=self._hard_limit,
            on_line=self.on_line,
            lines=self.lines,
            on_end=self.strand.on_end if self.strand is not None else None,
            on_begin=self.on_begin,
            pid=self.pid,
        )
        if self.strand is not None:
            self.strand.life = execution
        return execution

    def _hard_limit(self) -> None:
        with _outside_of_tasks():
            self._died(TimeLimitExceeded(self.hard), "FAILURE")
            _safely(self.on_timeout, False, self.hard)

    def _died(self, error: Exception, outcome: str) -> None:
        self._finished(outcome, error)
        _safely(self.on_error, _info(error))

    def _finished(self, outcome: str, error: BaseException | None = None) -> None:
        if self.strand is not None:
            self.node.world.company.check(self, error)
        kind = "retry" if outcome == "RETRY" else "finish"
        state = outcome if outcome in {"SUCCESS", "FAILURE", "RETRY"} else None
        self._record(kind, outcome=outcome, state=state, error=error)

    def _record(self, kind: str, **detail: Any) -> None:
        self.node.record(kind, task=self.task_name, id=self.task_id, execution=self.number, **detail)


def _as_lost(end: BaseException) -> WorkerLostError:
    """What the main process says of a pool process whose body has ended it.

    Raises:
        KeyboardInterrupt: It may be the user's Ctrl-C, which no other thread than the main one hears of.
    """
    if isinstance(end, SystemExit):
        return WorkerLostError(f"Worker exited prematurely: exitcode {end.code or 0}.")
    if threading.current_thread() is threading.main_thread():
        raise end
    return WorkerLostError("Worker exited prematurely: KeyboardInterrupt.")


@contextmanager
def _outside_of_tasks() -> Iterator[None]:
    """The main process runs no task: what it publishes has no parent."""
    stack = _state._task_stack.stack
    running = list(stack)
    stack.clear()
    try:
        yield
    finally:
        stack[:] = running


def _safely(callback: Callable[..., object], *args: Any) -> None:
    """As billiard does: what a callback raises (a broken errback, say) is logged, and the worker goes on."""
    try:
        callback(*args)
    except TaskHarnessError:
        raise
    except Exception:
        logger.exception("Pool callback raised exception")


def _unheard(*args: Any) -> None:
    """A callback that nobody has asked for."""


def _as_sent(answer: Any) -> Any:
    """The tracer's answer as it comes out of a pool process, where it was pickled: an error is the error itself."""
    failed, value, _ = answer
    if failed and isinstance(value.exception, ExceptionWithTraceback):
        value.exception = value.exception.exc
    return answer


def outcome_of(answer: Any) -> tuple[str, BaseException | None]:
    """What the tracer's ``(failed, value, runtime)`` means."""
    failed, value, _ = answer
    if not failed:
        return "SUCCESS", None
    error = value.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    if isinstance(error, Retry):
        return "RETRY", error.exc if isinstance(error.exc, BaseException) else error
    if isinstance(error, Reject):
        return "REJECTED", error
    return ("IGNORED" if isinstance(error, Ignore) else "FAILURE"), error


def _info(error: Exception) -> ExceptionInfo:
    """What Celery's callbacks get; it needs a traceback, so that the error has to have been raised."""
    if error.__traceback__ is None:
        try:
            raise error  # noqa: TRY301 - raised in order to be caught
        except Exception:  # noqa: BLE001, S110 - whatever it is
            pass
    return ExceptionInfo((type(error), error, error.__traceback__))
