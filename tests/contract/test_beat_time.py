"""Beat and the calendar: summer time, zones, downtime; compared with Celery's own scheduler, ticked every minute."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import celery
import pytest
from celery import Celery
from celery.beat import Scheduler
from celery.schedules import crontab

from pytest_taskharness import Harness
from pytest_taskharness.clock.freezer import Freezer

UTC = timezone.utc
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

app = Celery("calendar", broker="redis://nowhere.invalid:1/0", set_as_current=False)
#: Two days around each change: noon of the day before, in the zone.
CHANGES = {
    "a gap in Berlin": ("Europe/Berlin", datetime(2026, 3, 28, 11, tzinfo=UTC)),
    "a fold in Berlin": ("Europe/Berlin", datetime(2026, 10, 24, 10, tzinfo=UTC)),
    "a gap in New York": ("America/New_York", datetime(2026, 3, 7, 17, tzinfo=UTC)),
    "a fold in New York": ("America/New_York", datetime(2026, 10, 31, 16, tzinfo=UTC)),
    "half an hour's gap on Lord Howe": ("Australia/Lord_Howe", datetime(2026, 10, 3, 1, 30, tzinfo=UTC)),
    "half an hour's fold on Lord Howe": ("Australia/Lord_Howe", datetime(2026, 4, 4, 1, tzinfo=UTC)),
}
#: Made anew each time: a crontab remembers the zone of the first app that asks it.
ENTRIES = {
    "0145": lambda: crontab(hour=1, minute=45),
    "0215": lambda: crontab(hour=2, minute=15),
    "0230": lambda: crontab(hour=2, minute=30),
    "hourly": lambda: crontab(minute=0),
    "daily": lambda: timedelta(hours=24),
    "often": lambda: timedelta(minutes=50),
}


@app.task(name="calendar.strike", shared=False)
def strike():
    return None


def schedule(**entries):
    return {"beat_schedule": {name: {"task": "calendar.strike", "schedule": each} for name, each in entries.items()}}


class Ticked(Scheduler):
    """Tells when it would send."""

    def apply_async(self, entry, *args, **kwargs):
        self.sent.append((datetime.now(UTC), entry.name))

    def adjust(self, seconds, drift=0.0):
        return seconds


def ticked_each_minute(config, *, start, minutes):
    """What Celery's scheduler sends that is asked at every minute, and nowhere else."""
    own = Celery("own", set_as_current=False)
    own.conf.update(config)
    clock = Freezer(start)
    try:
        scheduler = Ticked(own)
        scheduler.sent, scheduler.producer = [], None
        for _ in range(minutes + 1):
            while scheduler.tick() == 0:
                pass
            clock.shift(MINUTE)
        return scheduler.sent
    finally:
        clock.close()


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


@pytest.mark.parametrize("enable_utc", [True, False], ids=["UTC", "local"])
@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_sent_around_a_change_of_the_clocks_is_what_celery_sends(change, enable_utc, name):
    zone, start = change
    config = {**schedule(**{name: ENTRIES[name]()}), "timezone": zone, "enable_utc": enable_utc}
    with Harness.open(app, start=start, config=config) as harness:
        asked = harness.beat.simulate(days=2).fires(name)
        beat = harness.beat.start()
        harness.clock.advance(days=2)
        sent = beat.fires(name)
    config |= schedule(**{name: ENTRIES[name]()})
    expected = [at for at, _ in ticked_each_minute(config, start=start, minutes=2880)]
    # Python holds no instant of a fold to be equal to one of another zone.
    assert [at.astimezone(UTC) for at in asked] == [at.astimezone(UTC) for at in sent] == expected
    assert {str(at.tzinfo) for at in asked} == {zone}


def around(name, key, **config):
    zone, start = CHANGES[name]
    with Harness.open(app, start=start, config={**schedule(it=ENTRIES[key]()), "timezone": zone, **config}) as harness:
        return [at.strftime("%d %H:%M%z") for at in harness.beat.simulate(days=2).fires("it")]


@pytest.mark.skipif(
    celery.VERSION < (5, 5, 2), reason="another instant before Celery 5.5.2; see docs/celery-versions.md"
)
def test_what_falls_into_a_gap_is_sent_an_hour_later_by_the_clock_on_the_wall():
    assert around("a gap in Berlin", "0230") == ["29 03:30+0200", "30 02:30+0200"]
    assert around("a gap in New York", "0215") == ["08 03:15-0400", "09 02:15-0400"]
    assert around("half an hour's gap on Lord Howe", "0215") == ["04 02:45+1100", "05 02:15+1100"]


def test_what_comes_twice_in_a_fold_is_sent_once():
    assert around("a fold in Berlin", "0230") == ["25 02:30+0200", "26 02:30+0100"]
    assert around("half an hour's fold on Lord Howe", "0145") == ["05 01:45+1100", "06 01:45+1030"]


def test_an_hour_is_left_out_by_an_hourly_crontab_in_a_fold():
    sent = around("a fold in Berlin", "hourly")
    assert "25 02:00+0200" in sent
    assert "25 02:00+0100" not in sent


def test_zones_are_of_the_app():
    config = {**schedule(noon=crontab(hour=12, minute=0)), "timezone": "Asia/Kathmandu"}
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with Harness.open(app, start=start, config=config) as harness:
        [at] = harness.beat.simulate(days=1).fires("noon")
    assert at.isoformat() == "2030-01-01T12:00:00+05:45"
    assert at == datetime(2030, 1, 1, 6, 15, tzinfo=UTC)


@pytest.mark.parametrize("enable_utc", [True, False])
def test_without_a_zone_it_is_utc_or_the_machines(enable_utc):
    config = {**schedule(noon=crontab(hour=12, minute=0)), "timezone": None, "enable_utc": enable_utc}
    start = datetime(2030, 1, 1, 0, 30, tzinfo=UTC)
    with Harness.open(app, start=start, config=config) as harness:
        [at] = harness.beat.simulate(days=1).fires("noon")
    local = at if enable_utc else at.astimezone()
    assert (local.hour, local.minute) == (12, 0)
    assert [at] == [at for at, _ in ticked_each_minute(config, start=start, minutes=1440)]


# -- downtime


START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "eager", "fakeredis", "redis", "rabbitmq"])
def harness(request, served):
    config = schedule(often=timedelta(minutes=10), hourly=crontab(minute=30))
    with Harness.open(app, served(request.param), start=START, config=config) as harness:
        yield harness


def minutes(instants):
    return [(at - START) / MINUTE for at in instants]


def test_a_beat_that_was_down_sends_each_entry_once_and_then_regularly(harness):
    beat = harness.beat.start()
    harness.clock.advance(minutes=15)
    beat.stop()
    harness.clock.advance(hours=3)
    beat.resume()
    harness.clock.advance(minutes=20)
    assert minutes(beat.fires("often")) == [10, 195, 205, 215]
    assert minutes(beat.skipped("often")) == list(range(20, 190, 10))
    assert minutes(beat.fires("hourly")) == [195, 210]
    assert minutes(beat.skipped("hourly")) == [30, 90]


def test_an_old_last_run_is_caught_up_once(harness):
    beat = harness.beat.start(last_run_at=START - 5 * HOUR)
    harness.clock.advance(minutes=30)
    assert minutes(beat.fires("often")) == [0, 10, 20, 30]
    assert minutes(beat.fires("hourly")) == [0, 30]


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="before Celery 5.7 such an entry holds up the others for a minute")
def test_a_deadline_lets_a_late_crontab_be(harness):
    harness.app.conf.beat_cron_starting_deadline = 600
    beat = harness.beat.start(last_run_at=START - 5 * HOUR)
    harness.clock.advance(minutes=30)
    assert minutes(beat.fires("often")) == [0, 10, 20, 30]
    assert minutes(beat.fires("hourly")) == [30]


def test_two_beats_by_mistake_send_everything_twice(harness):
    first, second = harness.beat.start(), harness.beat.start()
    report = harness.clock.advance(hours=1)
    assert minutes(first.fires("often")) == minutes(second.fires("often")) == list(range(10, 61, 10))
    assert report.counts == {"SUCCESS": 14}
    assert {event.detail["beat"] for event in harness.timeline if event.kind == "beat fire"} == {"beat", "beat2"}


def test_the_second_beat_of_a_deployment_sends_what_the_first_has_sent_while_both_run(harness):
    old = harness.beat.start()
    harness.clock.advance(minutes=25)
    new = harness.beat.start()
    harness.clock.advance(minutes=10)
    old.stop()
    harness.clock.advance(minutes=25)
    assert minutes(old.fires("often")) == [10, 20, 30]
    assert minutes(new.fires("often")) == [35, 45, 55]
    assert minutes(old.fires("hourly")) == minutes(new.fires("hourly")) == [30]
