"""Retries, countdown and eta, inside an open harness, beside the time that they take in reality."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from statistics import median

from pytest_taskharness.harness import Harness

from .measure import repeated, timed
from .report import Row, at_most, millis, times
from .shop import FIVE_BACKOFFS, HOURS_OF_A_DAY, add, app, backing_off, hourly

__all__ = ["measure"]

HOUR, DAY, MONTH = 3600.0, 86400.0, 30 * 86400.0


def measure(quick: bool) -> list[Row]:
    """One row each; every sample is the first task of a fresh harness, as in a test."""
    samples = 30 if quick else 200
    return [
        _row("five backoff retries (1, 2, 4, 8, 16 s)", retries, FIVE_BACKOFFS, goal=10e-3, samples=samples),
        _row("a virtual day of retries, one an hour (24)", day_of_retries, DAY, goal=20e-3, samples=samples),
        _row("a countdown of an hour", countdown, HOUR, goal=1e-3, samples=samples),
        _row("an eta in 30 days, within the visibility timeout", eta, MONTH, goal=1e-3, samples=samples),
    ]


def _row(what: str, work: Callable[[Harness], None], ideal: float, *, goal: float, samples: int) -> Row:
    seconds = median(repeated(lambda: _sample(work, ideal), samples))
    beside = f"in reality, at best: {ideal:,.0f} s"
    return Row(
        what, millis(seconds), beside, times(seconds / ideal), f"≤ {millis(goal)}", at_most(seconds, goal)
    )  # fmt: skip


def _sample(work: Callable[[Harness], None], ideal: float) -> float:
    # Beyond the timeout of Redis, a message that is held comes again each hour: 720 deliveries in 30 days.
    with Harness.open(app, "memory", visibility_timeout=2 * ideal) as harness:
        before = harness.clock.now
        seconds = timed(lambda: work(harness))
        assert harness.clock.now - before == timedelta(seconds=ideal), harness.clock
    return seconds


def retries(harness: Harness) -> None:
    """Fails five times, backing off."""
    result = backing_off.delay()
    harness.settle()
    assert result.get() == 5


def day_of_retries(harness: Harness) -> None:
    """As a backoff that is capped at an hour, once it is there."""
    result = hourly.delay()
    harness.settle()
    assert result.get() == HOURS_OF_A_DAY


def countdown(harness: Harness) -> None:
    """In an hour."""
    result = add.apply_async((2, 2), countdown=HOUR)
    harness.settle()
    assert result.get() == 4


def eta(harness: Harness) -> None:
    """In 30 days."""
    result = add.apply_async((2, 2), eta=harness.clock.now + timedelta(seconds=MONTH))
    harness.settle()
    assert result.get() == 4
