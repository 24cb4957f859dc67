"""Tasks per second of the stepped worker, beside Celery's own publish and consume path driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

from pytest_taskharness.harness import Harness

from .bare import BareWorker
from .measure import interleaved, pairwise_ratio, timed
from .report import Row, at_least, at_most, micros, times
from .shop import app, noop

__all__ = ["measure"]

WARM_UP = 50
ON_REDIS = ("fakeredis", "redis")


def measure(quick: bool) -> list[Row]:
    """The ratio, and the rate."""
    tasks, rounds = (300, 10) if quick else (1000, 30)
    taken = interleaved(
        {
            "ours": lambda: stepped("memory", "time-machine", tasks),
            "freezegun": lambda: stepped("memory", "freezegun", tasks),
            "bare": lambda: bare(tasks),
            **{mode: partial(stepped, mode, "time-machine", tasks) for mode in ON_REDIS},
        },
        rounds=rounds,
    )
    return _rows(taken, tasks)


def _rows(taken: dict[str, list[float]], tasks: int) -> list[Row]:
    cost = {name: median(seconds) / tasks for name, seconds in taken.items()}
    ratio = pairwise_ratio(taken["ours"], taken["bare"])
    frozen = pairwise_ratio(taken["freezegun"], taken["bare"])
    beside, rate = f"bare Celery: {micros(cost['bare'])}", 1 / cost["ours"]
    what = "`delay` + run + `get` of a no-op, `memory`, timeline on"
    return [
        Row(what, micros(cost["ours"]), beside, times(ratio), f"≤ {times(1.25)}", at_most(ratio, 1.25)),
        Row(
            "the same, as a rate", f"{rate:,.0f} tasks/s", f"bare Celery: {1 / cost['bare']:,.0f} tasks/s",
            times(rate * cost["bare"]), "≥ 2,800 tasks/s", at_least(rate, 2800),
        ),
        Row(f"{what}, freezegun", micros(cost["freezegun"]), beside, times(frozen)),
        *(_row_on_redis(mode, taken, cost) for mode in ON_REDIS),
    ]  # fmt: skip


def _row_on_redis(mode: str, taken: dict[str, list[float]], cost: dict[str, float]) -> Row:
    return Row(
        f"`delay` + run + `get` of a no-op, `{mode}`, timeline on",
        f"{micros(cost[mode])} ({1 / cost[mode]:,.0f} tasks/s)", f"`memory`: {micros(cost['ours'])}",
        times(pairwise_ratio(taken[mode], taken["ours"])),
    )  # fmt: skip


def stepped(mode: str, clock: str, tasks: int) -> float:
    """Seconds for so many tasks in a harness of their own; opening it is not counted."""
    with Harness.open(app, mode, clock=clock):
        return _after_warm_up(lambda: noop.delay().get(), tasks)


def bare(tasks: int) -> float:
    """The same with nothing of ours."""
    with BareWorker() as worker:
        return _after_warm_up(worker.run, tasks)


def _after_warm_up(call: Callable[[], object], tasks: int) -> float:
    _often(call, WARM_UP)
    return timed(lambda: _often(call, tasks))


def _often(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()
