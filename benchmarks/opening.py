"""Entering and leaving: virtual time alone, and a whole harness; and what is left behind."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from freezegun import freeze_time

from pytest_taskharness.clock.sleep import Sleeper, sleep_virtually
from pytest_taskharness.clock.virtual import VirtualTime
from pytest_taskharness.harness import Harness

from .measure import interleaved, pairwise_ratio, timed
from .report import Row, at_most, micros, millis, times
from .shop import add, app

__all__ = ["measure"]

TIME_MACHINE, FREEZEGUN, MODES = "time-machine", "freezegun", ("memory", "eager", "fakeredis", "redis")
#: What is opened and closed; the clock's library costs the same in every mode.
KINDS = (*((mode, TIME_MACHINE) for mode in MODES), ("memory", FREEZEGUN), ("eager", FREEZEGUN))
DJANGO_APPS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")


def measure(quick: bool) -> list[Row]:
    """In a process that has Celery in it, and Django where that is installed."""
    setting = f"a Celery{' + Django' if _with_django() else ''} process"
    _used_once()
    rounds = 30 if quick else 200
    return [*_clocks(setting, rounds), *_harnesses(rounds), *_torn_down(rounds), _left_behind()]


def _with_django() -> bool:
    if find_spec("django") is None:
        return False
    import django
    from django.conf import settings

    settings.configure(INSTALLED_APPS=[f"django.contrib.{name}" for name in DJANGO_APPS])
    django.setup()
    return True


def _used_once() -> None:
    """Import what a worker imports, so that there is something to go through; start the server, and connect to it."""
    for mode in MODES:
        with Harness.open(app, mode):
            assert add.delay(2, 2).get() == 4


# -- virtual time alone


def _clocks(setting: str, rounds: int) -> list[Row]:
    taken = interleaved(
        {
            TIME_MACHINE: lambda: timed(lambda: virtual_time(TIME_MACHINE)),
            "travel": lambda: timed(_travel),
            FREEZEGUN: lambda: timed(lambda: virtual_time(FREEZEGUN)),
            "freeze_time": lambda: timed(_freeze),
        },
        rounds=rounds,
    )
    return [
        _clock_row(setting, taken, ours=TIME_MACHINE, theirs="travel", goal=0.1e-3),
        _clock_row(setting, taken, ours=FREEZEGUN, theirs="freeze_time"),
    ]


def _clock_row(
    setting: str, taken: dict[str, list[float]], *, ours: str, theirs: str, goal: float | None = None
) -> Row:  # fmt: skip
    seconds = median(taken[ours])
    return Row(
        f"entering and leaving virtual time with {ours}, in {setting}", millis(seconds),
        f"`{theirs}` alone: {millis(median(taken[theirs]))}", times(pairwise_ratio(taken[ours], taken[theirs])),
        "freezegun's own cost" if goal is None else f"≤ {millis(goal)}",
        None if goal is None else at_most(seconds, goal),
    )  # fmt: skip


def virtual_time(library: str) -> None:
    """Stop the clock and the sleeping, and give both back."""
    time = VirtualTime(library=library)
    with sleep_virtually(Sleeper(time.monotonic, lambda seconds: None, lambda: True)):
        pass
    time.close()


def _travel() -> None:
    import time_machine

    travel = time_machine.travel(0.0, tick=False)
    travel.start()
    travel.stop()


def _freeze() -> None:
    freeze = freeze_time(datetime.now(timezone.utc), real_asyncio=True)
    freeze.start()
    freeze.stop()


# -- a whole harness


def _harnesses(rounds: int) -> list[Row]:
    samples = {" ".join(kind): _opener(*kind) for kind in KINDS}
    taken = interleaved({**samples, "clock": lambda: timed(lambda: virtual_time(TIME_MACHINE))}, rounds=rounds)
    beside = f"virtual time alone: {micros(median(taken['clock']))}"
    return [_harness_row(mode, library, taken, beside) for mode, library in KINDS]


def _harness_row(mode: str, library: str, taken: dict[str, list[float]], beside: str) -> Row:
    seconds = taken[f"{mode} {library}"]
    ratio = times(pairwise_ratio(seconds, taken["clock"]))
    return Row(f"opening and closing a harness, `{mode}`, {library}", millis(median(seconds)), beside, ratio)


def _opener(mode: str, library: str) -> Callable[[], float]:
    return lambda: timed(lambda: Harness.open(app, mode, clock=library).close())


def _torn_down(rounds: int) -> list[Row]:
    taken = interleaved({mode: partial(_closing, mode) for mode in MODES}, rounds=rounds)
    return [_closing_row(mode, median(seconds)) for mode, seconds in taken.items()]


def _closing(mode: str) -> float:
    harness = Harness.open(app, mode)
    add.delay(2, 2).get()
    return timed(harness.close)


def _closing_row(mode: str, seconds: float) -> Row:
    return Row(
        f"closing alone, after one task, `{mode}`", millis(seconds), goal="≤ 1 ms", reached=at_most(seconds, 1e-3)
    )  # fmt: skip


# -- what is left


def _left_behind() -> Row:
    before = _holdings()
    for mode in MODES:
        _closing(mode)
    changed = [name for name, held in _holdings().items() if held != before[name]]
    return Row(
        f"what one harness more leaves behind, in each mode, of {', '.join(before)}", ", ".join(changed) or "nothing",
        goal="nothing",
        reached=not changed,
    )  # fmt: skip


def _holdings() -> dict[str, object]:
    return {
        "threads": threading.active_count(),
        "processes": len(multiprocessing.active_children()),
        "open files": _open_files(),
        "app settings": dict(app.conf.maps[0]),
        "environment": dict(os.environ),
    }


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
