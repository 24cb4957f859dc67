"""Large things in one test: a chord of a thousand, and a day of retries."""

from __future__ import annotations

from statistics import median

from celery import chord

from pytest_taskharness.harness import Harness

from .bare import BareWorker
from .measure import interleaved, pairwise_ratio, timed
from .report import Row, micros, millis, times
from .shop import MINUTES_OF_A_DAY, add, app, retrying, total

__all__ = ["measure"]

PARTS = 1_000


def measure(quick: bool) -> list[Row]:
    """One row each, beside bare Celery, which can neither wait nor tell what happened."""
    taken = interleaved(
        {"chord": our_chord, "bare chord": bare_singles, "day": our_day, "bare day": bare_day},
        rounds=2 if quick else 7,
    )
    return [
        _row(f"a chord of {PARTS:,}, `memory`", "chord", taken, runs=PARTS + 1, floor="as many single tasks"),
        _row(f"a virtual day of retries, one a minute ({MINUTES_OF_A_DAY:,})", "day", taken,
             runs=MINUTES_OF_A_DAY + 1, floor="the same without waiting"),
    ]  # fmt: skip


def _row(what: str, name: str, taken: dict[str, list[float]], *, runs: int, floor: str) -> Row:
    ours, theirs = median(taken[name]), median(taken[f"bare {name}"])
    return Row(
        what, f"{millis(ours)} ({micros(ours / runs)} a run)",
        f"bare Celery, {floor}: {millis(theirs)} ({micros(theirs / runs)} a run)",
        times(pairwise_ratio(taken[name], taken[f"bare {name}"])),
    )  # fmt: skip


def our_chord() -> float:
    """Seconds for a thousand parts and a body."""
    parts = [add.s(n, n) for n in range(PARTS)]
    with Harness.open(app, "memory"):
        return timed(lambda: _checked(chord(parts)(total.s()).get(), PARTS * (PARTS - 1)))


def bare_singles() -> float:
    """As many tasks without us, each for itself: Celery's own in-memory chord is quadratic, and takes 20 s."""
    with BareWorker() as worker:

        def whole() -> None:
            results = [worker.task("add").delay(n, n) for n in range(PARTS + 1)]
            worker.drain()
            _checked(results[-1].get(), 2 * PARTS)

        return timed(whole)


def our_day() -> float:
    """Seconds for 1,440 retries, a virtual minute apart."""
    with Harness.open(app, "memory"):
        return timed(lambda: _checked(retrying.delay(MINUTES_OF_A_DAY, 60).get(), MINUTES_OF_A_DAY))


def bare_day() -> float:
    """As many retries without us, and without a minute between them."""
    with BareWorker() as worker:

        def whole() -> None:
            result = worker.task("retrying").delay(MINUTES_OF_A_DAY, 0)
            worker.drain()
            _checked(result.get(), MINUTES_OF_A_DAY)

        return timed(whole)


def _checked(value: object, expected: object) -> None:
    assert value == expected, value
