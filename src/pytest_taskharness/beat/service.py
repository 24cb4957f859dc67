"""Makes the scheduler that an app's beat would run, as ``celery beat`` does, and takes it apart again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from celery import beat, signals
from celery.utils.imports import load_extension_class_names, symbol_by_name

from ..errors import ConfigurationError, hide_frames
from ..wording import did_you_mean
from ..worker.punctual import make_punctual
from .checking import check_entries, check_form

__all__ = ["Plan", "all_entries", "is_plain", "made"]

__tracebackhide__ = hide_frames

#: The schedulers that need more around them: the path of the class, and the module here that has it.  Its
#: ``around(plan)`` is a context manager that is entered before the scheduler is made, and left after it was closed.
KINDS: dict[str, str] = {
    "django_celery_beat.schedulers.DatabaseScheduler": "database",
    "redbeat.schedulers.RedBeatScheduler": "redbeat",
}


class Plan:
    """Which scheduler is wanted, and for what.

    Attributes:
        app: Whose beat.
        world: Where it publishes.
        cls: The class of the scheduler.
        asks: Nothing is published, and nothing may be left behind.
        directory: Makes the directory of the test, for a scheduler that keeps a file.
    """

    def __init__(self, world: Any, given: Any, *, directory: Callable[[], Path], asks: bool) -> None:
        """Find the class.

        Raises:
            ConfigurationError: There is no such scheduler.
        """
        self.app = world.app
        self.world = world
        self.asks = asks
        self.directory = directory
        self.cls = _in_memory(_found(world.app, given), given)

    def around(self) -> AbstractContextManager[object]:
        """What this kind of scheduler needs."""
        for cls in self.cls.__mro__:
            module = KINDS.get(f"{cls.__module__}.{cls.__qualname__}")
            if module is not None:
                found: AbstractContextManager[object] = import_module(f".{module}", __package__).around(self)
                return found
        return nullcontext()


def _found(app: Any, given: Any) -> Any:
    """The class, by itself, by its path, or by the alias that a package has for it (``django``)."""
    wanted = given or app.conf.beat_scheduler
    aliases = dict(load_extension_class_names("celery.beat_schedulers"))
    try:
        cls = symbol_by_name(wanted, aliases=aliases)
    except Exception as error:
        meant = did_you_mean(wanted, aliases)
        raise ConfigurationError(
            f"the scheduler {wanted!r} cannot be imported: {type(error).__name__}: {error}.{meant} It is looked up as "
            "`celery beat --scheduler` does: a path such as 'celery.beat:PersistentScheduler', or one of "
            f"{', '.join(sorted(aliases)) or 'no alias'}."
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, beat.Scheduler)):
        raise ConfigurationError(f"scheduler= takes a subclass of celery.beat.Scheduler, or its path; given: {given!r}")
    return cls


def _in_memory(cls: type, given: Any) -> type:
    """Celery's default keeps a file in the working directory: a test must neither leave one there nor find one."""
    is_default = given is None and cls is beat.PersistentScheduler
    return beat.Scheduler if is_default else cls


@contextmanager
def made(plan: Plan, *, last_run_at: datetime | None = None) -> Iterator[Any]:
    """A scheduler with all its entries; its connection is closed on the way out.

    Raises:
        ScheduleError: An entry is none.
        ConfigurationError: ``last_run_at`` belongs to a scheduler that keeps nothing.
    """
    check_form(plan.app)
    with _own_zone(plan.app), plan.around(), _file(plan) as file:
        service = beat.Service(plan.app, scheduler_cls=plan.cls, schedule_filename=file)
        scheduler = service.scheduler
        try:
            check_entries(plan.app, _entries(scheduler), workers=None if plan.asks else plan.world.nodes)
            _make_exact(scheduler)
            if last_run_at is not None:
                _run_last(scheduler, last_run_at.astimezone(plan.app.timezone))
            if not plan.asks:
                _announce(service)
            yield scheduler
        finally:
            _close(scheduler, plan)


def _announce(service: Any) -> None:
    """RedBeat, once a test has imported it, asks each scheduler for its lock, and logs an error where there is none."""
    if not hasattr(service.scheduler, "lock_key"):
        service.scheduler.lock_key = None
    signals.beat_init.send(sender=service)


def _entries(scheduler: Any) -> list[Any] | None:
    """All of them; None where there is none yet, and others may still add some."""
    return list(all_entries(scheduler).values()) or ([] if is_plain(scheduler) else None)


def all_entries(scheduler: Any) -> dict[str, Any]:
    """By name; a scheduler that reads its entries from somewhere may have only those at hand that are due soon."""
    entries: dict[str, Any] = getattr(scheduler, "all_entries", None) or scheduler.schedule
    return entries


@contextmanager
def _file(plan: Plan) -> Iterator[str]:
    """Where it keeps what it remembers: a question neither finds anything there, nor leaves it."""
    if not issubclass(plan.cls, beat.PersistentScheduler):
        yield str(plan.app.conf.beat_schedule_filename)
    elif plan.asks:
        with tempfile.TemporaryDirectory(prefix="taskharness-beat-") as directory:
            yield str(Path(directory, "celerybeat-schedule"))
    else:
        yield str(plan.directory() / "celerybeat-schedule")


def is_plain(scheduler: Any) -> bool:
    """Whether the scheduler's entries are those of the configuration, and nothing else remembers them."""
    return type(scheduler) is beat.Scheduler


@contextmanager
def _own_zone(app: Any) -> Iterator[None]:
    """While entered, the schedules of the configuration ask for the timezone anew, and so they do afterwards.

    A schedule keeps what it has asked for once, and the next test's may be another one.
    """
    written = app.conf.beat_schedule.values()
    schedules = [entry.schedule if isinstance(entry, beat.ScheduleEntry) else entry["schedule"] for entry in written]
    _forget_zones(schedules)
    try:
        yield
    finally:
        _forget_zones(schedules)


def _forget_zones(schedules: list[Any]) -> None:
    for each in schedules:
        kept = getattr(each, "__dict__", {})
        for name in ("tz", "utc_enabled"):
            kept.pop(name, None)


def _run_last(scheduler: Any, moment: datetime) -> None:
    if not is_plain(scheduler):
        raise ConfigurationError(
            f"last_run_at= is for the scheduler that remembers nothing; {type(scheduler).__name__} keeps when each "
            "entry ran last. Set it there, or stop() this beat, and resume() it later."
        )
    for entry in scheduler.schedule.values():
        entry.last_run_at = moment


def _make_exact(scheduler: Any) -> None:
    """On time, in one order in every process, and not slower than it need be."""
    make_punctual(scheduler)
    if type(scheduler).schedules_equal is beat.Scheduler.schedules_equal:
        scheduler.schedules_equal = partial(_equal, scheduler.schedules_equal)
    if type(scheduler).tick is beat.Scheduler.tick and type(scheduler).populate_heap is beat.Scheduler.populate_heap:
        scheduler.tick = partial(scheduler.tick, event_t=_InOrder)
        scheduler.populate_heap = partial(scheduler.populate_heap, event_t=_InOrder)


class _InOrder(beat.event_t):  # type: ignore[misc]
    """An item of the heap.  Of two entries that are due at once Celery sends that first which lies lower in memory."""

    __slots__ = ()

    def __lt__(self, other: Any) -> bool:
        return bool((self.time, self.entry.name) < (other.time, other.entry.name))


def _equal(compare: Callable[[Any, Any], bool], old: Any, new: Any) -> bool:
    """Whether no entry was changed: Celery compares all of them in each tick, and crontabs take their time."""
    if not (type(old) is type(new) is dict and old.keys() == new.keys()):
        return compare(old, new)
    return all(old[name] is new[name] or _is_same(old[name], new[name]) for name in new)


def _is_same(old: Any, new: Any) -> bool:
    if type(old) is not beat.ScheduleEntry or type(new) is not beat.ScheduleEntry:
        return bool(old == new)
    pairs = [(getattr(old, name), getattr(new, name)) for name in ("schedule", "task", "args", "kwargs", "options")]
    return all(before is after or before == after for before, after in pairs)


def _close(scheduler: Any, plan: Plan) -> None:
    if not plan.asks or isinstance(scheduler, beat.PersistentScheduler):  # its file is open
        scheduler.close()
    connection = scheduler.__dict__.pop("connection", None)  # Celery closes it since 5.7
    if connection is not None:
        connection.release()
