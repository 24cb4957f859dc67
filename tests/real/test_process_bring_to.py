"""One run of a real worker, driven to a moment as far as nobody can stop it."""

from __future__ import annotations

import process_features_app as mill
import process_late_app
import pytest
from process_worlds import opened

from pytest_taskharness.errors import FidelityError, MomentMissed

pytestmark = pytest.mark.usefixtures("redis_server")


def test_a_body_that_runs_is_met_there(gate):
    with opened(mill.app, concurrency=1) as world:
        result = mill.wait_for.delay(gate.path)
        world.bring_to(result.id, "running")
        assert world.timeline.run(result.id).states == ["PENDING", "RECEIVED", "STARTED"]
        world.bring_to(result.id, "running")
        gate.open()
        assert world.settle().counts == {"SUCCESS": 1}


def test_a_body_that_is_over_cannot_be_met():
    with opened(mill.app, concurrency=1) as world:
        result = mill.nap.delay(0)
        world.settle()
        with pytest.raises(FidelityError, match="its body had ended before the test could look"):
            world.bring_to(result.id, "running")


def test_a_worker_takes_what_is_queued_at_once(gate):
    with opened(mill.app, concurrency=1) as world:
        result = mill.wait_for.delay(gate.path)
        with pytest.raises(FidelityError, match="takes a message as soon as it is there"):
            world.bring_to(result.id, "queued")
        gate.open()
        world.settle()


def test_what_nobody_consumes_is_queued():
    with opened(mill.app, concurrency=1) as world:
        mill.app.control.cancel_consumer("celery", reply=True, limit=1)
        result = mill.nap.delay(0)
        world.bring_to(result.id, "queued")
        assert world.timeline.run(result.id).states == ["PENDING"]
        mill.app.control.add_consumer("celery", reply=True, limit=1)
        assert world.settle().counts == {"SUCCESS": 1}


def test_a_worker_that_obeys_after_its_answer_is_waited_for():
    with opened(process_late_app.app, concurrency=1) as world:
        process_late_app.app.control.cancel_consumer("celery", reply=True, limit=1)
        process_late_app.nothing.delay()  # a BRPOP that is under way takes this one, and puts it back
        result = process_late_app.nothing.delay()
        world.bring_to(result.id, "queued")
        assert world.timeline.run(result.id).states == ["PENDING"]


def test_what_has_an_eta_is_held(libfaketime):
    with opened(mill.app, concurrency=1, clock=None) as world:
        start = world.time.now
        result = mill.nap.apply_async((0,), countdown=3600)
        world.bring_to(result.id, "held_for_eta")
        assert world.time.now == start
        world.settle()
        assert (world.time.now - start).total_seconds() == 3600


def test_a_run_without_an_eta_is_never_held():
    with opened(mill.app, concurrency=1) as world:
        result = mill.nap.delay(0)
        with pytest.raises(MomentMissed, match="publish it with countdown= or eta="):
            world.bring_to(result.id, "held_for_eta")
