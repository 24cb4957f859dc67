"""One scenario, every mode that can represent it.

A test asks for ``harness`` (a fresh app, open in each mode) or for ``app`` and ``open_harness`` where it opens for
itself.  ``tasks`` are the few tasks that most scenarios need; they are there before the harness opens, those that a
test defines come after it.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery

from pytest_taskharness import Harness

START = "2030-01-01T00:00:00+00:00"
MODES = ("memory", "eager", "fakeredis", "redis")


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def clock_library(request):
    """What freezes the process; a test in which time matters is repeated for each (``both_clocks``)."""
    return getattr(request, "param", None)


@pytest.fixture
def app():
    return Celery("shop", broker="redis://localhost:1/0", set_as_current=False)


@pytest.fixture
def tasks(app):
    @app.task(name="shop.add", shared=False)
    def add(x, y):
        return x + y

    @app.task(name="shop.total", shared=False)
    def total(numbers):
        return sum(numbers)

    @app.task(name="shop.boom", shared=False)
    def boom(*args):
        raise RuntimeError("boom")

    @app.task(name="shop.echo", shared=False)
    def echo(*args, **kwargs):
        return [list(args), kwargs]

    @app.task(name="shop.noop", shared=False)
    def noop():
        return None

    return SimpleNamespace(add=add, total=total, boom=boom, echo=echo, noop=noop)


@pytest.fixture
def open_harness(app, mode, clock_library):
    """``Harness.open`` for this test's app, mode and clock; closed at the end where the test does not do it."""
    opened = []

    def open_(the_app=app, **options):
        options = {"start": START, "clock": clock_library, **options}
        harness = Harness.open(the_app, options.pop("mode", mode), **options)
        opened.append(harness)
        return harness

    yield open_
    for harness in reversed(opened):
        harness.close()


@pytest.fixture
def harness(tasks, open_harness):
    return open_harness()
