"""What the timeout is for: a worker dies, and another one takes over what it had not acknowledged."""

from datetime import timedelta
from unittest.mock import Mock

import pytest

from carts import archive
from carts.tasks import export, remind

HOUR = 3600
pytestmark = pytest.mark.taskharness(modes=["fakeredis", "redis"], visibility_timeout=HOUR)


@pytest.fixture
def died(harness, monkeypatch):
    """A worker has taken an export and died while it wrote the first chapter; there is a second worker."""
    first = harness.worker("first")
    with monkeypatch.context() as patched:
        patched.setattr(archive, "write", lambda month, chapter: first.kill())
        export.delay("2030-01")
        harness.drain()
    monkeypatch.setattr(archive, "write", Mock())
    harness.worker("second")


def test_another_worker_makes_the_export_after_an_hour(harness, died):
    harness.settle()

    run = harness.assert_succeeded(export)
    assert (run.worker, run.redelivered) == ("second", True)
    harness.assert_ran_at(run, timedelta(hours=1))
    harness.assert_nothing_lost()


@pytest.mark.taskharness(visibility_timeout=3 * HOUR)
def test_the_price_of_a_longer_timeout_is_a_longer_wait(harness, died):
    harness.settle()

    harness.assert_ran_at(export, timedelta(hours=3))


def test_a_worker_that_is_stopped_gives_back_at_once(harness, sent):
    """A deployment is no death: half an hour stays half an hour."""
    remind.apply_async((7,), countdown=HOUR / 2)
    harness.drain()

    harness.worker().shutdown()
    harness.worker("next version")
    harness.settle()

    harness.assert_ran_at(remind, timedelta(minutes=30))
    assert len(sent) == 1


def test_redelivered_does_not_mean_that_it_has_run(harness, sent):
    """Whoever skips redelivered messages loses those of dead workers."""
    first = harness.worker("first")
    remind.apply_async((7,), countdown=HOUR / 2)
    harness.drain()

    first.kill()
    harness.worker("second")
    harness.settle()

    [attempt] = harness.run_of(remind).attempts
    assert attempt.redelivered
    assert len(sent) == 1
