"""A test that runs one task and reads its result: the harness beside what Celery's users have today."""

from __future__ import annotations

from .report import Row, at_most, millis, times
from .ways import CONTRIB, EMPTY, HARNESS, OURS, SHARED, Kind, Sample, beside, faster, torn_down

__all__ = ["measure"]

#: As on a machine without time-machine.
WITHOUT_TIME_MACHINE = "import sys\nsys.modules['time_machine'] = None\n"
#: Newer versions of Celery take a producer from the pool in eager mode too: a broker that is always there.
ALWAYS_EAGER = "import shop\nshop.app.conf.update(task_always_eager=True, broker_url='memory://')\n"
STOCK = """
import pytest
@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}
"""

EAGER_BARE = Kind("bare `task_always_eager`", conftest=ALWAYS_EAGER)
MEMORY = Kind("`memory`, time-machine", "memory_harness", HARNESS, OURS)
MEMORY_FREEZEGUN = Kind("`memory`, freezegun", "memory_harness", WITHOUT_TIME_MACHINE + HARNESS, OURS)
EAGER = Kind("`eager`, time-machine", "eager_harness", HARNESS, OURS)
EAGER_FREEZEGUN = Kind("`eager`, freezegun", "eager_harness", WITHOUT_TIME_MACHINE + HARNESS, OURS)
WORKER = Kind(
    "`celery_worker` on `memory://`", "celery_app, celery_worker", STOCK, CONTRIB, SHARED, tests=4, rounds=1
)  # fmt: skip
SESSION = Kind(
    "`celery_session_worker` on `memory://`", "celery_session_worker", STOCK, CONTRIB, SHARED, tests=7, rounds=1
)  # fmt: skip
KINDS = (EMPTY, EAGER_BARE, MEMORY, EAGER, MEMORY_FREEZEGUN, EAGER_FREEZEGUN, WORKER, SESSION)


def measure(quick: bool) -> list[Row]:
    """One row for each comparison that has a goal, and the floor."""
    sample = Sample(KINDS, rounds=3 if quick else 9, count=40 if quick else 150)
    return [
        beside(sample, MEMORY, EMPTY, goal=2e-3),
        faster(sample, WORKER, MEMORY, goal=3000),
        faster(sample, SESSION, MEMORY),
        beside(sample, MEMORY_FREEZEGUN, EMPTY),
        beside(sample, EAGER, EMPTY, goal=0.5e-3),
        _ratio_of_eager(sample),
        beside(sample, EAGER_FREEZEGUN, EAGER_BARE),
        beside(sample, EAGER_BARE, EMPTY),
        torn_down(sample, MEMORY, goal=1e-3, other=WORKER),
    ]


def _ratio_of_eager(sample: Sample) -> Row:
    ratio = sample.ratio(EAGER, EAGER_BARE)
    beside_it = f"{EAGER_BARE.name}: {millis(sample.whole(EAGER_BARE))}"
    return Row(
        f"the same, {EAGER.name}", millis(sample.whole(EAGER)), beside_it, times(ratio), f"≤ {times(2)}",
        at_most(ratio, 2),
    )  # fmt: skip
