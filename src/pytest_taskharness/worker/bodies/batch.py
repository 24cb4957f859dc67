"""Many messages in one call of the pool: what a strategy of the user's own does, such as that of celery-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.result import denied_join_result

from ...timeline import Run
from .pool import Job

if TYPE_CHECKING:
    from ..node import Node

__all__ = ["Batch", "noticing_errors", "requests_in"]

#: How deep the requests lie in the arguments: celery-batches hands over ``(task, ([request, …],), …)``.
DEPTH = 3
FINAL_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class Batch(Job):
    """A function that is not Celery's tracer: what becomes of its requests is its own affair.

    Each request that it was given is started and finished in the timeline, all of them at once.
    """

    def __init__(
        self, node: Node, target: Any, args: Any, *, limits: tuple[float | None, float | None], kwargs: Any = None
    ) -> None:  # fmt: skip
        """Find the requests among the arguments."""
        self.node, self.target, self.args, self.kwargs = node, target, args, kwargs or {}
        self.soft, self.hard = limits
        self.requests = list(requests_in(args, node.world.timeline.of))
        self.task = next((each for each in args if isinstance(each, Task)), None)
        first = self.requests[0] if self.requests else None
        self.task_id = "" if first is None else str(first.id)
        self.task_name = self.task.name if self.task is not None else getattr(target, "__name__", "")
        self.request: dict[str, Any] = {}
        self._errors: list[BaseException] = []

    def _started(self) -> None:
        for request in self.requests:
            redelivered = bool((request.delivery_info or {}).get("redelivered"))
            reprs = self.node.recorder.reprs(request.id, request.request_dict or {})
            self._record_of(request, "start", redelivered=redelivered, **reprs)

    def _trace(self) -> Any:
        node = self.node
        self.execution.began = True
        with node.executing(self.execution), denied_join_result(), noticing_errors(self.task) as self._errors:
            return self.target(*self.args, **self.kwargs)

    def _die_unheard(self) -> None:
        """Nothing of a batch is scripted."""

    def _outcome(self, answer: Any) -> tuple[str, BaseException | None]:
        return ("FAILURE", self._errors[-1]) if self._errors else ("SUCCESS", None)

    def _finished(self, outcome: str, error: BaseException | None = None) -> None:
        for request in self.requests:
            stored = self._stored(request)
            if stored is None:
                self._record_of(request, "finish", outcome=outcome, state=_state(outcome), error=error)
            else:
                self._record_of(request, "finish", outcome=stored.state, state=None, error=stored.error)

    def _stored(self, request: Any) -> Run | None:
        """The run whose end the body has stored by itself."""
        run = self.node.world.timeline.run(str(request.id))
        return run if run is not None and run.state in FINAL_STATES else None

    def _record_of(self, request: Any, kind: str, **detail: Any) -> None:
        self.node.record(kind, task=self._name_of(request), id=request.id, execution=self.number, **detail)

    def _name_of(self, request: Any) -> str:
        name: str = request.name if request.name in self.node.app.tasks else self.task_name
        return name


def _state(outcome: str) -> str | None:
    return outcome if outcome in FINAL_STATES else None


@contextmanager
def noticing_errors(task: Any) -> Iterator[list[BaseException]]:
    """What the body of a task raises while entered: celery-batches logs it, and tells nobody."""
    errors: list[BaseException] = []
    if task is None:
        yield errors
        return
    run, own = task.run, task.__dict__.get("run")

    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except Exception as error:
            errors.append(error)
            raise

    task.__dict__["run"] = watched
    try:
        yield errors
    finally:
        del task.__dict__["run"]
        if own is not None:
            task.__dict__["run"] = own


def requests_in(value: Any, known: Callable[[str], Any], *, depth: int = DEPTH) -> Iterator[Any]:
    """Whatever has the id of a task that is known, and the delivery of a message."""
    if isinstance(value, (list, tuple)):
        for item in value if depth >= 0 else ():
            yield from requests_in(item, known, depth=depth - 1)
    elif hasattr(value, "delivery_info") and isinstance(getattr(value, "id", None), str) and known(value.id):
        yield value
