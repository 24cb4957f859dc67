"""A test that runs one task and reads its result: the harness beside what Celery's users have today."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from .children import phases
from .measure import pairwise_ratio
from .report import Row, at_least, at_most, millis, times

__all__ = ["measure"]

SHOP = """
from celery import Celery
app = Celery("shop", broker="redis://localhost/0")
@app.task
def add(x, y):
    return x + y
"""
SHARED = """
import celery.contrib.testing.tasks
from celery import shared_task
@shared_task
def add(x, y):
    return x + y
"""
HARNESS = """
import pytest, shop
@pytest.fixture(scope="session")
def taskharness_app():
    return shop.app
"""
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
OURS, CONTRIB = ("pytest_taskharness.plugin",), ("celery.contrib.pytest",)


@dataclass(frozen=True)
class Kind:
    """One way to test a task.

    Attributes:
        name: What the table calls it.
        fixtures: What the test asks for.
        conftest: The text of conftest.py.
        plugins: What is loaded.
        shop: The text of the module under test.
        body: What the test does.
        tests: How many; 0 for as many as there is time for.
        rounds: In how many rounds; 0 for all.
    """

    name: str
    fixtures: str = ""
    conftest: str = ""
    plugins: tuple[str, ...] = ()
    shop: str = SHOP
    body: str = "assert add.delay(2, 2).get() == 4"
    tests: int = 0
    rounds: int = 0

    def files(self, count: int) -> dict[str, str]:
        """The test project."""
        tests = "".join(f"def test_{n}({self.fixtures}):\n    {self.body}\n" for n in range(self.tests or count))
        return {"conftest.py": self.conftest, "shop.py": self.shop, "test_it.py": f"from shop import add\n{tests}"}


EMPTY = Kind("an empty test", body="pass")
EAGER_BARE = Kind("bare `task_always_eager`", conftest=ALWAYS_EAGER)
MEMORY = Kind("`memory`, time-machine", "memory_harness", HARNESS, OURS)
MEMORY_FREEZEGUN = Kind("`memory`, freezegun", "memory_harness", WITHOUT_TIME_MACHINE + HARNESS, OURS)
EAGER = Kind("`eager`, time-machine", "eager_harness", HARNESS, OURS)
EAGER_FREEZEGUN = Kind("`eager`, freezegun", "eager_harness", WITHOUT_TIME_MACHINE + HARNESS, OURS)
WORKER = Kind("`celery_worker`", "celery_app, celery_worker", STOCK, CONTRIB, SHARED, tests=4, rounds=1)
SESSION = Kind("`celery_session_worker`", "celery_session_worker", STOCK, CONTRIB, SHARED, tests=7, rounds=1)
KINDS = (EMPTY, EAGER_BARE, MEMORY, EAGER, MEMORY_FREEZEGUN, EAGER_FREEZEGUN, WORKER, SESSION)


class Sample:
    """The phases of the tests of each kind, round by round."""

    def __init__(self, *, rounds: int, count: int) -> None:
        """Run them all."""
        self._rounds: dict[Kind, list[list[list[float]]]] = {kind: [] for kind in KINDS}
        for number in range(rounds):
            for kind in KINDS:
                if not kind.rounds or number < kind.rounds:
                    self._rounds[kind].append(phases(kind.files(count), plugins=kind.plugins))

    def _medians(self, kind: Kind) -> list[float]:
        return [median(map(sum, tests)) for tests in self._rounds[kind]]

    def whole(self, kind: Kind) -> float:
        """Seconds per test."""
        return median(self._medians(kind))

    def ratio(self, kind: Kind, other: Kind) -> float:
        """How many times as long one kind takes: by rounds where both ran in all of them."""
        ours, theirs = self._medians(kind), self._medians(other)
        return pairwise_ratio(ours, theirs) if len(ours) == len(theirs) else median(ours) / median(theirs)

    def phase(self, kind: Kind, index: int) -> float:
        """Seconds in setup (0), call (1) or teardown (2)."""
        return median(test[index] for tests in self._rounds[kind] for test in tests)

    def shown(self, kind: Kind) -> str:
        """As ``1.9 ms (0.8 ms + 0.9 ms + 0.2 ms)``."""
        parts = " + ".join(millis(self.phase(kind, index)) for index in range(3))
        return f"{millis(self.whole(kind))} ({parts})"


def measure(quick: bool) -> list[Row]:
    """One row for each comparison that has a goal, and the floor."""
    sample = Sample(rounds=3 if quick else 9, count=40 if quick else 150)
    return [
        _beside(sample, MEMORY, EMPTY, goal=2e-3),
        _faster(sample, WORKER, goal=3000),
        _faster(sample, SESSION),
        _beside(sample, MEMORY_FREEZEGUN, EMPTY),
        _beside(sample, EAGER, EMPTY, goal=0.5e-3),
        _ratio_of_eager(sample),
        _beside(sample, EAGER_FREEZEGUN, EAGER_BARE),
        _beside(sample, EAGER_BARE, EMPTY),
        _torn_down(sample),
    ]


def _beside(sample: Sample, kind: Kind, other: Kind, *, goal: float | None = None) -> Row:
    reached = None if goal is None else at_most(sample.whole(kind), goal)
    return Row(
        f"one task in one test, {kind.name} (setup + call + teardown)",
        sample.shown(kind),
        f"{other.name}: {millis(sample.whole(other))}",
        times(sample.ratio(kind, other)),
        "" if goal is None else f"≤ {millis(goal)}",
        reached,
    )


def _faster(sample: Sample, stock: Kind, *, goal: float | None = None) -> Row:
    ratio = sample.ratio(stock, MEMORY)
    reached = None if goal is None else at_least(ratio, goal)
    stated = "" if goal is None else f"≥ {times(goal)} as long"
    return Row(
        f"the same with Celery's {stock.name} on `memory://`",
        sample.shown(stock),
        f"{MEMORY.name}: {millis(sample.whole(MEMORY))}",
        f"{times(ratio)} as long",
        stated,
        reached,
    )


def _ratio_of_eager(sample: Sample) -> Row:
    ratio = sample.ratio(EAGER, EAGER_BARE)
    beside = f"{EAGER_BARE.name}: {millis(sample.whole(EAGER_BARE))}"
    return Row(
        f"the same, {EAGER.name}", millis(sample.whole(EAGER)), beside, times(ratio), f"≤ {times(2)}", at_most(ratio, 2)
    )  # fmt: skip


def _torn_down(sample: Sample) -> Row:
    seconds = sample.phase(MEMORY, 2)
    beside = f"{WORKER.name}: {millis(sample.phase(WORKER, 2))}"
    ratio = times(seconds / sample.phase(WORKER, 2))
    return Row(
        f"teardown of that test, {MEMORY.name}", millis(seconds), beside, ratio, "≤ 1 ms", at_most(seconds, 1e-3)
    )
