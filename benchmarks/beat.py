"""A year of beat: asked what it would send."""

from __future__ import annotations

import random
from statistics import median

from celery import Celery
from celery.schedules import crontab

from pytest_taskharness.harness import Harness

from .measure import repeated, timed
from .report import Row, at_most, micros

__all__ = ["measure"]

GOAL = 10.0
ENTRIES = 100


def measure(quick: bool) -> list[Row]:
    """One row each."""
    return [
        _row("an entry each minute", {"often": 60}, rounds=1 if quick else 3),
        _row("a crontab each minute", {"often": crontab()}, rounds=1 if quick else 3),
        _row(f"{ENTRIES} crontabs, hourly, daily and weekly", _mixed(), rounds=1 if quick else 3),
    ]


def _mixed() -> dict[str, crontab]:
    chance = random.Random(1)
    entries = {}
    for number in range(ENTRIES):
        minute, hour = chance.randrange(60), chance.randrange(24)
        entries[f"entry {number}"] = [
            crontab(minute=minute), crontab(minute, hour), crontab(minute, hour, day_of_week="mon")
        ][number % 3]  # fmt: skip
    return entries


def _row(what: str, schedules: dict[str, object], *, rounds: int) -> Row:
    app = Celery("year", broker="memory://", set_as_current=False)
    app.conf.timezone = "Europe/Berlin"

    @app.task(name="tick", shared=False)
    def tick() -> None:
        """Nothing runs."""

    app.conf.beat_schedule = {name: {"task": "tick", "schedule": each} for name, each in schedules.items()}
    sent = 0

    def year() -> None:
        nonlocal sent
        sent = sum(harness.beat.simulate(days=365).counts.values())

    with Harness.open(app, start="2030-01-01T00:00Z") as harness:
        taken = median(repeated(lambda: timed(year), rounds))
    return Row(
        f"a year of {what}, `beat.simulate(days=365)`", f"{taken:.1f} s ({sent:,} fires, {micros(taken / sent)} each)",
        goal=f"≤ {GOAL:g} s", reached=at_most(taken, GOAL),
    )  # fmt: skip
