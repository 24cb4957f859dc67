"""A pytest plugin for the measured child: how long each phase of each test takes, on a clock that cannot be frozen.

pytest's own durations cannot be used: freezegun would freeze the clock that they are read from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from .measure import now

__all__: list[str] = []

_phases: list[list[float]] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """The first phase of a test."""
    _phases.append([])
    return (yield from _timed_phase())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """The second."""
    return (yield from _timed_phase())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """The last."""
    return (yield from _timed_phase())


def _timed_phase() -> Generator[None, object, object]:
    start = now()
    try:
        return (yield)
    finally:
        _phases[-1].append(now() - start)


def pytest_unconfigure() -> None:
    """Leave the durations where the parent looks for them."""
    Path(os.environ["BENCHMARKS_STOPWATCH"]).write_text(json.dumps(_phases))
