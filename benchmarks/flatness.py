"""Whether a task costs the same in a test of a hundred and in a test of a hundred thousand, and in memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from pytest_taskharness.harness import Harness

from .measure import in_child, timed
from .report import Row, at_most, micros, times
from .shop import app, noop

__all__ = ["measure"]

SIZES, BIGGEST = (100, 1_000, 10_000), 100_000
#: ru_maxrss is in bytes on macOS, in kibibytes elsewhere.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """What one task costs among so many.

    Attributes:
        tasks: How many there were in one test.
        seconds: Real seconds for each.
        memory: By how many bytes the peak of the process grew for each.
    """

    tasks: int
    seconds: float
    memory: float


def measure(quick: bool) -> list[Row]:
    """One row for each size, for tasks that run one after the other and for tasks that queue up."""
    sizes = SIZES if quick else (*SIZES, BIGGEST)
    return [*_compared("one after the other", one_by_one, sizes), *_compared("queued, then drained", queued, sizes)]


def _compared(how: str, work: Callable[[Harness, int], None], sizes: tuple[int, ...]) -> Iterator[Row]:
    costs = _interleaved(work, sizes)
    for cost in costs:
        ratio = cost.seconds / costs[0].seconds
        is_first = cost is costs[0]
        yield Row(
            f"each of {cost.tasks:,} tasks in one test, {how}", _shown(cost), f"each of {costs[0].tasks}",
            times(ratio), "" if is_first else f"≤ {times(1.3)}", None if is_first else at_most(ratio, 1.3),
        )  # fmt: skip


def _shown(cost: Cost) -> str:
    memory = f", peak + {cost.memory / 1024:.1f} KiB" if cost.tasks >= 1_000 else ""
    return f"{micros(cost.seconds)}{memory}"


def _interleaved(work: Callable[[Harness, int], None], sizes: tuple[int, ...]) -> list[Cost]:
    rounds = [[in_child(cost_of, work, tasks) for tasks in sizes] for _ in range(3)]
    return [_middle(list(costs)) for costs in zip(*rounds, strict=True)]


def _middle(costs: list[Cost]) -> Cost:
    seconds, memory = median(cost.seconds for cost in costs), median(cost.memory for cost in costs)
    return Cost(costs[0].tasks, seconds, memory)


def cost_of(work: Callable[[Harness, int], None], tasks: int) -> Cost:
    """Measure in this process, which must be a fresh one; small sizes are repeated, each time in a new harness."""
    _once(work, 200)
    before = _peak()
    seconds = [_once(work, tasks) for _ in range(max(1, 2_000 // tasks))]
    return Cost(tasks, median(seconds) / tasks, (_peak() - before) / tasks)


def _once(work: Callable[[Harness, int], None], tasks: int) -> float:
    with Harness.open(app, "memory") as harness:
        noop.delay().get()
        return timed(lambda: work(harness, tasks))


def one_by_one(harness: Harness, tasks: int) -> None:
    """Publish, run, read; and again."""
    for _ in range(tasks):
        noop.delay().get()


def queued(harness: Harness, tasks: int) -> None:
    """Publish all, then run all."""
    for _ in range(tasks):
        noop.delay()
    harness.drain()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
