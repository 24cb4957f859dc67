"""django-celery-beat: its schedule is a table of the test's own database, which it reads again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections, connections, router, transaction
from django_celery_beat import schedulers  # type: ignore[import-untyped]

from .ticking import KNOWS_WHEN, offset_changes

if TYPE_CHECKING:
    from .service import Plan

__all__ = ["around"]

#: After so many seconds it reads the whole table, whatever it has been told.
FULL_SYNC = 300.0
#: One for each beat that lives.
_beats: list[None] = []
#: What leaves the table as it is.
_READS = ("SELECT", "SAVEPOINT", "RELEASE", "BEGIN", "PRAGMA", "SET")


@contextmanager
def around(plan: Plan) -> Iterator[None]:
    """Have the scheduler made so that it is not heard of after the test; what a question writes is rolled back."""
    writes = _Writes()
    plan.cls = type(plan.cls.__name__, (_Polling, plan.cls), {"world": plan.world, "writes": writes})
    database = router.db_for_write(plan.cls.Model)  # type: ignore[attr-defined]
    with connections[database].execute_wrapper(writes), _left_open():
        if not plan.asks:
            yield
            return
        with transaction.atomic(using=database):
            try:
                yield
            finally:
                transaction.set_rollback(True, using=database)


@contextmanager
def _left_open() -> Iterator[None]:
    """The connection is the test's: it must not be closed as an old one, in the middle of a transaction."""
    _beats.append(None)
    schedulers.close_old_connections = _not_now
    try:
        yield
    finally:
        _beats.pop()
        if not _beats:
            schedulers.close_old_connections = close_old_connections


def _not_now() -> None:
    """In the place of ``close_old_connections``."""


class _Writes:
    """Whether somebody has written to the database, on the connection of the test and of its bodies."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, execute: Callable[..., Any], sql: Any, *args: Any) -> Any:
        if not str(sql).lstrip("( ").upper().startswith(_READS):
            self.seen = True
        return execute(sql, *args)


class _Polling:
    """Beside a DatabaseScheduler: where nobody can have changed the table, it does not look every five seconds.

    Attributes:
        world: Where its entries are run.
        writes: Who tells of changes.
    """

    app: Any
    world: Any
    writes: _Writes
    max_interval: float
    _heap: Any
    _finalize: Any
    _last_full_sync: Any
    Model: Any
    Entry: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As ever, but that it writes nothing when Python ends: the database of the test is gone by then."""
        super().__init__(*args, **kwargs)
        self._finalize.cancel()
        self._ticked: datetime = self.world.time.now
        self._known = 0

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """The same."""
        try:
            return super().tick(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._ticked, self._known = self.world.time.now, len(self.world.timeline)
            self.writes.seen = False

    @property
    def all_entries(self) -> dict[str, Any]:
        """Every entry that is enabled; ``schedule`` has those that may be due soon."""
        return {model.name: self.Entry(model, app=self.app) for model in self.Model.objects.enabled()}

    def longest_sleep(self, interval: timedelta, now: datetime) -> timedelta:
        """How long nothing happens, if nobody writes: until an entry is due, or the whole table is read."""
        every = timedelta(seconds=self.max_interval)
        if interval < every:
            return interval
        read = FULL_SYNC - (datetime.now() - self._last_full_sync).total_seconds()  # noqa: DTZ005 - as it counts itself
        idle = every * max(1, ceil(read / self.max_interval))
        if self._heap:
            idle = min(idle, max(every, self._until_top(now)))
        crosses = not KNOWS_WHEN and offset_changes(now, now + idle, self.app.timezone)
        return interval if crosses else idle

    def _until_top(self, now: datetime) -> timedelta:
        at, _, entry = self._heap[0]
        if KNOWS_WHEN:
            return timedelta(seconds=round(at - now.timestamp(), 6))
        return timedelta(seconds=entry.is_due()[1] or 0)

    def next_poll(self, now: datetime) -> datetime | None:
        """When it would look next, where it may find something; None where it need not."""
        if not self.writes.seen and len(self.world.timeline) == self._known:
            return None
        every = timedelta(seconds=self.max_interval)
        return self._ticked + every * max(1, ceil((now - self._ticked) / every))
