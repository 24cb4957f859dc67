"""Records of worker processes become events of the test's timeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ...recorder import Recorder
from ...timeline import Event
from ...timeline.runs import FINAL_STATES
from .whereabouts import is_local

__all__ = ["Teller"]

#: What a worker says of a task that exists in the test process alone.
LOCAL = "; it is defined inside a function, and a worker process has only what it can import"


class Teller:
    """Appends to one timeline."""

    def __init__(self, app: Any, recorder: Recorder, *, now: Callable[[], datetime] | None = None) -> None:
        """Stamp events with ``now()``, where a clock is given that rules the workers too; else with their own clock."""
        self._app = app
        self._recorder = recorder
        self._now = now

    def tell(self, record: dict[str, Any]) -> None:
        """Append one record."""
        at = self._now() if self._now is not None else record["at"]
        task, task_id, detail = record["task"], record["id"], record["detail"]
        timeline = self._recorder.timeline
        event = Event(len(timeline), at, record["kind"], task, task_id, record["worker"], detail)
        prepare = getattr(self, f"_prepare_{event.kind}", None)
        if prepare is not None:
            prepare(event)
        elif "argsrepr" in detail:
            detail |= self._recorder.reprs(task_id, detail)
        timeline.append(event)

    def _prepare_publish(self, event: Event) -> None:
        """What the publisher of the first message hid stays hidden, although each retry tells it anew."""
        self._recorder.hide(event.task or "", event.id or "", event.detail)

    def _prepare_finish(self, event: Event) -> None:
        """What a body has stored of one of its many requests is how that one has ended."""
        if not event.detail.pop("of_many", False):
            return
        run = self._recorder.timeline.run(event.id or "")
        if run is not None and run.state in FINAL_STATES:
            event.detail |= {"outcome": str(run.state), "state": None, "error": run.error}

    def _prepare_callback(self, event: Event) -> None:
        """An errback that was called inline has no id but one that is counted; each process begins at 1."""
        assert event.id is not None
        prefix, _, number = event.id.rpartition("-")
        while self._recorder.timeline.of(f"{prefix}-{number}"):
            number = str(int(number) + 1)
        event.id = f"{prefix}-{number}"

    def _prepare_poison(self, event: Event) -> None:
        task = self._app.tasks.get(event.task)
        if task is not None and is_local(task):
            event.detail["note"] += LOCAL
