"""A beat that runs with its world: what publishes beside the workers, at the instants at which Celery's beat would.

The name of this module is the boundary of call sites, too: what beat publishes, nobody has called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from celery import _state

from ..errors import ScheduleError, TaskHarnessError, hide_frames
from ..recorder.callsite import BEAT_ENTRY
from ..timeline import Event
from ..worker.punctual import due_at
from .fires import Fires, passed_over
from .ticking import Ticker

__all__ = ["BeatSource"]

__tracebackhide__ = hide_frames


class BeatSource:
    """One beat of one world.

    Attributes:
        name: What messages call it.
        scheduler: Celery's own.
        fires: What it has sent.
        until: The instant after which it sends no more; None where there is none.
    """

    fires: Fires

    def __init__(self, world: Any, scheduler: Any, *, name: str) -> None:
        """It does nothing before :meth:`go`, and needs ``fires`` by then."""
        self.name = name
        self.scheduler = scheduler
        self.until: datetime | None = None
        self._world = world
        self._ticker = Ticker(scheduler, lambda: world.time.now)
        self._runs = False
        self._is_ticking = False
        self._entry: Any = None
        self._failure: Exception | None = None
        self._send = scheduler.apply_async
        scheduler.apply_async = self._watch

    # -- running

    def go(self) -> None:
        """From now on; the first look at the entries is taken at once."""
        self._ticker.wake = self._world.time.now
        self._runs = True
        self._world.sources.append(self)

    def pause(self) -> None:
        """Send nothing until :meth:`go`; pausing twice is fine."""
        if self._runs:
            self._runs = False
            self._world.sources.remove(self)

    @property
    def runs(self) -> bool:
        """Whether it sends anything."""
        return self._runs

    def due(self) -> datetime | None:
        """When it next wants to look at its entries; never while it does."""
        wake = self._wake()
        is_over = self.until is not None and wake > self.until
        return None if self._is_ticking or not self._runs or is_over else wake

    def _wake(self) -> datetime:
        """A scheduler that reads its entries from somewhere looks earlier where somebody may have changed them."""
        poll = self.scheduler.next_poll(self._world.time.now) if hasattr(self.scheduler, "next_poll") else None
        return self._ticker.wake if poll is None else min(self._ticker.wake, poll)

    def fire(self) -> bool:
        """Look at the entries, and send one that is due; whether one was.

        Raises:
            ScheduleError: One could not be sent.
        """
        self._is_ticking = True
        try:
            with _beside_bodies(self._world.app):
                has_sent = self._ticker.tick()
        except Exception as error:
            self._die(error)
            raise
        finally:
            self._is_ticking = False
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return has_sent

    def _die(self, error: Exception) -> None:
        """What its scheduler raises ends the process of a beat."""
        self._world.recorder.record("fault", note=f"{self.name} has died: {type(error).__name__}: {error}")
        self.pause()
        if not isinstance(error, TaskHarnessError):
            raise ScheduleError(
                f"{self.name} has died: its scheduler raised {type(error).__name__}: {error}. In production the "
                "process ends, and nothing is sent until somebody starts it again; so it is here, until resume()."
            ) from error

    # -- sending

    def _watch(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        """In the place of ``Scheduler.apply_async``: the same, and it is written down.  Call sites read ``entry``."""
        outer, self._entry = self._entry, entry
        listeners = self._world.recorder.listeners
        listeners.append(self._hear)
        try:
            result = self._send(entry, *args, **kwargs)
        except Exception as error:
            self._fail(entry, error)
            raise
        finally:
            listeners.remove(self._hear)
            self._entry = outer
        return result

    def _hear(self, published: Event) -> None:
        """A message was published; what the entry's own body publishes (in eager mode) has another call site."""
        entry, site = self._entry, published.detail["call_site"]
        if site is None or site.file != BEAT_ENTRY:
            return
        now = self._world.time.now
        due = due_at(entry, now)
        self._ticker.sent += 1
        self.fires._add(entry.name, now, published.id)
        if due < now:
            self.fires._skip(entry.name, passed_over(entry.schedule, due.astimezone(self.fires.zone), now))
        self._world.recorder.record(
            "beat fire", task=entry.task, id=published.id, beat=self.name, entry=entry.name,
            schedule=str(entry.schedule), due=due,
        )  # fmt: skip

    def _fail(self, entry: Any, error: Exception) -> None:
        """Celery writes that into its log, and goes on: nobody would notice."""
        said = error.__cause__ or error.__context__ or error
        text = f"beat could not send entry {entry.name!r} ({entry.task}): {type(said).__name__}: {said}"
        self._world.recorder.record("fault", task=entry.task, note=text)
        self._ticker.sent += 1
        if not self._world.broker.is_out:  # the test knows
            self._failure = ScheduleError(
                f"{text}\nCelery's beat writes that into its log and goes on; the next chance is the entry's next fire."
            )
            self._failure.__cause__ = error


@contextmanager
def _beside_bodies(app: Any) -> Iterator[None]:
    """Beat is a process of its own: what it sends has no parent, also where a body sleeps or waits meanwhile."""
    stack, current = _state._task_stack, _state._tls.current_app
    tasks = [stack.pop() for _ in range(len(stack))]
    _state._set_current_app(app)
    try:
        yield
    finally:
        _state._set_current_app(current)
        for task in reversed(tasks):
            stack.push(task)
