"""Sharing a clock that the test has frozen already."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from freezegun import freeze_time

from pytest_taskharness.clock import freezer
from pytest_taskharness.clock.freezer import Freezer
from pytest_taskharness.clock.real import EPOCH, Real, plain
from pytest_taskharness.errors import ConfigurationError

OURS = datetime(2030, 1, 1, tzinfo=timezone.utc)
THEIRS = datetime(2001, 1, 1, tzinfo=timezone.utc)

FREEZERS = {
    "freezegun": lambda: freeze_time(THEIRS),
    "time-machine": lambda: time_machine.travel(THEIRS, tick=False),
}
TICKERS = {
    "freezegun": lambda: freeze_time(THEIRS, tick=True),
    "time-machine": lambda: time_machine.travel(THEIRS, tick=True),
}


@pytest.fixture
def opened():
    freezers = []

    def opened(*args, **kwargs):
        freezers.append(Freezer(*args, **kwargs))
        return freezers[-1]

    yield opened
    for each in reversed(freezers):
        each.close()


def test_time_machine_is_the_default_where_it_is_installed(monkeypatch):
    assert freezer.default_library() == "time-machine"
    monkeypatch.setattr(freezer, "find_spec", lambda name: None)
    assert freezer.default_library() == "freezegun"


def test_time_machine_must_be_installed_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(freezer, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError) as caught:
        Freezer(library="time-machine")

    assert str(caught.value) == (
        "clock='time-machine' needs the extra of that name: pip install 'pytest-taskharness[time-machine]'."
    )


@pytest.mark.parametrize("library", FREEZERS)
def test_a_frozen_test_shares_its_clock(opened, library):
    with FREEZERS[library]():
        ours = opened(library="time-machine")

        assert (ours.shared, ours.library, ours.now()) == (True, library, THEIRS)
        ours.shift(timedelta(hours=1))
        assert datetime.now(timezone.utc) == THEIRS + timedelta(hours=1)
        ours.close()
        assert datetime.now(timezone.utc) == THEIRS + timedelta(hours=1)
    assert datetime.now(timezone.utc).year > 2001


@pytest.mark.parametrize("library", FREEZERS)
def test_a_move_of_the_users_own_freezer_is_seen(opened, library):
    with FREEZERS[library]() as theirs:
        ours = opened()
        theirs.move_to(THEIRS + timedelta(days=1))

        assert ours.now() == THEIRS + timedelta(days=1)


@pytest.mark.parametrize("library", FREEZERS)
def test_an_explicit_start_gets_a_layer_of_its_own_in_the_users_library(opened, library):
    with FREEZERS[library]():
        ours = opened(OURS, library="time-machine")

        assert (ours.shared, ours.library, ours.now()) == (False, library, OURS)
        ours.close()
        assert datetime.now(timezone.utc) == THEIRS


@pytest.mark.parametrize("library", TICKERS)
def test_a_ticking_clock_stops_while_we_are_open(opened, library):
    with TICKERS[library]():
        ours = opened()

        first = datetime.now(timezone.utc)
        until = Real.monotonic() + 0.002
        while Real.monotonic() < until:
            pass
        assert (ours.shared, first.year) == (False, 2001)
        assert datetime.now(timezone.utc) == first
        ours.close()
        assert datetime.now(timezone.utc) != first


def test_a_freeze_that_begins_while_we_are_open_takes_over(opened):
    ours = opened(OURS, library="freezegun")
    with freeze_time(THEIRS):
        assert ours.now() == THEIRS
        ours.shift(timedelta(seconds=5))
        assert ours.now() == THEIRS + timedelta(seconds=5)
    assert ours.now() == OURS


@pytest.mark.parametrize("library", ["freezegun", "time-machine"])
def test_the_offset_of_local_time_stays_the_machines(opened, library):
    real = time.localtime(1_900_000_000).tm_gmtoff
    opened(EPOCH + timedelta(seconds=1_900_000_000), library=library)

    assert datetime.now() - datetime.now(timezone.utc).replace(tzinfo=None) == timedelta(seconds=real)


def test_the_process_time_zone_is_left_alone(opened, monkeypatch):
    before = time.tzname

    opened(OURS, library="time-machine")

    assert time.tzname == before


def test_real_monotonic_time_goes_on(opened):
    opened(OURS, library="freezegun")
    first = Real.monotonic()
    while Real.monotonic() == first:
        pass
    assert Real.monotonic() > first


def test_plain_makes_a_real_datetime_in_utc():
    with freeze_time(OURS):
        moment = plain(datetime.now(timezone(timedelta(hours=1))))

    assert type(moment) is Real.datetime
    assert (moment, moment.tzinfo) == (OURS, timezone.utc)


def test_plain_takes_a_naive_datetime_for_utc():
    assert plain(datetime(2030, 1, 1)) == OURS
