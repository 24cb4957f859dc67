"""The quick way through time finds what Celery's own ticks find."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import Scheduler
from celery.schedules import crontab, schedule, solar
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_taskharness.beat.fires import Fires
from pytest_taskharness.beat.question import asking_at, look_plainly
from pytest_taskharness.beat.quick import can_be_quick, look_quickly
from pytest_taskharness.beat.service import _make_exact
from pytest_taskharness.beat.ticking import KNOWS_WHEN
from pytest_taskharness.errors import RunBudgetExceeded

#: Each with instants (UTC) at which its clocks are set.
ZONES = {
    "UTC": [(2030, 1, 1, 0)],
    "Asia/Kolkata": [(2030, 1, 1, 0)],
    "Europe/Berlin": [(2030, 3, 31, 1), (2030, 10, 27, 1)],
    "America/New_York": [(2030, 3, 10, 7), (2030, 11, 3, 6)],
    "Australia/Lord_Howe": [(2030, 4, 6, 15), (2030, 10, 5, 15)],
}


def scheduler_of(entries, *, zone="UTC", enable_utc=True):
    app = Celery("quick", set_as_current=False)
    app.conf.update(timezone=zone, enable_utc=enable_utc)
    app.conf.beat_schedule = {name: {"task": "t", "schedule": each} for name, each in entries.items()}
    app.conf.result_expires = None
    scheduler = Scheduler(app=app)
    _make_exact(scheduler)
    return scheduler


def looked(look, start, make, **delta):
    """The fires, and what was skipped, of one way to look."""
    with asking_at(start) as clock:
        scheduler = make()
        fires = Fires(scheduler.app.timezone, scheduler.schedule)
        options = {"start": start} if look is look_quickly else {"clock": clock}
        look(scheduler, fires, end=start + timedelta(**delta), **options)
    return {name: (fires.fires(name), fires.skipped(name)) for name in fires.counts}


cron_part = st.sampled_from(["*", "0", "*/7", "30", "5,35,50"])
crontabs = st.builds(
    dict,
    minute=cron_part,
    hour=st.sampled_from(["*", "0", "1", "2", "2,3", "*/5", "13"]),
    day_of_week=st.sampled_from(["*", "*", "*", "sun", "mon-fri"]),
    day_of_month=st.sampled_from(["*", "*", "*", "1", "27,31", "1-15"]),
)
minutes = st.sampled_from([7, 20, 60, 90, 24 * 60])
recipes = st.one_of(
    st.tuples(st.just("crontab"), crontabs),
    st.tuples(st.just("interval"), minutes),
    st.tuples(st.just("relative"), minutes),
)


def made(recipe):
    kind, given_ = recipe
    if kind == "crontab":
        return crontab(**given_)
    return schedule(timedelta(minutes=given_), relative=kind == "relative")


@st.composite
def starts(draw):
    zone = draw(st.sampled_from(sorted(ZONES)))
    change = datetime(*draw(st.sampled_from(ZONES[zone])), tzinfo=timezone.utc)
    before = draw(st.integers(0, 10 * 60))
    seconds = draw(st.sampled_from([0, 0, 17]))
    return zone, change - timedelta(minutes=before, seconds=seconds)


@settings(max_examples=40, deadline=None)
@given(st.lists(recipes, min_size=1, max_size=4), starts(), st.booleans())
@example(
    [("crontab", {"minute": "30", "hour": "2"}), ("interval", 20)],
    ("Europe/Berlin", datetime(2030, 3, 30, 20, tzinfo=timezone.utc)),
    True,
)
@example([("crontab", {})], ("Europe/Berlin", datetime(2030, 10, 26, 23, tzinfo=timezone.utc)), True)
def test_they_find_the_same(given_recipes, start, enable_utc):
    zone, instant = start
    entries = {f"e{number}": recipe for number, recipe in enumerate(given_recipes)}

    def make():
        schedules = {name: made(recipe) for name, recipe in entries.items()}
        return scheduler_of(schedules, zone=zone, enable_utc=enable_utc)

    try:
        plain = looked(look_plainly, instant, make, hours=20)
    except RunBudgetExceeded:  # some versions send an entry without end when the clocks are set back
        with pytest.raises(RunBudgetExceeded):
            looked(look_quickly, instant, make, hours=20)
        return
    assert looked(look_quickly, instant, make, hours=20) == plain


def ticked_by_the_minute(start, make, *, hours):
    """Celery's scheduler, looked at once a minute, as a clock on the wall would have it."""
    sent = {}
    with asking_at(start) as clock:
        scheduler = make()
        scheduler.__dict__["producer"] = None
        zone = scheduler.app.timezone
        scheduler.apply_async = lambda entry, **_: sent.setdefault(entry.name, []).append(clock.now().astimezone(zone))
        for _ in range(hours * 60 + 1):
            count = -1
            while count != (count := sum(map(len, sent.values()))):
                scheduler.tick()
            clock.shift(timedelta(minutes=1))
    return sent


@pytest.mark.skipif(
    not KNOWS_WHEN, reason="before Celery 5.7 it depends on when a tick looks across a change of clocks"
)
@pytest.mark.parametrize("zone", sorted(ZONES))
def test_nor_does_celery_looked_at_by_the_minute(zone):
    for change in ZONES[zone]:
        start = datetime(*change, tzinfo=timezone.utc) - timedelta(hours=3)

        def make():
            return scheduler_of(
                {"half": crontab(minute="30", hour="2"), "often": crontab(minute="*/10"), "two": crontab(0, "2")},
                zone=zone,
            )

        found = looked(look_quickly, start, make, hours=8)
        assert {name: fires for name, (fires, _) in found.items() if fires} == ticked_by_the_minute(
            start, make, hours=8
        )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_nor_where_clocks_are_never_set(zone):
    start = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def make():
        return scheduler_of({"often": crontab(minute="*/10"), "two": crontab(0, "2"), "every": 120}, zone=zone)

    found = looked(look_quickly, start, make, hours=8)
    assert {name: fires for name, (fires, _) in found.items() if fires} == ticked_by_the_minute(start, make, hours=8)


def test_the_sun_is_asked_as_celery_asks_it():
    def make():
        return scheduler_of({"dawn": solar("sunrise", 52.5, 13.4), "noon": solar("solar_noon", 52.5, 13.4)})

    start = datetime(2030, 6, 1, tzinfo=timezone.utc)
    quick = looked(look_quickly, start, make, hours=50)
    assert quick == looked(look_plainly, start, make, hours=50)
    assert len(quick["dawn"][0]) == 2


class Patient(crontab):
    """Somebody's own."""


@pytest.mark.parametrize("entry, is_quick", [
    (crontab(), True), (60, True), (Patient(), False), (crontab(nowfun=lambda: datetime.now(ZoneInfo("UTC"))), False),
])  # fmt: skip
def test_what_may_decide_otherwise_is_asked_at_each_tick(entry, is_quick):
    assert can_be_quick(scheduler_of({"e": entry})) is is_quick


def test_a_schedule_that_a_test_has_replaced_is_asked_at_each_tick(monkeypatch):
    monkeypatch.setattr(crontab, "is_due", lambda self, last: (False, 60))
    assert not can_be_quick(scheduler_of({"e": 60}))
