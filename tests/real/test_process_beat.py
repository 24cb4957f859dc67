"""``celery worker -B``: Celery's own beat, in a process of its own, on the test's clock and on the real one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import process_beat_app as clockwork
import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu import Queue
from kombu.common import Broadcast
from process_worlds import opened, until

from pytest_taskharness.errors import Deadlock, ScheduleError, WorkerDied

START = datetime(2030, 1, 1, 12, 0, 0, 123457, tzinfo=timezone.utc)
HALF_PAST = datetime(2030, 1, 1, 12, 30, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def tools(redis_server, libfaketime):
    """What every test here needs."""


def beating(**options):
    return opened(clockwork.app, **{"clock": None, "start": START, "arguments": ["-B"], **options})


def every(**delta):
    schedule = timedelta(**delta)
    return {"beat_schedule": {"often": {"task": "process_beat_app.strike", "schedule": schedule}}}


def fires(world, entry=None):
    found = [event for event in world.timeline if event.kind == "beat fire"]
    return [event for event in found if entry in {None, event.detail["entry"]}]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_each_entry_fires_at_its_very_instant(pool):
    with beating(pool=pool) as world:
        report = world.run_until(START + 31 * MINUTE)
        assert [event.at for event in fires(world, "every minute")] == [START + n * MINUTE for n in range(1, 32)]
        assert [event.at for event in fires(world, "at half past")] == [HALF_PAST]
        assert report.counts == {"SUCCESS": 32}


def test_a_fire_tells_its_entry_and_leaves_nothing_where_the_tests_are_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with beating() as world:
        world.run_until(HALF_PAST)
        [fire] = fires(world, "at half past")
        schedule = "<crontab: 30 * * * * (m/h/dM/MY/d)>"
        about = {"beat": "beat", "entry": "at half past", "schedule": schedule, "due": HALF_PAST}
        assert (fire.task, fire.worker, fire.detail) == ("process_beat_app.strike", "worker", about)
        run = world.timeline.run(fire.id)
        assert (run.args, run.state, run.started_at) == (("half",), "SUCCESS", HALF_PAST)
        assert [event.kind for event in world.timeline.of(fire.id)][:2] == ["publish", "beat fire"]
        assert str(world.timeline.of(fire.id)[0].detail["call_site"]) == "beat entry 'at half past'"
    assert list(tmp_path.iterdir()) == []


def test_a_beat_alone_is_nothing_to_wait_for():
    with beating() as world:
        world.settle()
        assert (world.time.now, fires(world)) == (START, [])
        # It fires on the way to other work, and until a wait is over.
        late = clockwork.strike.apply_async(countdown=150)
        world.settle()
        assert world.time.now == START + timedelta(seconds=150)
        assert [event.at for event in fires(world)] == [START + MINUTE, START + 2 * MINUTE]
        assert world.timeline.run(late.id).started_at == START + timedelta(seconds=150)
        lost = clockwork.app.AsyncResult("nobody sends this")
        with pytest.raises(CeleryTimeoutError, match="after 150 virtual seconds"):
            lost.get(timeout=150)
        assert len(fires(world)) == 5
        with pytest.raises(Deadlock, match="a beat alone"):
            lost.get()


def test_a_schedule_file_that_is_asked_for_remembers_the_last_run(tmp_path):
    arguments = ["-B", "-s", str(tmp_path / "schedule")]
    with beating(arguments=arguments, config=every(hours=1)) as world:
        world.run_until(START + timedelta(hours=1, minutes=10))
        assert [event.at for event in fires(world)] == [START + timedelta(hours=1)]
    later = START + timedelta(hours=5)
    with beating(arguments=arguments, config=every(hours=1), start=later) as world:
        world.run_until(later + timedelta(hours=1))
        first, second = fires(world)
        assert (first.at, first.detail["due"]) == (later, START + timedelta(hours=2))
        assert second.at == later + timedelta(hours=1)


def test_a_late_beat_fires_once():
    with beating(config=every(minutes=1)) as world:
        [worker] = world.nodes
        worker.pause()
        world.run_until(START + 5 * MINUTE)
        assert fires(world) == []
        worker.resume()
        world.run_until(START + 6 * MINUTE)
        assert [event.at for event in fires(world)] == [START + 5 * MINUTE, START + 6 * MINUTE]
        assert fires(world)[0].detail["due"] == START + MINUTE


def test_two_beats_by_mistake_publish_everything_twice_and_none_outlives_its_worker(tmp_path, monkeypatch, watch):
    monkeypatch.setenv("BEAT_PIDS", str(tmp_path))
    with beating(workers=("one", "two"), config=every(minutes=1)) as world:
        pids = [int(path.name) for path in tmp_path.iterdir()]
        for pid in pids:
            watch.add(pid)
        report = world.run_until(START + 3 * MINUTE)
        assert report.counts == {"SUCCESS": 6}
        assert sorted(event.worker for event in fires(world)) == ["one"] * 3 + ["two"] * 3
        one, two = world.nodes
        world.kill(one)
        world.stop(two)
        assert len(pids) == 2
        for pid in pids:
            watch.until_gone(pid)
        world.run_until(START + 10 * MINUTE)
        assert len(fires(world)) == 6


def test_a_scheduler_of_the_users_own_may_sleep(tmp_path):
    with beating(arguments=["-B", "--scheduler=process_beat_app:Napping"], config=every(minutes=15)) as world:
        world.run_until(START + timedelta(minutes=15))
        assert fires(world) == []
        world.run_until(START + timedelta(minutes=16))
        assert [event.at for event in fires(world)] == [START + timedelta(minutes=15, seconds=30)]


def test_a_beat_that_cannot_start_is_an_error():
    with pytest.raises(WorkerDied, match=r"the beat of worker 'worker' has ended(.|\n)*Nowhere"):
        beating(arguments=["-B", "--scheduler=process_beat_app:Nowhere"]).__enter__()


def test_a_beat_that_breaks_is_an_error_of_the_verb():
    with (
        beating(arguments=["-B", "--scheduler=process_beat_app:Broken"]) as world,
        pytest.raises(WorkerDied, match="the spring is gone"),
    ):
        world.run_until(START + 5 * MINUTE)


def test_an_entry_that_cannot_be_published_is_an_error_of_the_verb():
    entry = {"task": "process_beat_app.strike", "schedule": 60.0, "args": (object,)}
    with beating(config={"beat_schedule": {"broken": entry}}) as world:
        with pytest.raises(
            ScheduleError, match=r"beat could not send entry 'broken' \(process_beat_app.strike\): Unserializable"
        ):
            world.run_until(START + MINUTE)
        [fault] = [event for event in world.timeline if event.kind == "fault"]
        assert fault.detail["note"].startswith("beat could not send entry 'broken'")


def test_it_fires_in_real_time():
    with opened(clockwork.app, arguments=["-B"], config=every(seconds=0.2)) as world:
        fire = until(world, lambda event: event.kind == "beat fire" and event.seq > 8)
        world.drain()
        assert world.timeline.run(fire.id).state == "SUCCESS"
        instants = [event.detail["due"] for event in fires(world)]
        assert len(instants) > 1
        assert all(later - earlier >= timedelta(seconds=0.2) for earlier, later in pairwise(instants))


# -- RedBeat: its schedule and its lock are on the test's own server

REDBEAT = ["-B", "--scheduler=redbeat.RedBeatScheduler"]


def test_redbeat_fires_at_the_very_instants_and_leaves_nothing(server):
    before = set(server.keys("*"))  # a worker of an earlier test, that would go on, has its bindings there
    with beating(arguments=REDBEAT, config=every(minutes=1)) as world:
        assert any(b"redbeat:" in key for key in server.keys("*"))
        report = world.run_until(START + 10 * MINUTE)
        assert [event.at for event in fires(world)] == [START + n * MINUTE for n in range(1, 11)]
        assert report.counts == {"SUCCESS": 10}
    assert set(server.keys("*")) <= before


def test_redbeats_lock_prevents_two_beats_and_is_taken_over_from_a_dead_one():
    with beating(arguments=REDBEAT, workers=("one", "two"), config=every(minutes=1)) as world:
        report = world.run_until(START + 10 * MINUTE)
        assert report.counts == {"SUCCESS": 10}
        assert {event.worker for event in fires(world)} == {"one"}
        world.kill(world.nodes[0])
        world.run_until(START + 40 * MINUTE)
        others = [event for event in fires(world) if event.worker == "two"]
        # The lock outlives its holder by five times RedBeat's interval of 300 s.
        assert others[0].at == START + 35 * MINUTE
        assert others[0].detail["due"] == START + 11 * MINUTE
        assert [event.at for event in others[1:]] == [START + n * MINUTE for n in range(36, 41)]


@pytest.fixture
def server():
    from pytest_taskharness.servers.redis import the_redis
    from pytest_taskharness.worker.supplies.redis_supply import _servers, real_access

    url = the_redis().url
    access = _servers.get(url) or real_access(url, url, lambda: None)
    return access.client


def test_a_queue_that_is_broadcast_to_is_consumed_as_any_other():
    with beating(config={"task_queues": [Queue("celery"), Broadcast("all")], **every(minutes=1)}) as world:
        world.run_until(START + 2 * MINUTE)
        assert len(fires(world)) == 2
