"""One task id from publish to end, read off the timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .events import Event, State, TaskName, short_id
from .message import Message

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["Attempt", "Run"]

FINAL_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


@dataclass(frozen=True)
class Attempt:
    """One time that the body of a task was started.

    Attributes:
        number: 1 for the first start, whether the next ones come from a retry, a duplicate or a redelivery.
        started_at: When (aware, UTC).
        elapsed: Virtual time from the start to the end, or None while it runs.
        worker: The name of the worker.
        redelivered: Whether the broker said that this delivery was not the first.
        outcome: ``SUCCESS``, ``FAILURE``, ``RETRY``, ``IGNORED``, ``REJECTED``, ``LOST`` where the pool child died, or
            None where it never ended.
        error: The exception that ended it, or None.
        task: The task that ran; after ``self.replace()`` the next attempt is another task's.
    """

    number: int
    started_at: datetime
    elapsed: timedelta | None = None
    worker: str | None = None
    redelivered: bool = False
    outcome: str | None = None
    error: BaseException | None = None
    task: TaskName | None = None


class Run:
    """One task id, from publish to end.

    Where an attempt is meant (:attr:`started_at`, :attr:`elapsed`, :attr:`worker`, …) it is the last one.  A run
    is a view: it grows as the timeline grows.
    """

    __slots__ = ("_timeline", "id")

    def __init__(self, timeline: Timeline, task_id: str) -> None:
        """Make the view; users get it from ``harness.run_of()`` and the assertions."""
        self._timeline = timeline
        self.id = task_id

    @property
    def _events(self) -> list[Event]:
        return self._timeline.of(self.id)

    def _last(self, *kinds: str) -> Event | None:
        return next((event for event in reversed(self._events) if event.kind in kinds), None)

    # -- what

    @property
    def task(self) -> TaskName:
        """The task's registered name; after ``self.replace()``, which keeps the id, that of the replacement."""
        names = self.tasks
        return names[-1] if names else TaskName("")

    @property
    def tasks(self) -> list[TaskName]:
        """Every task that ran under this id, in order: more than one after ``self.replace()``."""
        return [TaskName(name) for name in dict.fromkeys(event.task for event in self._events) if name]

    @property
    def messages(self) -> list[Message]:
        """The messages published under this id: the first one and its retries."""
        return [Message.from_event(event) for event in self._events if event.kind == "publish"]

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments, as published last."""
        return tuple(self._arguments("args", ()))

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments, as published last."""
        return dict(self._arguments("kwargs", {}))

    def _arguments(self, name: str, default: Any) -> Any:
        event = self._last("publish")
        if event is not None:
            return event.detail.get(name, default)
        told = (each.detail for each in reversed(self._events) if each.kind in {"deliver", "start", "callback"})
        return next((detail[name] for detail in told if name in detail), default)

    @property
    def eta(self) -> datetime | None:
        """When the last message of this id may run, or None where it may at once."""
        event = self._last("publish")
        return None if event is None else event.detail.get("eta")

    # -- how it went

    @property
    def states(self) -> list[State]:
        """The full history of states, custom ones with their meta; the same in every mode that has a worker."""
        history: list[State] = []
        # Two processes may write down a publish and what came of it in either order.
        for event in sorted(self._events, key=lambda event: not _is_first_publish(event)):
            state = _state_of(event, history)
            if state is not None:
                history.append(state)
        return history

    @property
    def state(self) -> State:
        """The latest state; ``PENDING`` where nothing is known, as Celery says."""
        states = self.states
        return states[-1] if states else State("PENDING")

    @property
    def result(self) -> Any:
        """What the result backend keeps as the return value; None before success and under ``ignore_result``."""
        # The first SUCCESS is final: Celery's backends do not store what a duplicate returns.
        stored = (event for event in self._events if event.kind == "store" and event.detail.get("state") == "SUCCESS")
        return next((event.detail.get("result") for event in stored), None)

    @property
    def error(self) -> BaseException | None:
        """The exception that the last attempt, or the backend's last word, ended with; None on success."""
        event = self._last("finish", "retry", "store", "revoke", "callback", "poison")
        error = None if event is None else event.detail.get("error")
        return error if isinstance(error, BaseException) else None

    @property
    def traceback(self) -> str | None:
        """The traceback of :attr:`error` as Celery keeps it, or None."""
        event = next((event for event in reversed(self._events) if event.detail.get("traceback")), None)
        return None if event is None or self.error is None else str(event.detail["traceback"])

    @property
    def attempts(self) -> list[Attempt]:
        """Each time the body was started, oldest first; not where Celery skips one that has succeeded before."""
        attempts: list[Attempt] = []
        for event, end in _bodies(self._events):
            if end is None or end.detail.get("outcome") != "SKIPPED":
                attempts.append(_attempt(len(attempts) + 1, event, end))
        return attempts

    @property
    def retry_delays(self) -> list[float]:
        """Seconds that each retry was asked to wait, in order; 0 where it asked for none."""
        return [_seconds(message.countdown or 0) for message in self.messages if message.retries]

    def _attempt(self, read: Callable[[Attempt], Any]) -> Any:
        attempts = self.attempts
        return read(attempts[-1]) if attempts else None

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt started (aware, UTC), or None where the body never ran."""
        moment: datetime | None = self._attempt(lambda attempt: attempt.started_at)
        return moment

    @property
    def elapsed(self) -> timedelta | None:
        """Virtual time that the last attempt took."""
        elapsed: timedelta | None = self._attempt(lambda attempt: attempt.elapsed)
        return elapsed

    @property
    def worker(self) -> str | None:
        """The worker of the last attempt."""
        worker: str | None = self._attempt(lambda attempt: attempt.worker)
        return worker

    @property
    def redelivered(self) -> bool:
        """Whether the last delivery was marked as not the first."""
        event = self._last("deliver")
        return bool(event and event.detail.get("redelivered"))

    @property
    def acked(self) -> bool:
        """Whether the last delivery was acknowledged."""
        event = self._last("deliver", "ack", "reject")
        return event is not None and event.kind == "ack"

    @property
    def inline(self) -> bool:
        """True for an errback that Celery called inside the failing worker: no message, no signals."""
        return any(event.kind == "callback" for event in self._events)

    @property
    def finished(self) -> bool:
        """Whether no further state is to be expected."""
        last = self._last("finish", "retry", "revoke", "deliver", "publish", "expire", "reject", "poison")
        return self.state in FINAL_STATES or (last is not None and _is_the_end(last))

    # -- family

    @property
    def parent(self) -> Run | None:
        """The run whose body, callback or chain published this one."""
        event = next((event for event in self._events if event.detail.get("parent_id")), None)
        return None if event is None else self._timeline.run(event.detail["parent_id"])

    @property
    def children(self) -> list[Run]:
        """The runs that this one published, in order."""
        return [run for run in self._timeline.runs() if run.parent == self and run.id != self.id]

    @property
    def timeline(self) -> Timeline:
        """The events of this run alone."""
        return self._timeline.only(self.id)

    def __eq__(self, other: object) -> bool:
        """Two views of one id are the same run."""
        return isinstance(other, Run) and other.id == self.id

    def __hash__(self) -> int:
        """By id."""
        return hash(self.id)

    def __repr__(self) -> str:
        """As ``<Run shop.tasks.charge 1f3c9a7e SUCCESS, 2 attempts>``."""
        count = len(self.attempts)
        return f"<Run {self.task} {short_id(self.id)} {self.state}, {count} attempt{'s' * (count != 1)}>"


def _seconds(value: float) -> float:
    return int(value) if value == int(value) else value


def _is_the_end(event: Event) -> bool:
    """Whether no state comes after this, although none is stored."""
    dropped = event.kind == "reject" and not event.detail.get("requeue")
    return dropped or event.detail.get("outcome") in {"IGNORED", "REJECTED"}


def _is_first_publish(event: Event) -> bool:
    return event.kind == "publish" and not event.detail.get("retries")


def _bodies(events: list[Event]) -> list[tuple[Event, Event | None]]:
    """Each start with its end: of the same execution, for bodies of one id may overlap."""
    bodies: list[tuple[Event, Event | None]] = []
    for event in events:
        if event.kind in {"start", "callback"}:
            bodies.append((event, event if event.kind == "callback" else None))
        elif event.kind in {"finish", "retry"} and bodies:
            index = _started_by(event, bodies)
            bodies[index] = (bodies[index][0], event)
    return bodies


def _started_by(end: Event, bodies: list[tuple[Event, Event | None]]) -> int:
    """Mostly the last one, so that a run of ten thousand attempts is read once, and not once for each."""
    number, last = end.detail.get("execution"), len(bodies) - 1
    if number is None:
        return last
    return next((i for i in range(last, -1, -1) if bodies[i][0].detail.get("execution") == number), last)


def _attempt(number: int, start: Event, end: Event | None) -> Attempt:
    return Attempt(
        number,
        start.at,
        elapsed=end.at - start.at if end else None,
        worker=start.worker,
        redelivered=bool(start.detail.get("redelivered")),
        outcome=end.detail.get("outcome") if end else None,
        error=end.detail.get("error") if end else None,
        task=TaskName(start.task) if start.task else None,
    )


def _state_of(event: Event, history: list[State]) -> State | None:
    """The state that this event adds to the history so far, if it adds one."""
    name, meta = None, None
    if event.kind == "publish" and not history:
        name = "PENDING"
    elif event.kind == "receive":
        name = "RECEIVED"
    elif event.kind == "start":
        name = "STARTED"
    elif event.kind == "store":
        name, meta = event.detail.get("state"), event.detail.get("meta")
    elif event.kind in {"finish", "retry", "revoke", "callback"}:
        name = event.detail.get("state")
    repeated = bool(history) and event.kind in {"store", "finish", "retry", "revoke"} and history[-1] == name
    if name is None or (repeated and meta is None):
        return None
    return State(name, at=event.at, meta=meta)
