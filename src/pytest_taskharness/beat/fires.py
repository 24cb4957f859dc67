"""What a beat has sent, or would send: the answers that a simulation and a running beat give alike."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ..clock.real import plain
from ..errors import FidelityError, NoSuchEntry, hide_frames
from ..timeline import Event, Run, Timeline
from ..wording import did_you_mean

__all__ = ["Busiest", "Fires", "Overlap", "passed_over"]

__tracebackhide__ = hide_frames


class Overlap(NamedTuple):
    """A fire at which an earlier run of the same entry had not ended.

    Attributes:
        at: When it fired.
        run: What it started.
        unfinished: The earlier runs that still waited or ran.
    """

    at: datetime
    run: Run
    unfinished: list[Run]


class Busiest(NamedTuple):
    """The minute in which most messages were sent.

    Attributes:
        at: Its beginning.
        total: How many messages.
        entries: How many of each entry, by its name.
    """

    at: datetime
    total: int
    entries: dict[str, int]


def passed_over(schedule: Any, due: datetime, at: datetime) -> Iterator[datetime]:
    """The instants at which an entry was due before ``at``, when it was sent: that stands for the last of them only.

    Args:
        schedule: Celery's schedule of the entry; its clock must stand still.
        due: When it was due first.
        at: When it was sent.
    """
    while (following := _following(schedule, due)) is not None and due < following <= at:
        yield due
        due = following


def _following(schedule: Any, due: datetime) -> datetime | None:
    try:
        left: timedelta = schedule.remaining_estimate(due)
    except NotImplementedError:
        return None
    return plain(plain(schedule.now()) + left).astimezone(due.tzinfo)


class Fires:
    """When which entry was sent, in the timezone of the app."""

    def __init__(self, zone: Any, names: Iterable[str], *, timeline: Timeline | None = None) -> None:
        """Nothing yet; runs are looked up in the timeline, where they were run."""
        self.zone = zone
        # Celery keeps its entries in the order of a set, which is another one in each process.
        self._fires: dict[str, list[datetime]] = {name: [] for name in sorted(names, key=str)}
        self._skipped: dict[str, list[datetime]] = {}
        self._ids: dict[str, list[str | None]] = {}
        self._timeline = timeline

    # -- being told

    def _add(self, name: str, at: datetime, id: str | None = None) -> None:
        self._fires.setdefault(name, []).append(plain(at))
        self._ids.setdefault(name, []).append(id)

    def _skip(self, name: str, instants: Iterable[datetime]) -> None:
        self._skipped.setdefault(name, []).extend(at.astimezone(self.zone) for at in instants)

    # -- answering

    def fires(self, name: str) -> list[datetime]:
        """When this entry was sent, oldest first.

        Raises:
            NoSuchEntry: There is no such entry.
        """
        return [at.astimezone(self.zone) for at in self._fires[self._known(name)]]

    @property
    def counts(self) -> dict[str, int]:
        """How often each entry was sent, those included that never were."""
        return {name: len(fires) for name, fires in self._fires.items()}

    def skipped(self, name: str) -> list[datetime]:
        """The instants at which this entry was due, and its task did not run for them.

        Celery passes over an instant when its beat comes too late: a late beat sends an entry once, however often it
        was due meanwhile.  Where tasks are run, also those are here whose message expired before a worker took it.

        Raises:
            NoSuchEntry: There is no such entry.
        """
        return sorted([*self._skipped.get(self._known(name), []), *self._expired(name)])

    def _expired(self, name: str) -> Iterator[datetime]:
        for at, run in self._runs(name):
            if not run.attempts and any(map(_has_expired, run.timeline)):
                yield at.astimezone(self.zone)

    def overlaps(self, name: str) -> list[Overlap]:
        """The fires of this entry at which an earlier run of it had not ended, whether it waited or ran.

        Raises:
            NoSuchEntry: There is no such entry.
            FidelityError: Nothing was run.
        """
        if self._timeline is None:
            raise FidelityError(
                "overlaps() asks how long tasks run, and simulate() has only asked when they would be sent. Let them "
                "run: harness.beat.simulate(run=True, …)."
            )
        found: list[Overlap] = []
        unfinished: list[Run] = []
        for at, run in self._runs(self._known(name)):
            unfinished = [earlier for earlier in unfinished if not self._had_ended(earlier, at, run)]
            if unfinished:
                found.append(Overlap(at.astimezone(self.zone), run, list(unfinished)))
            unfinished.append(run)
        return found

    def _had_ended(self, earlier: Run, at: datetime, run: Run) -> bool:
        assert self._timeline is not None
        return _had_ended(self._timeline.of(earlier.id), at, self._timeline.of(run.id)[0].seq)

    def _runs(self, name: str) -> Iterator[tuple[datetime, Run]]:
        """The fires that have left a trace on the timeline."""
        for at, task_id in zip(self._fires[name], self._ids.get(name, []), strict=True):
            run = self._timeline.run(task_id) if self._timeline is not None and task_id is not None else None
            if run is not None:
                yield at, run

    def busiest(self) -> Busiest | None:
        """The minute in which most messages were sent, the first such; None where none was."""
        minutes = Counter(at.replace(second=0, microsecond=0) for fires in self._fires.values() for at in fires)
        if not minutes:
            return None
        most = max(minutes.values())
        minute = min(at for at, count in minutes.items() if count == most)
        counts = {name: _count(fires, minute) for name, fires in self._fires.items()}
        return Busiest(minute.astimezone(self.zone), most, {name: count for name, count in counts.items() if count})

    def _known(self, name: str) -> str:
        if name not in self._fires:
            raise NoSuchEntry(
                f"the beat schedule has no entry {name!r}.{did_you_mean(name, self._fires)} It has "
                f"{', '.join(map(repr, self._fires)) or 'none'}."
            )
        return name

    # -- showing

    def __str__(self) -> str:
        """A table with a line for each entry."""
        head = ("entry", "fires", "first", "last", "skipped", *(("overlaps",) if self._timeline else ()))
        rows = [head, *(self._row(name) for name in sorted(self._fires, key=str))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *self._peak()])

    def _row(self, name: str) -> tuple[str, ...]:
        fires = self._fires[name]
        first, last = (at.astimezone(self.zone).isoformat() for at in (fires[0], fires[-1])) if fires else ("-", "-")
        overlaps = (str(len(self.overlaps(name))),) if self._timeline else ()
        return name, str(len(fires)), first, last, str(len(self.skipped(name))), *overlaps

    def _peak(self) -> list[str]:
        busiest = self.busiest()
        if busiest is None:
            return []
        return [f"busiest minute: {busiest.at.isoformat()}, {busiest.total} sent: {_listed(busiest.entries)}"]


def _count(fires: list[datetime], minute: datetime) -> int:
    """How many, oldest first, are in a minute."""
    return bisect_left(fires, minute + timedelta(minutes=1)) - bisect_left(fires, minute)


def _listed(entries: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count} times" if count > 1 else name for name, count in entries.items())


def _has_expired(event: Event) -> bool:
    return event.kind == "expire" or (event.kind == "revoke" and event.detail.get("note") == "expired")


def _had_ended(events: list[Event], at: datetime, seq: int) -> bool:
    """Whether the last word of a run comes before something else; at the same instant, their order decides."""
    last = next((event for event in reversed(events) if event.kind in _WORDS), None)
    return last is not None and last.kind in _LAST_WORDS and (last.at, last.seq) < (at, seq)


_LAST_WORDS = frozenset({"finish", "revoke", "poison", "expire"})
_WORDS = _LAST_WORDS | {"publish", "start", "retry"}
