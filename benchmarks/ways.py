"""The ways to test one task that are compared, each as a small project that real pytest processes run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .children import phases
from .measure import pairwise_ratio
from .report import Row, at_least, at_most, millis, times

__all__ = ["CONTRIB", "EMPTY", "HARNESS", "OURS", "SHARED", "SHOP", "Kind", "Sample", "beside", "faster", "torn_down"]

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
        ini: More lines of pytest's configuration file.
        tests: How many; 0 for as many as there is time for.
        rounds: In how many rounds; 0 for all.
    """

    name: str
    fixtures: str = ""
    conftest: str = ""
    plugins: tuple[str, ...] = ()
    shop: str = SHOP
    body: str = "assert add.delay(2, 2).get() == 4"
    ini: str = ""
    tests: int = 0
    rounds: int = 0

    def files(self, count: int) -> dict[str, str]:
        """The test project."""
        tests = "".join(f"def test_{n}({self.fixtures}):\n    {self.body}\n" for n in range(self.tests or count))
        return {
            "conftest.py": self.conftest, "shop.py": self.shop, "test_it.py": f"from shop import add\n{tests}",
            "pytest.ini": f"[pytest]\n{self.ini}",
        }  # fmt: skip


EMPTY = Kind("an empty test", body="pass")


class Sample:
    """The phases of the tests of each kind, round by round."""

    def __init__(self, kinds: Sequence[Kind], *, rounds: int, count: int) -> None:
        """Run them all."""
        self._rounds: dict[Kind, list[list[list[float]]]] = {kind: [] for kind in kinds}
        for number in range(rounds):
            for kind in kinds:
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


def beside(sample: Sample, kind: Kind, other: Kind, *, goal: float | None = None) -> Row:
    """One way beside another, with its goal in seconds."""
    reached = None if goal is None else at_most(sample.whole(kind), goal)
    return Row(
        f"one task in one test, {kind.name} (setup + call + teardown)",
        sample.shown(kind),
        f"{other.name}: {millis(sample.whole(other))}",
        times(sample.ratio(kind, other)),
        "" if goal is None else f"≤ {millis(goal)}",
        reached,
    )


def faster(sample: Sample, stock: Kind, ours: Kind, *, goal: float | None = None) -> Row:
    """How many times as long Celery's own way takes."""
    ratio = sample.ratio(stock, ours)
    reached = None if goal is None else at_least(ratio, goal)
    stated = "" if goal is None else f"≥ {times(goal)} as long"
    return Row(
        f"the same with Celery's {stock.name}",
        sample.shown(stock),
        f"{ours.name}: {millis(sample.whole(ours))}",
        f"{times(ratio)} as long",
        stated,
        reached,
    )


def torn_down(sample: Sample, kind: Kind, *, goal: float, other: Kind | None = None) -> Row:
    """The last phase alone."""
    seconds = sample.phase(kind, 2)
    theirs = None if other is None else sample.phase(other, 2)
    return Row(
        f"teardown of that test, {kind.name}", millis(seconds),
        "" if other is None or theirs is None else f"{other.name}: {millis(theirs)}",
        "" if theirs is None else times(seconds / theirs), f"≤ {millis(goal)}", at_most(seconds, goal),
    )  # fmt: skip
