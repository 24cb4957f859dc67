"""A clock that leaves the process between two tests, and comes back."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest
from freezegun import freeze_time

from pytest_taskharness.clock.virtual import VirtualTime

YEAR = timedelta(days=365)


@pytest.fixture(params=["freezegun", "time-machine"])
def clock(request):
    virtual = VirtualTime(library=request.param)
    yield virtual
    virtual.close()


def test_the_process_has_its_own_clock_meanwhile(clock):
    clock.move_to(clock.now + YEAR)
    clock.leave()

    assert clock.is_away
    assert datetime.now(timezone.utc) < clock.now - YEAR / 2


def test_it_goes_on_where_it_was(clock):
    clock.move_to(clock.now + YEAR)
    left = clock.now
    clock.leave()
    clock.come_back()

    assert (clock.now, datetime.now(timezone.utc)) == (left, left)
    assert time.time() == left.timestamp()


def test_it_is_never_earlier_than_the_real_one(clock):
    clock.leave()
    between = datetime.now(timezone.utc)
    clock.come_back()

    assert clock.now >= between


def test_its_seconds_only_grow(clock):
    clock.move_to(clock.now + YEAR)
    before = clock.monotonic()
    clock.leave()
    clock.come_back()

    assert clock.monotonic() >= before == YEAR.total_seconds()


def test_it_shares_the_clock_of_a_test_that_has_frozen_it(clock):
    clock.leave()
    with freeze_time("2020-01-01"):
        clock.come_back()
        assert clock.now == datetime(2020, 1, 1, tzinfo=timezone.utc)
        clock.leave()
    clock.come_back()

    assert clock.now.year > 2020
