"""Beats with other schedulers: RedBeat, on the harness's own Redis.  django-celery-beat is in tests/plugin."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from celery import Celery
from celery.schedules import crontab

from pytest_taskharness import Harness
from pytest_taskharness.errors import FidelityError, ScheduleError

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
REDBEAT = "redbeat.RedBeatScheduler"

app = Celery("watch", broker="redis://nowhere.invalid:1/0", set_as_current=False)
app.conf.beat_scheduler = REDBEAT
app.conf.redbeat_redis_url = "redis://nowhere.invalid:1/7"
app.conf.beat_schedule = {
    "often": {"task": "watch.strike", "schedule": 60.0},
    "hourly": {"task": "watch.strike", "schedule": crontab(minute=0), "args": ("hour",)},
}


@app.task(name="watch.strike", shared=False)
def strike(what="minute"):
    return what


@pytest.fixture(params=["fakeredis", "redis"])
def mode(request):
    return request.param


@pytest.fixture
def harness(mode):
    with Harness.open(app, mode, start=START) as harness:
        yield harness


def minutes(instants):
    return [(at - START) / MINUTE for at in instants]


def keys_of(harness):
    broker = harness._world.broker
    return sorted(key.decode().removeprefix(broker.own_prefix) for key in broker.client.keys(f"{broker.own_prefix}*"))


def test_its_entries_fire_at_their_instants(harness):
    beat = harness.beat.start()
    report = harness.clock.advance(hours=2)
    assert minutes(beat.fires("often")) == list(range(1, 121))
    assert minutes(beat.fires("hourly")) == [60, 120]
    assert report.counts == {"SUCCESS": 122}


def test_its_keys_are_under_the_harnesss_prefix_and_gone_at_the_end(mode):
    with Harness.open(app, mode, start=START) as harness:
        harness.beat.start()
        harness.drain()
        assert {"redbeat:often", "redbeat:hourly", "redbeat::schedule", "redbeat::lock"} <= set(keys_of(harness))
        broker = harness._world.broker
    left = [] if mode == "fakeredis" else broker.access.client.keys(f"{broker.own_prefix}*")
    assert left == []
    assert not hasattr(app, "redbeat_conf")


def test_an_entry_that_the_test_adds_is_found(harness):
    from redbeat import RedBeatSchedulerEntry

    beat = harness.beat.start()
    harness.clock.advance(minutes=10)
    RedBeatSchedulerEntry("added", "watch.strike", crontab(minute="*/20"), app=app).save()
    harness.clock.advance(minutes=50)
    assert minutes(beat.fires("added")) == [20, 40, 60]


def test_two_beats_by_mistake_are_prevented_by_the_lock(harness):
    first, second = harness.beat.start(), harness.beat.start()
    report = harness.clock.advance(minutes=30)
    assert minutes(first.fires("often")) == list(range(1, 31))
    assert second.counts == {"often": 0, "hourly": 0}
    assert report.counts == {"SUCCESS": 30}


def test_without_the_lock_they_are_not(mode):
    with Harness.open(app, mode, start=START, config={"redbeat_lock_key": None}) as harness:
        harness.beat.start()
        harness.beat.start()
        # Both read the same schedule, and whoever comes first moves it on: even so, nothing is sent twice here.
        assert harness.clock.advance(minutes=30).counts == {"SUCCESS": 30}


def test_a_beat_that_stops_gives_the_lock_back_and_the_other_catches_up_once(harness):
    first, second = harness.beat.start(), harness.beat.start()
    harness.clock.advance(minutes=12)
    first.stop()
    harness.clock.advance(minutes=10)
    # It asks again every 300 s, and was refused at minute 10.
    assert minutes(second.fires("often")) == [15, *range(16, 23)]
    assert minutes(second.skipped("often")) == [13, 14]


def test_a_lock_that_nobody_extends_expires_by_the_tests_clock(harness):
    first, second = harness.beat.start(), harness.beat.start()
    harness.clock.advance(minutes=10)
    first._source.pause()  # it hangs
    harness.clock.advance(minutes=40)
    assert minutes(second.fires("often"))[0] == 35
    assert minutes(second.skipped("often")) == list(range(11, 35))


@pytest.mark.parametrize("timeout", [120, 301])
def test_a_lock_that_is_kept_for_less_than_beat_sleeps_ends_the_beat(mode, timeout):
    config = {"redbeat_lock_timeout": timeout, "beat_schedule": {"rarely": {"task": "watch.strike", "schedule": 600.0}}}
    with Harness.open(app, mode, start=START, config=config) as harness:
        beat = harness.beat.start()
        if timeout > 300:
            harness.clock.advance(minutes=20)
            assert minutes(beat.fires("rarely")) == [10, 20]
            return
        with pytest.raises(ScheduleError, match=r"kept for 120 s \(redbeat_lock_timeout\), .* up to 300 s"):
            harness.clock.advance(minutes=20)
        assert harness.clock.now == START + 5 * MINUTE
        beat.resume()
        harness.drain()
        with pytest.raises(ScheduleError):
            harness.clock.advance(minutes=20)


def test_after_downtime_an_entry_is_sent_once_and_then_regularly(harness):
    beat = harness.beat.start()
    harness.clock.advance(minutes=5)
    beat.stop()
    harness.clock.advance(hours=3)
    beat.resume()
    harness.clock.advance(minutes=2)
    assert minutes(beat.fires("often"))[5:] == [185, 186, 187]
    assert minutes(beat.fires("hourly")) == [185]
    assert minutes(beat.skipped("hourly")) == [60, 120]


def test_a_question_takes_no_lock_and_leaves_nothing(harness):
    before = keys_of(harness)
    assert harness.beat.simulate(hours=3).counts == {"often": 180, "hourly": 3}
    assert (keys_of(harness), harness.clock.now, harness.outbox) == (before, START, [])


def test_a_question_beside_a_beat_that_runs_begins_where_that_is(harness):
    beat = harness.beat.start()
    harness.clock.advance(minutes=5, seconds=30)
    before = keys_of(harness)
    assert minutes(harness.beat.simulate(minutes=3).fires("often")) == [6, 7, 8]
    assert keys_of(harness) == before
    harness.clock.advance(minutes=1)
    assert minutes(beat.fires("often")) == [1, 2, 3, 4, 5, 6]


def test_simulating_with_run_sends_and_runs(harness):
    simulation = harness.beat.simulate(run=True, hours=1)
    assert simulation.counts == {"often": 60, "hourly": 1}
    assert len(harness.runs(strike)) == 61


@pytest.mark.parametrize("mode", ["memory", "eager", "rabbitmq"])
def test_without_a_redis_there_is_no_redbeat(mode, served):
    with Harness.open(app, served(mode)) as harness, pytest.raises(FidelityError, match="mode='fakeredis'"):
        harness.beat.start()


def test_redbeat_has_no_say_in_another_schedulers_beat(harness, caplog):
    with harness.beat.start("celery.beat:Scheduler") as beat:
        harness.clock.advance(minutes=3)
    assert minutes(beat.fires("often")) == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
