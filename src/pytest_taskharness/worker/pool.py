"""The pool of a stepped worker: a task runs here and now, under the virtual clock's time limits.

It behaves towards Celery as prefork does, which is what runs in production: a soft limit raises in the body, a hard
limit or ``SystemExit`` is the death of the pool child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.app.trace import fast_trace_task, trace_task_ret
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry
from celery.result import denied_join_result
from celery.utils.log import get_logger

from ..errors import TaskHarnessError

if TYPE_CHECKING:
    from .node import Node

logger = get_logger("celery.pool")

__all__ = ["Execution", "SteppedPool", "outcome_of"]


class _Killed(BaseException):
    """Unwinds a body whose hard time limit has passed: the child is dead."""


@dataclass
class Execution:
    """One running body, and the limits on its time."""

    task_id: str
    task_name: str
    node: Node
    soft_at: datetime | None
    hard_at: datetime | None
    on_soft: Callable[[], None]
    #: The ids that the body waits for in ``result.get()``.
    waiting_for: tuple[str, ...] = ()
    killed: bool = False

    def deadline(self) -> datetime | None:
        """The next limit that will strike."""
        return min((at for at in (self.soft_at, self.hard_at) if at is not None), default=None)

    def stay_dead(self) -> None:
        """A killed child publishes nothing and stores nothing, whatever its ``except:`` and ``finally:`` say."""
        if self.killed:
            raise _Killed

    def strike(self, now: datetime) -> None:
        """Raise in the body what is due now."""
        if self.hard_at is not None and now >= self.hard_at:
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
        """Run one task to its end, and report as prefork's result handler does."""
        node = self.node
        name, task_id, request = args[:3]
        accept_callback(node.pid, node.monotonic())
        # Before Celery 5.7 the early ack is put off until the event loop turns, which prefork's does at once.
        node.consumer.perform_pending_operations()
        # Before Celery 5.7 the limits of the configuration are the pool's own.
        soft_timeout = soft_timeout or self.options.get("soft_timeout")
        timeout = timeout or self.options.get("timeout")
        execution = self._execution(task_id, name, soft_timeout, timeout, timeout_callback)
        shown = node.recorder.reprs(task_id, request)
        started = node.record("start", task=name, id=task_id, **_delivery(request), **shown)
        try:
            answer = self._run(target, args, execution)
        except _Killed:
            if node.dead:
                return
            self._died(started, TimeLimitExceeded(timeout), "FAILURE", error_callback)
            _safely(timeout_callback, False, timeout)
        except SystemExit as exit_:
            lost = WorkerLostError(f"Worker exited prematurely: exitcode {exit_.code or 0}.")
            self._died(started, lost, "LOST", error_callback)
        except Exception as error:  # noqa: BLE001 - outside the body: what prefork's child sends to its parent
            self._died(started, error, "FAILURE", error_callback)
        else:
            if not node.dead:
                self._finished(started, *outcome_of(answer))
                _safely(callback, answer)

    def _run(self, target: Any, args: Any, execution: Execution) -> Any:
        """Trace the task as a prefork child does, whatever app is current and whatever its settings."""
        node = self.node
        if target is trace_task_ret:
            target = fast_trace_task
        with node.executing(execution), denied_join_result():
            return target(*args, _loc=(node.app.tasks, node.accept, node.worker.hostname))

    def _died(self, started: Any, error: Exception, outcome: str, error_callback: Any) -> None:
        self._finished(started, outcome, error)
        _safely(error_callback, _info(error))

    def _execution(
        self, task_id: str, name: str, soft: float | None, hard: float | None, timeout_callback: Any
    ) -> Execution:  # fmt: skip
        now = self.node.time.now
        return Execution(
            task_id,
            name,
            self.node,
            soft_at=now + timedelta(seconds=soft) if soft else None,
            hard_at=now + timedelta(seconds=hard) if hard else None,
            on_soft=lambda: timeout_callback(True, soft),
        )

    def _finished(self, started: Any, outcome: str | None, error: BaseException | None = None) -> None:
        kind = "retry" if outcome == "RETRY" else "finish"
        state = outcome if outcome in {"SUCCESS", "FAILURE", "RETRY"} else None
        self.node.recorder.record(
            kind, task=started.task, id=started.id, worker=self.node.name, outcome=outcome, state=state, error=error
        )

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """``revoke(terminate=True)``: nothing runs while nobody steps, so there is nobody to terminate."""


def _safely(callback: Callable[..., object], *args: Any) -> None:
    """As billiard does: what a callback raises (a broken errback, say) is logged, and the worker goes on."""
    try:
        callback(*args)
    except TaskHarnessError:
        raise
    except Exception:
        logger.exception("Pool callback raised exception")


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


def _delivery(request: Any) -> dict[str, Any]:
    return {"redelivered": bool((request.get("delivery_info") or {}).get("redelivered"))}
