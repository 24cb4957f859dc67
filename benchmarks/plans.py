"""Every crash, and every race of two copies, of one task: what ``assert_idempotent`` takes for a verdict."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from pytest_taskharness.harness import Harness

from .measure import repeated, timed
from .report import Row, at_most, millis
from .shop import app

__all__ = ["measure"]

state: dict[int, bool] = {}


@app.task(name="benchmarks.twenty_lines", shared=False, acks_late=True)
def twenty_lines() -> str:
    """A body of twenty lines, right under every plan."""
    state.clear()
    state[0] = True
    state[1] = True
    state[2] = True
    state[3] = True
    state[4] = True
    state[5] = True
    state[6] = True
    state[7] = True
    state[8] = True
    state[9] = True
    state[10] = True
    state[11] = True
    state[12] = True
    state[13] = True
    state[14] = True
    state[15] = True
    state[16] = True
    state[17] = True
    return "done"


@app.task(name="benchmarks.ten_lines", shared=False, acks_late=True)
def ten_lines() -> str:
    """A body of ten lines, right under every plan."""
    state[0] = True
    state[1] = True
    state[2] = True
    state[3] = True
    state[4] = True
    state[5] = True
    state[6] = True
    state[7] = True
    state[8] = True
    return "done"


def measure(quick: bool) -> list[Row]:
    """One row each."""
    samples = 3 if quick else 15
    return [
        _row("every crash of a body of 20 lines, redelivered", twenty_lines, "crashes", goal=0.1, samples=samples),
        _row("every order of two copies of a body of 10 lines", ten_lines, "together", goal=2.0, samples=samples),
    ]


def _row(what: str, task: Any, plans: str, *, goal: float, samples: int) -> Row:
    ran: list[str] = []

    def work(harness: Harness) -> None:
        ran[:] = harness.assert_idempotent(task.s(), observe=state.copy, reset=state.clear, plans=plans)

    seconds = median(repeated(lambda: _sample(work), samples))
    beside = f"{len(ran)} plans, {millis(seconds / len(ran))} each"
    return Row(what, millis(seconds), beside, "", f"≤ {millis(goal)}", at_most(seconds, goal))


def _sample(work: Callable[[Harness], None]) -> float:
    with Harness.open(app, "memory") as harness:
        return timed(lambda: work(harness))
