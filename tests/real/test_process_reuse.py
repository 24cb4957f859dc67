"""Workers that go on from one test to the next: quick, and no test can tell."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import process_app as plant
import pytest
from process_worlds import opened, started

from pytest_taskharness.process import crew
from pytest_taskharness.process.faketime import find_library

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.fixture(autouse=True)
def dismissed(redis_server):
    yield
    crew.dismiss_all()


@pytest.fixture
def clock(clock):
    return {"clock": clock} if clock else {"clock": None, "start": START}


def reusing(**options):
    return opened(**{"reuse": True, **options})


def pid_of(world):
    [node] = world.nodes
    return node.pid


def pid_after(use=lambda world: None, **options):
    """The worker's process in a test, and in the next one."""
    with reusing(**options) as world:
        first = pid_of(world)
        use(world)
    with reusing(**options) as world:
        assert plant.add.delay(1, 2).get(timeout=20) == 3
        return first, pid_of(world)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_the_next_test_gets_the_same_worker(pool, clock):
    first, second = pid_after(lambda world: plant.add.delay(1, 2).get(timeout=20), pool=pool, **clock)
    assert first == second


def test_both_tests_see_the_same_events(clock):
    told = []
    for _ in range(2):
        with reusing(**clock) as world:
            result = plant.flaky.delay(1)
            world.settle()
            events = world.timeline.of(result.id)
            told.append([(event.kind, event.detail.get("execution")) for event in events])
    assert told[0] == told[1]


def test_each_test_begins_at_its_own_instant(needed):
    needed(find_library(), "libfaketime")
    for start in (START, START - timedelta(days=400), START + timedelta(days=400)):
        with reusing(clock=None, start=start) as world:
            result = plant.add.apply_async((1, 2), countdown=3600)
            world.settle()
            assert world.timeline.run(result.id).started_at == start + timedelta(hours=1)


def test_results_and_messages_of_one_test_are_gone_in_the_next(clock):
    with reusing(**clock) as world:
        result = plant.add.delay(1, 2)
        plant.add.apply_async((3, 4), queue="created")
        world.settle()
        pid, key = pid_of(world), f"{world.broker.prefix}*"
    with reusing(**clock) as world:
        assert pid_of(world) == pid
        assert plant.add.AsyncResult(result.id).state == "PENDING"
        assert not [name for name in world.broker.client.keys(key) if b"_kombu.binding" not in name]
        assert world.nodes[0].queues() == ["celery"]
        assert len(world.timeline) == 0


def test_queues_that_publishing_creates_are_consumed_in_each_test(clock):
    for _ in range(2):
        with reusing(**clock) as world:
            plant.send_elsewhere.delay("created")
            assert world.settle().counts == {"SUCCESS": 2}


def test_a_revoked_id_is_forgotten(clock):
    with reusing(**clock) as world:
        plant.app.control.revoke("the-id")
        world.settle()
        pid = pid_of(world)
    with reusing(**clock) as world:
        assert pid_of(world) == pid
        assert plant.add.apply_async((1, 2), task_id="the-id").get(timeout=20) == 3


@pytest.mark.parametrize(
    "use",
    [
        lambda world: started(world, plant.nap.delay(60)),
        lambda world: (plant.add.apply_async((1, 2), countdown=3600), world.drain()),
        lambda world: world.nodes[0].pause(),
        lambda world: plant.app.control.rate_limit(plant.add.name, "10/m", reply=True, timeout=0.5),
        lambda world: world.stop(world.nodes[0]),
        lambda world: world.kill(world.nodes[0]),
    ],
    ids=["runs something", "holds something", "paused", "told something", "stopped", "killed"],
)
def test_a_worker_that_is_not_what_it_was_is_not_left_to_the_next_test(use):
    first, second = pid_after(use)
    assert first != second


@pytest.mark.parametrize(
    "second",
    [
        {"config": {"task_acks_late": True}},
        {"pool": "solo"},
        {"arguments": ["-E"]},
        {"visibility_timeout": 77},
        {"concurrency": 3},
    ],
)
def test_another_kind_of_worker_is_another_worker(second):
    with reusing() as world:
        pid = pid_of(world)
    with reusing(**second) as world:
        assert pid_of(world) != pid
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_another_environment_is_another_worker(monkeypatch):
    with reusing() as world:
        pid = pid_of(world)
    monkeypatch.setenv("SHOP_IS_OPEN", "1")
    with reusing() as world:
        assert pid_of(world) != pid


@pytest.mark.parametrize("config", [{"worker_max_tasks_per_child": 10}, {"worker_max_memory_per_child": 10**6}])
def test_workers_that_count_what_they_do_are_new_in_each_test(config):
    first, second = pid_after(config=config)
    assert first != second


def test_a_world_with_another_queue_has_a_worker_of_its_own():
    with reusing() as first:
        pid = pid_of(first)
    with reusing(config={"task_default_queue": "other"}) as other:
        assert pid_of(other) != pid


def test_workers_that_a_test_has_not_asked_for_take_none_of_its_messages():
    with reusing(workers=["a", "b"]) as world:
        nodes = list(world.nodes)
    with reusing(workers=["a"]) as world:
        assert [node.pid for node in world.nodes] == [nodes[0].pid]
        for number in range(20):
            plant.add.delay(number, number)
        assert world.settle().counts == {"SUCCESS": 20}
        assert {run.worker for run in world.timeline.runs()} == {"a"}
        assert nodes[1].has_ended()


def test_a_worker_that_dies_between_two_tests_is_replaced(watch):
    with reusing() as world:
        [node] = world.nodes
    watch.add(node.pid)
    node.process.kill()
    watch.until_gone(node.pid)
    with reusing() as world:
        assert pid_of(world) != node.pid
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_there_is_room_for_a_few_only():
    seen = []
    for number in range(crew.ROOM + 1):
        with reusing(config={"task_default_queue": f"q{number}"}) as world:
            seen += world.nodes
    assert [node.has_ended() for node in seen] == [True] + [False] * crew.ROOM
    crew.dismiss_all()
    assert all(node.has_ended() for node in seen)
