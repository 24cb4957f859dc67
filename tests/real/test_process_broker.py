"""``harness.broker`` where real workers talk to a real server: what a server can do, it does; the rest is refused."""

from __future__ import annotations

import process_features_app as mill
import pytest

from pytest_taskharness import Harness
from pytest_taskharness.errors import FidelityError, NoSuchMessage

pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.fixture
def open_process(clock):
    """``open_process(**options)``: a harness with real workers, by either clock."""
    opened = []

    def open_(**options):
        harness = Harness.open(mill.app, "redis+process", clock=clock, **options)
        opened.append(harness)
        return harness

    yield open_
    for harness in opened:
        harness.close()


def deliveries(run):
    return [event.detail["redelivered"] for event in run.timeline if event.kind == "deliver"]


def test_a_duplicate_runs_twice(open_process):
    harness = open_process()
    result = mill.nap.delay(0)
    harness.broker.duplicate(result)
    assert harness.settle().counts == {"SUCCESS": 2}
    run = harness.run_of(result)
    assert deliveries(run) == [False, False]
    assert harness.tally.duplicated == [run]


def test_what_has_run_comes_again(open_process):
    harness = open_process()
    result = mill.nap.delay(0)
    harness.settle()
    harness.broker.redeliver(result)
    assert harness.settle().counts == {"SUCCESS": 1}
    harness.broker.duplicate(result)
    assert harness.settle().counts == {"SUCCESS": 1}
    assert deliveries(harness.run_of(result)) == [False, True, False]


def test_what_is_held_comes_again(open_process, clock):
    harness = open_process()
    result = mill.nap.apply_async((0,), countdown=3600)
    harness.drain()
    assert [message.id for message in harness.broker.unacked] == [result.id]
    harness.broker.redeliver(result)
    harness.drain()
    assert deliveries(harness.run_of(result)) == [False, True]
    if clock != "real":
        harness.settle()
        assert [attempt.outcome for attempt in harness.run_of(result).attempts] == ["SUCCESS", "SUCCESS"]


def test_what_waits_can_be_seen_reordered_and_dropped(open_process):
    harness = open_process()
    harness.worker("elsewhere", queues=["elsewhere"])
    first, second, third = [mill.nap.delay(number) for number in range(3)]
    assert harness.broker.depth("celery") == 3
    harness.broker.reorder(order=[third, second])
    assert [message.args for message in harness.broker.peek("celery")] == [(2,), (1,), (0,)]
    harness.broker.drop(second)
    assert harness.tally.lost == [harness.run_of(second)]
    assert harness.settle().counts == {}
    harness.broker.drop(third)
    harness.worker("here")
    assert harness.settle().counts == {"SUCCESS": 1}
    with pytest.raises(NoSuchMessage, match=r"waits in a queue: worker 'here' has taken it and acknowledged it"):
        harness.broker.drop(first)


def test_the_visibility_timeout(open_process):
    assert open_process(visibility_timeout=20).broker.visibility_timeout == 20


def test_what_a_real_server_cannot_do_is_refused(open_process):
    harness = open_process()
    result = mill.nap.delay(0)
    verbs = [
        harness.broker.outage,
        lambda: harness.broker.hold("celery"),
        lambda: harness.broker.release("celery"),
        lambda: harness.broker.duplicate(result, concurrently=True),
    ]
    for verb in verbs:
        with pytest.raises(FidelityError, match=r"Run this test with mode='memory', 'fakeredis' or 'redis', or use"):
            verb()
    harness.settle()


def test_a_duplicate_of_what_is_due_tomorrow(libfaketime):
    with Harness.open(mill.app, "redis+process") as harness:
        result = mill.nap.apply_async((0,), countdown=1800)
        harness.broker.duplicate(result)
        harness.settle()
        assert len(harness.run_of(result).attempts) == 2
