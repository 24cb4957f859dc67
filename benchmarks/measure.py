"""How everything here is measured: side by side in one run, medians, and ratios of them."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any, TypeVar

from pytest_taskharness.clock.real import Real

__all__ = ["in_child", "interleaved", "median", "now", "pairwise_ratio", "repeated", "timed"]

ResultT = TypeVar("ResultT")

#: Seconds, on a clock that no library can freeze.
now: Callable[[], float] = Real.monotonic


def timed(call: Callable[[], object]) -> float:
    """How many real seconds one call takes."""
    start = now()
    call()
    return now() - start


def repeated(sample: Callable[[], float], times: int) -> list[float]:
    """So many samples, after one that is thrown away."""
    sample()
    gc.collect()
    return [sample() for _ in range(times)]


def interleaved(samples: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """One sample of each in every round (A B C, A B C, …), so that a slow minute of the machine meets all of them.

    A first round is thrown away.
    """
    taken: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(rounds + 1):
        for name, sample in samples.items():
            gc.collect()
            taken[name].append(sample())
    return {name: seconds[1:] for name, seconds in taken.items()}


def pairwise_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median, over the rounds, of ours / theirs."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def in_child(function: Callable[..., ResultT], *args: Any) -> ResultT:
    """Call a function in a Python process of its own: no measurement inherits what another has imported."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        return executor.submit(function, *args).result()
