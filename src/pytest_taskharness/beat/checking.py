"""Whether a beat schedule can work as it is written: said before anything runs, all of it at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.exceptions import QueueNotFound
from celery.schedules import BaseSchedule, schedule

from ..errors import ScheduleError, hide_frames
from ..wording import did_you_mean, shown
from ..worker.borrowing.apps import unregistered

__all__ = ["check_entries", "check_form"]

__tracebackhide__ = hide_frames

#: Seconds; a century.
LONGEST = 100 * 366 * 24 * 3600.0
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "args": ((tuple, list, set, frozenset), "a list or a tuple"),
    "kwargs": ((dict, Mapping), "a dict"),
    "options": ((dict, Mapping), "a dict"),
}

_ENTRY_KEYS = tuple(
    name for name in inspect.signature(ScheduleEntry).parameters if name not in {"name", "app", "total_run_count"}
)


def check_form(app: Any) -> None:
    """Look at ``beat_schedule`` as it is written, before Celery makes entries of it.

    Raises:
        ScheduleError: It cannot.
    """
    written = app.conf.beat_schedule
    if not isinstance(written, Mapping):
        raise ScheduleError(f"beat_schedule takes a dict of entries by their names; found: {shown(written)}")
    _raise(app, (f"{name!r}: {text}" for name, entry in written.items() for text in _in_form(entry)))


def _in_form(entry: Any) -> Iterator[str]:
    if isinstance(entry, ScheduleEntry):
        return
    if not isinstance(entry, Mapping):
        yield f"an entry is a dict with 'task' and 'schedule'; found: {shown(entry)}"
        return
    for key in entry:
        if key not in _ENTRY_KEYS:
            yield f"{key!r} is no key of an entry.{did_you_mean(key, _ENTRY_KEYS)} It takes {', '.join(_ENTRY_KEYS)}."
    if "task" not in entry:
        yield "it has no 'task': the name of the task to send"
    for key, (kinds, meant) in _KINDS.items():
        if not isinstance(entry.get(key) or kinds[0](), kinds):
            yield f"{key!r} takes {meant}; found: {shown(entry[key])}"
    yield from _in_schedule(entry.get("schedule"))


def _in_schedule(given: Any) -> Iterator[str]:
    if isinstance(given, bool) or not isinstance(given, (int, float, timedelta, BaseSchedule)):
        yield f"'schedule' takes seconds, a timedelta, crontab(…) or solar(…); found: {shown(given)}"
        return
    every: Any = given.run_every if isinstance(given, schedule) else given
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if not isinstance(seconds, (int, float)):
        return
    if seconds <= 0:
        yield f"it is due every {seconds:g} seconds, which never ends; say how much time lies between"
    elif not seconds <= LONGEST:
        yield f"it is due every {seconds:g} seconds, which no calendar reaches"


def check_entries(app: Any, entries: list[Any] | None, *, workers: Iterable[Any] | None) -> None:
    """Look at the entries that a scheduler has made.

    Args:
        app: Whose tasks and queues they name.
        entries: The entries; None where it is too early to ask.
        workers: Who should consume what they send; None where nothing is to be sent.

    Raises:
        ScheduleError: One of them cannot work, or there is none.
    """
    if entries is None:
        return
    if not entries:
        raise ScheduleError(
            f"the beat schedule of app {app.main!r} is empty: beat would never send anything. Entries come from "
            "app.conf.beat_schedule, or from app.add_periodic_task(…) in a receiver of app.on_after_configure or "
            "app.on_after_finalize. To fix this, import the module that adds them (autodiscovery imports only what "
            "it is told to), or connect the receiver before the app is configured."
        )
    nodes = None if workers is None else list(workers)
    _raise(app, (f"{entry.name!r}: {text}" for entry in entries for text in _in_entry(app, entry, nodes)))


def _in_entry(app: Any, entry: Any, workers: list[Any] | None) -> Iterator[str]:
    task = app.tasks.get(entry.task)
    if task is None:
        yield f"a worker would refuse its message: {unregistered(app, entry.task)}"
    else:
        yield from _in_arguments(task, entry)
    yield from _in_queue(app, task, entry, workers=workers)


def _in_arguments(task: Any, entry: Any) -> Iterator[str]:
    args, kwargs = entry.args or (), entry.kwargs or {}
    try:
        task.__header__(*args, **kwargs)
    except TypeError as error:
        given = [*map(_shown, args), *(f"{name}={_shown(value)}" for name, value in kwargs.items())]
        if task.typing:
            signature = inspect.signature(task.run)
            yield f"its arguments do not fit {task.name}{signature}: {error}. Given: {', '.join(given) or 'none'}."


def _shown(value: Any) -> str:
    return "BeatLazyFunc(…)" if isinstance(value, BeatLazyFunc) else shown(value)


def _in_queue(app: Any, task: Any, entry: Any, *, workers: list[Any] | None) -> Iterator[str]:
    try:
        queue, is_new = _queue_of(app, task, entry)
    except QueueNotFound:
        yield _no_such_queue(app, (entry.options or {}).get("queue"))
        return
    if queue is None or workers is None or any(_consumes(node, queue, is_new=is_new) for node in workers):
        return
    names = {node.name: list(node.queues()) for node in workers}
    consumed = "; ".join(f"{name} consumes {', '.join(queues)}" for name, queues in names.items())
    near = did_you_mean(queue, [each for queues in names.values() for each in queues])
    yield f"no worker consumes its queue {queue!r} ({consumed}).{near} Name one: harness.worker(…, queues=[{queue!r}])."


def _no_such_queue(app: Any, named: Any) -> str:
    known = list(app.amqp.queues)
    return (
        f"its queue{f' {named!r}' if named else ''} does not exist: task_create_missing_queues is off, and "
        f"task_queues has {', '.join(map(repr, known)) or 'none'}.{did_you_mean(named, known)}"
    )


def _queue_of(app: Any, task: Any, entry: Any) -> tuple[str | None, bool]:
    """Where its message would go (None: to an exchange), and whether that queue would be made by sending it."""
    queues = app.amqp.queues
    before = set(queues)
    options = {**(task._get_exec_options() if task is not None else {}), **(entry.options or {})}
    try:
        route = app.amqp.router.route(options, entry.task, list(entry.args or ()), dict(entry.kwargs or {}))
        queue = route.get("queue")
        name = getattr(queue, "name", queue)
        return name, name not in before
    finally:
        for made in set(queues) - before:  # a question leaves nothing behind
            queues.pop(made)


def _consumes(node: Any, queue: str, *, is_new: bool) -> bool:
    everything = getattr(node, "everything", None)
    takes_new = not node.only if everything is None else bool(everything)
    return queue in node.queues() or (is_new and takes_new)


def _raise(app: Any, problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        lines = "\n".join(f"  {text}" for text in found)
        raise ScheduleError(f"the beat schedule of app {app.main!r} cannot work as it is written:\n{lines}")
