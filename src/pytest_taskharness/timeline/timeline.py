"""The record of everything that happened, in order; all looking and asserting starts here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from threading import Lock
from typing import Any

from . import archive, table
from .events import Event
from .message import Message
from .runs import Run
from .tally import Tally

__all__ = ["Timeline"]


class Timeline:
    """Events in the order in which they happened.

    ``print(timeline)`` shows a table; :meth:`to_json` and :meth:`from_json` keep one in a file.  Iterating gives
    :class:`Event` objects.
    """

    def __init__(self, start: datetime, *, events: Iterable[Event] = ()) -> None:
        """Begin at ``start``, the instant that a table calls ``t+0.000s``."""
        self.start = start
        #: Called before anybody looks, where others write who have to be listened to first.
        self.before_look: Callable[[], object] = _nothing
        self._events: list[Event] = []
        self._by_id: dict[str, list[Event]] = {}
        self._published: list[Event] = []
        self._lock = Lock()
        for event in events:
            self.append(event)

    def append(self, event: Event) -> None:
        """Add an event that was made elsewhere."""
        self._events.append(event)
        if event.id is not None:
            self._by_id.setdefault(event.id, []).append(event)
        if event.kind == "publish":
            self._published.append(event)

    def record(
        self, kind: str, at: datetime, *, task: str | None = None, id: str | None = None, worker: str | None = None,
        **detail: Any,
    ) -> Event:  # fmt: skip
        """Write down one event."""
        with self._lock:  # of two threads, one writes after the other
            event = Event(len(self._events), at, kind, task, id, worker, detail)
            self.append(event)
        return event

    # -- looking

    @property
    def events(self) -> list[Event]:
        """All events, oldest first."""
        self.before_look()
        return self._events

    def __iter__(self) -> Iterator[Event]:
        """Events, oldest first."""
        return iter(self.events)

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.events)

    def of(self, task_id: str) -> list[Event]:
        """The events of one task id, oldest first."""
        self.before_look()
        return self._by_id.get(task_id, [])

    def messages(self, *, since: int = 0) -> list[Message]:
        """Everything published from event number ``since`` on, oldest first."""
        self.before_look()
        return [Message.from_event(event) for event in self._published if event.seq >= since]

    def run(self, task_id: str) -> Run | None:
        """The run of this id, or None where no event mentions it."""
        self.before_look()
        return Run(self, task_id) if task_id in self._by_id else None

    def runs(self, task: str | None = None) -> list[Run]:
        """All runs that were published or delivered, by the order of their first event."""
        self.before_look()
        found = (Run(self, task_id) for task_id, events in list(self._by_id.items()) if any(map(_makes_a_run, events)))
        return [run for run in found if task is None or task in run.tasks]

    def runs_since(self, seq: int) -> list[Run]:
        """The runs that did something (started, ended, were revoked) from event number ``seq`` on."""
        ids = dict.fromkeys(event.id for event in self.events[seq:] if event.kind in _DOING and event.id)
        return [Run(self, task_id) for task_id in ids]

    @property
    def tally(self) -> Tally:
        """What was lost, duplicated, unexpected or unknown."""
        return Tally.of(self)

    def only(self, task_id: str) -> Timeline:
        """A timeline with the events of one task id."""
        return Timeline(self.start, events=self.of(task_id))

    # -- keeping

    def __str__(self) -> str:
        """The whole table."""
        return table.render(self.start, self.events)

    def __repr__(self) -> str:
        """How long it is; the table is ``str()``."""
        return f"<Timeline of {len(self.events)} events from {self.start.isoformat()}>"

    def to_json(self) -> str:
        """One JSON document; hidden arguments stay hidden, objects that JSON has no form for become their repr."""
        return archive.dumps(self.start, self.events)

    @classmethod
    def from_json(cls, text: str) -> Timeline:
        """A timeline as :meth:`to_json` wrote it.

        Raises:
            ValueError: ``text`` is not such a document.
        """
        start, events = archive.loads(text)
        return cls(start, events=events)


def _nothing() -> None:
    """All that happens is written down where it happens."""


_DOING = frozenset({"start", "finish", "retry", "revoke", "poison", "callback"})


def _makes_a_run(event: Event) -> bool:
    return event.kind in {"publish", "deliver", "start", "callback"}
