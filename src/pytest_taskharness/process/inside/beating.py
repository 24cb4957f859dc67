"""In a worker that was started with ``-B``: its beat, a process of its own that Celery forks before it is ready.

Beat is Celery's, with its own scheduler.  It says when it sleeps and until when, and on a virtual clock it is woken at
that very instant.  The name of this module is the boundary of call sites, too: what beat publishes, nobody has called;
they read ``entry``.
"""

from __future__ import annotations

import sys
import time
import traceback
from datetime import timedelta
from functools import wraps
from types import SimpleNamespace
from typing import Any

import celery
from celery import beat

from ...clock.real import Real
from ...worker.punctual import due_at, make_punctual
from ..between.words import BEAT
from .moving import reload_clock
from .scribe import Scribe
from .sleeping import bodies

__all__ = ["watch_beat"]

#: Seconds; a beat that has nothing to look for need not wake up until something is due.
FOR_EVER = 10.0**9
#: Where this process sleeps, and what the module ``time`` is called there: RedBeat's lock is redis-py's.
_SLEEPERS = {"celery.beat": "time", "redis.lock": "mod_time"}


def watch_beat(scribe: Scribe) -> None:
    """Watch the beat that may be forked from this process."""
    start = beat.Service.start

    @wraps(start)
    def watched(service: Any, *args: Any, **kwargs: Any) -> Any:
        scribe.begin_anew()  # Celery has closed its files
        try:
            _live_by_the_clock(scribe, service)
            _tell_of_fires(scribe, service.scheduler)
            return start(service, *args, **kwargs)
        except Exception:
            scribe.note("beat ended", traceback=traceback.format_exc())
            raise

    beat.Service.start = watched


def _live_by_the_clock(scribe: Scribe, service: Any) -> None:
    """Beat itself, or a lock that it waits for, sleeps by the clock of the test and says so."""
    if scribe.spec.instant is None:
        _time_is(_Told(scribe))
        return
    bodies.told = {"execution": BEAT}
    if scribe.spec.reloads_clock:
        bodies.look_at_clock = reload_clock
    _time_is(SimpleNamespace(sleep=_sleep, monotonic=_monotonic), only="redis.lock")
    make_punctual(service.scheduler)
    if _has_nothing_to_look_for(scribe, service.scheduler):
        service.scheduler.max_interval = FOR_EVER


def _has_nothing_to_look_for(scribe: Scribe, scheduler: Any) -> bool:
    """Its entries change in no other way than by running, and nobody reads what it writes every few minutes.

    Before Celery 5.7 waking up makes a difference: across a change of summer time each look says something else.
    """
    if celery.VERSION < (5, 7):
        return False
    if type(scheduler) is beat.PersistentScheduler:
        return str(scheduler.schedule_filename).startswith(str(scribe.directory))
    return type(scheduler) is beat.Scheduler


def _tell_of_fires(scribe: Scribe, scheduler: Any) -> None:
    """What it publishes, and what it could not publish: Celery writes that into its log, and goes on."""
    apply_async = scheduler.apply_async

    def told(entry: Any, *args: Any, **kwargs: Any) -> Any:
        due = due_at(entry, scribe.time.now)
        about = {"beat": BEAT, "entry": entry.name, "schedule": str(entry.schedule), "due": due}
        try:
            with scribe.adding(fires=True):
                result = apply_async(entry, *args, **kwargs)
        except Exception as error:
            said = error.__cause__ or error.__context__ or error
            text = f"beat could not send entry {entry.name!r} ({entry.task}): {type(said).__name__}: {said}"
            scribe.record("fault", task=entry.task, note=text)
            scribe.note("beat failed", text=text)
            raise
        scribe.record("beat fire", task=entry.task, id=getattr(result, "id", None), **about)
        return result

    scheduler.apply_async = told


def _time_is(stand_in: Any, *, only: str = "") -> None:
    """What stands for the module ``time`` where this process sleeps."""
    for name, attribute in _SLEEPERS.items():
        if name in sys.modules and only in {"", name}:
            setattr(sys.modules[name], attribute, stand_in)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _monotonic() -> float:
    return time.monotonic()


class _Told:
    """The module ``time`` of a beat on the real clock."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        since = self._scribe.time.now
        until = since + timedelta(seconds=min(seconds, FOR_EVER))
        self._scribe.note("sleeps", execution=BEAT, bed=None, since=since, until=until, awaits=[])
        Real.sleep(seconds)
        self._scribe.note("wakes", execution=BEAT, bed=None)
