"""The same scenario gives the same timeline, each time, on each clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery, chord, group
from scenario import START

from pytest_taskharness import Harness, Timeline


def scenario(mode, clock=None, *, seed=0):
    """A bit of everything, and its timeline, byte by byte."""
    app = Celery("shop", broker="amqp://", set_as_current=False)

    @app.task(shared=False, name="shop.add")
    def add(x, y):
        return x + y

    @app.task(shared=False, name="shop.total")
    def total(numbers):
        return sum(numbers)

    @app.task(
        shared=False, name="shop.flaky", autoretry_for=(ValueError,), retry_backoff=2, max_retries=4
    )  # fmt: skip
    def flaky():
        raise ValueError("no")

    @app.task(shared=False, name="shop.charge", acks_late=True)
    def charge(order):
        return str(order)

    with Harness.open(app, mode, start=START, seed=seed, clock=clock, workers=2 if mode == "memory" else 1) as harness:
        chord([add.s(number, number) for number in range(5)])(total.s())
        group(add.s(1, 1), add.s(2, 2)).apply_async(countdown=10)
        (add.s(1, 2) | add.s(3)).delay()
        flaky.delay()
        for priority in (3, 9, 0):
            add.apply_async((priority, 0), queue=f"queue-{priority}", priority=priority)
        if mode != "eager":
            harness.faults.crash(charge, "before_ack")
            harness.broker.duplicate(charge.delay(7))
            harness.broker.reorder()
        harness.settle()
        return harness.timeline.to_json()


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_twice_is_the_same(mode):
    assert scenario(mode) == scenario(mode)


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_the_clock_library_makes_no_difference(mode):
    assert scenario(mode, "freezegun") == scenario(mode, "time-machine")


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_the_seed_makes_one(mode):
    first, second = scenario(mode, seed=1), scenario(mode, seed=2)

    assert not ids_in(first) & ids_in(second)


def ids_in(text):
    return {event.id for event in Timeline.from_json(text)} - {None}


@pytest.mark.parametrize("mode", ["memory", "eager", "fakeredis"])
def test_the_hash_seed_of_the_process_makes_no_difference(mode):
    here = Path(__file__)
    program = (
        f"import sys, hashlib; sys.path[:0] = [{str(here.parent)!r}]\n"
        f"from {here.stem} import scenario\n"
        f"print(hashlib.sha256(scenario({mode!r}).encode()).hexdigest())"
    )
    outputs = set()
    for seed in ("0", "1"):
        environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        outputs.add(done.stdout)
    assert len(outputs) == 1
