"""Worlds with a real worker, for tests."""

from __future__ import annotations

from contextlib import contextmanager

from process_app import app as plant

from pytest_taskharness.process.rig import process_world
from pytest_taskharness.servers.redis import the_redis


@contextmanager
def opened(app=plant, *, workers=("worker",), concurrency=2, **options):
    """A world with workers that are ready."""
    with process_world(app, the_redis(), **{"config": {}, "clock": "real", "reuse": False, **options}) as world:
        for name in workers:
            world.add_node(name, concurrency=concurrency)
        yield world


def kinds(world, task_id):
    """The kinds of the events of one id."""
    return [event.kind for event in world.timeline.of(task_id)]


def until(world, what):
    """Take in what workers tell until ``what(event)`` holds of one event, and return that event."""
    limit = world.limit_of("the test", 20)
    while True:
        found = next((event for event in world.timeline if what(event)), None)
        if found is not None:
            return found
        world.quiescence.hear(limit)


def started(world, result):
    """Wait until the body of a task runs."""
    return until(world, lambda event: event.kind == "start" and event.id == result.id)
