"""Workers that go on from one test to the next: quick, and no test can tell."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from datetime import datetime, timedelta, timezone
from pathlib import Path

import process_app as plant
import process_reuse_app as trail
import pytest
from celery import signals
from process_worlds import opened, started

from pytest_taskharness.process import rig
from pytest_taskharness.process.outside import crew

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.fixture(autouse=True)
def dismissed(redis_server):
    yield
    crew.dismiss_all()


@pytest.fixture
def clock(clock):
    return {"clock": clock} if clock else {"clock": None, "start": START}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(name, source)``: a module that can be imported, here and in a worker."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return write


def reusing(app=plant.app, **options):
    return opened(app, **{"reuse": True, **options})


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


def test_the_next_test_gets_the_same_worker(clock):
    first, second = pid_after(lambda world: plant.add.delay(1, 2).get(timeout=20), **clock)
    assert first == second


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_where_bodies_run_in_the_worker_itself_each_test_has_its_own(pool):
    first, second = pid_after(pool=pool)
    assert first != second


def test_both_tests_see_the_same_events(clock):
    told = []
    for _ in range(2):
        with reusing(**clock) as world:
            result = plant.flaky.delay(1)
            world.settle()
            events = world.timeline.of(result.id)
            told.append([(event.kind, event.detail.get("execution")) for event in events])
    assert told[0] == told[1]


def test_each_test_begins_at_its_own_instant(libfaketime):
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
        assert not world.broker.client.keys(f"{world.broker.prefix}_kombu.binding.created")
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
        lambda world: plant.app.control.rate_limit(plant.add.name, "10/m", reply=True, limit=1),
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


# -- what bodies leave behind


def test_what_a_body_does_to_its_process_is_gone(clock, tmp_path):
    seen = []
    for _ in range(2):
        with reusing(trail.app, concurrency=1, **clock) as world:
            seen.append((pid_of(world), trail.look_around.delay().get(timeout=20)))
            trail.leave_everything.delay(str(tmp_path)).get(timeout=20)
            assert trail.look_around.delay().get(timeout=20) != seen[-1][1]
    assert seen[0] == seen[1]


def test_each_test_has_pool_processes_of_its_own():
    seen = []
    for _ in range(3):
        with reusing(trail.app, concurrency=2) as world:
            seen.append((pid_of(world), trail.where.delay().get(timeout=20)))
    workers, processes = map(set, zip(*seen, strict=True))
    assert (len(workers), len(processes)) == (1, 3)


def test_a_thread_of_a_body_that_publishes_after_the_test_is_not_heard(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with reusing(trail.app) as world:
        trail.publish_later.delay(str(pipe))
        world.settle()
        pid = pid_of(world)
    with pytest.raises(OSError, match="No such device"):  # nobody waits to read
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with reusing(trail.app) as world:
        assert pid_of(world) == pid
        world.settle()
        assert len(world.timeline) == 0


def test_monotonic_clocks_begin_with_each_test(libfaketime):
    told = []
    for start in (START, START - timedelta(days=400)):
        with reusing(trail.app, clock=None, start=start) as world:
            world.run_until(start + timedelta(minutes=1))
            told.append((pid_of(world), trail.read_monotonic.delay().get()))
    assert told[0] == told[1]


def test_a_message_that_comes_again_in_another_test_is_another_message():
    config = {"worker_deduplicate_successful_tasks": True, "task_acks_late": True}
    for _ in range(2):
        with reusing(config=config) as world:
            assert plant.add.apply_async((1, 2), task_id="the-id").get(timeout=20) == 3
            assert world.timeline.run("the-id").attempts[0].outcome == "SUCCESS"


@pytest.mark.parametrize("task", [trail.slow_others_down, trail.crash], ids=lambda task: task.name)
def test_what_bodies_do_to_the_worker_itself_ends_it(task):
    with reusing(trail.app, concurrency=2) as world:
        pid = pid_of(world)
        task.delay()
        world.settle()
    with reusing(trail.app, concurrency=2) as world:
        assert pid_of(world) != pid


def test_where_code_of_the_user_runs_in_the_main_process_each_test_has_its_own(module):
    source = """
        from celery import Celery, signals
        app = Celery("listening", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")
        @signals.task_received.connect(weak=False)
        def count(**_): count.calls = getattr(count, "calls", 0) + 1
    """
    listening = module("listening_app", source)
    try:
        pids = set()
        for _ in range(2):
            with reusing(listening.app) as world:
                pids.add(pid_of(world))
        assert len(pids) == 2
    finally:
        signals.task_received.disconnect(listening.count)


# -- what is changed outside


def test_a_file_that_was_edited_is_imported_anew(module):
    source = """
        from celery import Celery
        app = Celery("edited", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")
        @app.task
        def version(): return 1
    """
    edited = module("edited_app", source)
    with reusing(edited.app):
        assert edited.version.delay().get(timeout=20) == 1
    path = Path(edited.__file__)
    path.write_text(path.read_text().replace("return 1", "return 12"))
    with reusing(edited.app):
        assert edited.version.delay().get(timeout=20) == 12


def test_an_environment_that_changes_in_the_middle_of_a_test_is_nobody_elses(monkeypatch):
    with reusing() as world, monkeypatch.context() as patch:
        patch.setenv("SHOP_IS_OPEN", "1")
        world.add_node("late", concurrency=1)
        first = [node.pid for node in world.nodes]
    with reusing(workers=["worker", "late"]) as world:
        assert not {node.pid for node in world.nodes}.intersection(first)


def test_a_worker_that_is_there_is_not_asked_to_join_in_another_environment(monkeypatch):
    with reusing(workers=["worker", "late"]) as world:
        first = world.nodes[1].pid
    with reusing() as world:
        monkeypatch.setenv("SHOP_IS_OPEN", "1")
        world.add_node("late", concurrency=1)
        assert world.nodes[1].pid != first


def test_a_log_holds_what_its_own_test_has_printed():
    with reusing(trail.app):
        trail.print_something.delay("from the first test").get(timeout=20)
    with reusing(trail.app) as world:
        trail.print_something.delay("from the second test").get(timeout=20)
        log = world.logs()["worker"]
        assert "from the second test" in log
        assert "from the first test" not in log


def test_ctrl_c_at_the_end_of_a_test_ends_its_workers(monkeypatch):
    def interrupted(world):
        raise KeyboardInterrupt

    monkeypatch.setattr(rig, "may_go_on", interrupted)
    with pytest.raises(KeyboardInterrupt), reusing() as world:
        [node] = world.nodes
    assert node.has_ended()


def test_two_apps_take_turns():
    seen = set()
    for _ in range(3):
        for app, task in ((plant.app, plant.where), (trail.app, trail.where)):
            with reusing(app) as world:
                task.delay().get(timeout=20)
                assert len(world.timeline.runs()) == 1
                seen.add(pid_of(world))
    assert len(seen) == 2


def test_two_worlds_at_once_have_a_worker_each():
    for _ in range(2):
        with reusing() as outer, reusing(trail.app) as inner:
            here, there = plant.where.delay(), trail.where.delay()
            assert here.get(timeout=20) != there.get(timeout=20)
            assert [run.task for run in outer.timeline.runs()] == [plant.where.name]
            assert [run.task for run in inner.timeline.runs()] == [trail.where.name]


def test_a_test_that_fails_in_the_middle_leaves_nothing():
    with pytest.raises(ZeroDivisionError), reusing() as world:
        plant.add.apply_async((1, 2), task_id="the-id")
        plant.add.apply_async((1, 2), countdown=3600)
        raise ZeroDivisionError
    with reusing() as world:
        assert plant.add.AsyncResult("the-id").state == "PENDING"
        assert plant.add.delay(1, 2).get(timeout=20) == 3
        world.settle()
        assert len(world.timeline.runs()) == 1


def test_a_worker_that_dies_between_two_tests_is_replaced():
    with reusing() as world:
        [node] = world.nodes
    node.process.kill()
    assert node.process.wait(20) == -signal.SIGKILL
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
