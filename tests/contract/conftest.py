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
from pytest_taskharness.servers.rabbitmq_binary import find_rabbitmq

START = "2030-01-01T00:00:00+00:00"
MODES = ("memory", "eager", "fakeredis", "redis", "rabbitmq")


def pytest_configure(config):
    config.addinivalue_line("markers", "not_in(*modes, because): the test is for the other modes")


def pytest_collection_modifyitems(config, items):
    """Leave out the modes that do otherwise; tests/contract/rabbit_scenes.py says why."""
    left = [item for item in items if _is_for_another_mode(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _is_for_another_mode(item):
    modes = [mode for mark in item.iter_markers("not_in") for mode in mark.args]
    return bool(modes) and item.callspec.params.get("mode") in modes


@pytest.fixture(params=MODES)
def mode(request, served):
    return served(request.param)


@pytest.fixture
def served(needed):
    """``served(mode)``: the mode; where its server is missing, skip the test, but in CI fail it."""

    def check(mode):
        if mode == "rabbitmq":
            needed(find_rabbitmq(), "a RabbitMQ server")
        return mode

    return check


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
