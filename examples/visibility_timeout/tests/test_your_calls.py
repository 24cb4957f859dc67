"""Is every call of a project done before Redis takes its delivery for lost?  With the timeout of its own configuration.

Copy this file, and put your app and your calls here: what waits (countdown, eta), what works long, what is retried.
"""

import pytest

from carts.celeryapp import app
from carts.tasks import TWO_HOURS, export, remind

CALLS = [
    remind.s(7).set(countdown=TWO_HOURS),
    export.s("2030-01"),
]


@pytest.fixture(scope="session")
def taskharness_app():
    return app


@pytest.mark.taskharness(modes=["fakeredis", "redis"])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_no_delivery_is_taken_for_lost(harness, call):
    call.delay()

    harness.settle()

    taken_for_lost = [event.task for event in harness.timeline if event.kind == "restore"]
    assert taken_for_lost == []
