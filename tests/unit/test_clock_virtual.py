"""The clock that users hold, and the time beneath it."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from freezegun import freeze_time

from pytest_taskharness.clock.virtual import Clock, VirtualTime
from pytest_taskharness.errors import TimeTravelError

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(params=["freezegun", "time-machine"])
def time(request):
    virtual = VirtualTime(START, library=request.param)
    yield virtual
    virtual.close()


@pytest.fixture
def clock(time):
    def run_until(moment):
        time.move_to(moment)
        return moment

    return Clock(time, run_until)


def refused(move, *args, **kwargs):
    with pytest.raises(TimeTravelError) as caught:
        move(*args, **kwargs)
    return str(caught.value)


def test_time_starts_where_it_was_told_to_and_stands_still(time):
    assert [time.now, time.now, time.start] == [START, START, START]
    assert datetime.now(timezone.utc) == START


def test_moving_moves_the_clock_of_the_process(time):
    time.move_to(START + timedelta(hours=1, microseconds=1))

    assert datetime.now(timezone.utc) == START + timedelta(hours=1, microseconds=1)
    assert time.monotonic() == 3600.000001


def test_a_test_that_turns_the_calendar_back_turns_back_no_monotonic_clock(time):
    time.move_to(START + timedelta(seconds=5))
    assert time.monotonic() == 5

    with freeze_time(START - timedelta(days=365)):
        assert time.monotonic() == 5
        time.move_to(START - timedelta(days=364))
        assert time.monotonic() == 86405


@pytest.mark.parametrize(
    "given, meant",
    [(60, "clock.advance(seconds=60)"), (timedelta(hours=1), "clock.advance_to(clock.now + …)")],
)
def test_a_number_without_its_unit_is_told_how_to_name_it(clock, given, meant):
    assert meant in refused(clock.advance, given)


def test_moving_to_the_past_is_no_move(time):
    moves = []
    time.on_move = lambda before, after: moves.append((before, after))

    time.move_to(START - timedelta(seconds=1))
    time.move_to(START)

    assert (time.now, moves) == (START, [])


def test_each_move_is_told_once_with_both_ends(time):
    moves = []
    time.on_move = lambda before, after: moves.append((before, after))

    time.move_to(START + timedelta(seconds=1))

    assert moves == [(START, START + timedelta(seconds=1))]


def test_now_is_aware_and_no_subclass_of_the_freezer(time):
    assert type(time.now).__mro__[1:] == type(START).__mro__[1:]
    assert time.now.tzinfo is timezone.utc


def test_microseconds_of_the_start_survive(time):
    start = datetime(2031, 5, 6, 7, 8, 9, 123_457, tzinfo=timezone.utc)
    inner = VirtualTime(start)

    assert inner.now == start
    inner.close()
    assert time.now == START


def test_closing_gives_the_real_clock_back():
    for library in ("freezegun", "time-machine"):
        VirtualTime(START, library=library).close()

        assert datetime.now(timezone.utc).year < 2030


def test_closing_twice_is_fine(time):
    inner = VirtualTime(START + timedelta(days=1))
    inner.close()
    inner.close()

    assert time.now == START


def test_advance_takes_what_timedelta_takes(clock):
    assert clock.advance(hours=1, minutes=30) == START + timedelta(minutes=90)
    assert clock.now == START + timedelta(minutes=90)


def test_advance_by_nothing_drives_what_is_due_now(clock):
    assert clock.advance() == START


def test_advance_to_takes_any_zone(clock):
    moment = datetime(2030, 1, 1, 5, tzinfo=timezone(timedelta(hours=2)))

    clock.advance_to(moment)

    assert clock.now == START + timedelta(hours=3)
    assert repr(clock) == "<Clock 2030-01-01T03:00:00+00:00>"


def test_advance_to_now_is_allowed(clock):
    assert clock.advance_to(clock.now) == START


def test_advancing_backwards_is_refused(clock):
    assert refused(clock.advance, minutes=-5) == (
        "clock.advance(minutes=-5) would move the clock back by 0:05:00. Virtual time only moves forward; start a test "
        "earlier with @pytest.mark.taskharness(start=…)."
    )


def test_a_negative_part_of_a_positive_sum_is_fine(clock):
    clock.advance(hours=1, minutes=-5)

    assert clock.now == START + timedelta(minutes=55)


def test_advance_to_the_past_is_refused(clock):
    assert refused(clock.advance_to, START - timedelta(days=1)) == (
        "clock.advance_to(2029-12-31T00:00:00+00:00) would move the clock back by 1 day, 0:00:00: it is "
        "2030-01-01T00:00:00+00:00 now, and virtual time only moves forward."
    )


def test_a_naive_moment_is_refused(clock):
    text = refused(clock.advance_to, datetime(2031, 1, 1))

    assert text.startswith("clock.advance_to() takes an aware datetime; ")
    assert text.endswith(
        "(2031, 1, 1, 0, 0) is naive. Give it a zone, for instance moment.replace(tzinfo=timezone.utc)."
    )


@pytest.mark.parametrize("moment", ["2031-01-01", 5, None, date(2031, 1, 1), timedelta(1)])
def test_a_moment_that_is_no_datetime_is_refused(clock, moment):
    assert refused(clock.advance_to, moment).startswith("clock.advance_to() takes an aware datetime; given: ")


@pytest.mark.parametrize("name, meant", [("hour", "hours"), ("second", "seconds"), ("mins", "minutes")])
def test_a_misspelt_unit_is_answered_with_the_one_that_was_meant(clock, name, meant):
    assert refused(clock.advance, **{name: 1}) == (
        f"clock.advance({name}=1): {name!r} is no unit of time. Did you mean {meant!r}? It takes weeks, days, hours, "
        "minutes, seconds, milliseconds and microseconds, each a number."
    )


def test_a_unit_that_resembles_none_lists_them(clock):
    assert refused(clock.advance, fortnights=1) == (
        "clock.advance(fortnights=1): 'fortnights' is no unit of time. It takes weeks, days, hours, minutes, seconds, "
        "milliseconds and microseconds, each a number."
    )


@pytest.mark.parametrize("value", ["1", None, float("inf"), float("nan"), 1e300, 10**12])
def test_an_amount_that_is_no_usable_number_is_refused(clock, value):
    assert refused(clock.advance, days=value).startswith(f"clock.advance(days={value!r}): ")


def test_beyond_the_last_year_is_refused(clock):
    assert refused(clock.advance, days=365 * 9000).startswith("clock.advance(days=3285000): ")
