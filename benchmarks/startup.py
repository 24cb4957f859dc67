"""What the installed plugin costs a project that does not use it."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from .children import collect, imported, written
from .imports import HEAVY
from .measure import interleaved, pairwise_ratio, timed
from .report import Row, at_most, millis, times

__all__ = ["measure"]

FILES = {"test_it.py": "def test_nothing():\n    pass\n"}
NOTHING, AGAIN, OURS, CONTRIB = "no plugin", "no plugin, again", "the plugin", "`-p celery.contrib.pytest`"
PLUGINS: dict[str, tuple[str, ...]] = {
    NOTHING: (), OURS: ("pytest_taskharness.plugin",), AGAIN: (), CONTRIB: ("celery.contrib.pytest",),
}  # fmt: skip


def measure(quick: bool) -> list[Row]:
    """The tax, the noise of measuring it, and what was imported."""
    with TemporaryDirectory() as name:
        taken = _taken(written(Path(name), FILES), rounds=7 if quick else 15)
    return [
        _row("`pytest --collect-only` with the plugin, unused", OURS, taken, goal=1.03),
        _row("the same without, once more: the noise of the row above", AGAIN, taken),
        _row("the same with `celery.contrib.pytest`", CONTRIB, taken),
        _heavy_imports(),
    ]


def _taken(folder: Path, *, rounds: int) -> dict[str, list[float]]:
    def sample(plugins: tuple[str, ...]) -> float:
        return timed(lambda: collect(folder, plugins=plugins))

    samples = {name: lambda plugins=plugins: sample(plugins) for name, plugins in PLUGINS.items()}
    return interleaved(samples, rounds=rounds)


def _row(what: str, name: str, taken: dict[str, list[float]], *, goal: float | None = None) -> Row:
    ratio = pairwise_ratio(taken[name], taken[NOTHING])
    return Row(
        what, millis(median(taken[name])), f"{NOTHING}: {millis(median(taken[NOTHING]))}", times(ratio, ".3f"),
        "" if goal is None else f"≤ {times(goal)}", None if goal is None else at_most(ratio, goal),
    )  # fmt: skip


def _heavy_imports() -> Row:
    without = imported(FILES, plugins=PLUGINS[NOTHING])
    added = [name for name in imported(FILES, plugins=PLUGINS[OURS]) if name not in without]
    shown = ", ".join(added) or "none"
    return Row("heavy modules that it imports", shown, f"of {', '.join(HEAVY)}", goal="none", reached=not added)
