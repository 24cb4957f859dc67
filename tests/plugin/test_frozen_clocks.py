"""Tests that freeze time themselves, around, beside and inside a harness."""

from __future__ import annotations

import pytest

LIBRARIES = ["freezegun", "time-machine"]

HEAD = """
import time
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from freezegun import freeze_time
from shop import add, app

def now():
    return datetime.now(timezone.utc)

THEN = datetime(2001, 2, 3, tzinfo=timezone.utc)
"""


@pytest.fixture(params=LIBRARIES)
def library(request):
    """What the harness freezes with."""
    return request.param


@pytest.fixture
def shop(project, library):
    """A project whose harness freezes with either library where the test has not frozen yet."""
    project.file(
        conftest=f"""
        from pytest_taskharness.clock import freezer

        freezer.default_library = lambda: {library!r}
    """
    )
    return lambda source, *args: project.test(HEAD + source, *args)


FREEZES = {"freezegun": "freeze_time(THEN)", "time-machine": "time_machine.travel(THEN, tick=False)"}


#: time-machine refuses to start inside freezegun; but who has time-machine has a harness on time-machine.
inside = pytest.mark.parametrize(
    "library, theirs", [("freezegun", "freezegun"), ("time-machine", "freezegun"), ("time-machine", "time-machine")]
)


@inside
def test_a_decorator_around_the_test_takes_over_from_the_fixture(shop, theirs):
    """The fixture is older than the decorator's clock: the test sees its own, and so does the worker."""
    result = shop(f"""
@{FREEZES[theirs]}
def test_frozen(harness):
    assert now() == THEN
    assert harness.clock.now == THEN
    result = add.apply_async((1, 2), countdown=60)
    harness.clock.advance(minutes=1)
    assert result.get() == 3
    assert now() == THEN + timedelta(minutes=1)
    assert harness.run_of(result).started_at == THEN + timedelta(minutes=1)

def test_afterwards():
    assert now().year > 2001
""")

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("theirs", LIBRARIES)
def test_a_fixture_that_froze_first_is_shared(shop, theirs):
    result = shop(f"""
@pytest.fixture
def frozen():
    with {FREEZES[theirs]} as frozen:
        yield frozen

def test_shared(frozen, harness):
    assert harness.clock.now == THEN
    harness.clock.advance(days=1)
    assert now() == THEN + timedelta(days=1)
    frozen.move_to(THEN + timedelta(days=2))
    assert harness.clock.now == THEN + timedelta(days=2)
    assert add.delay(1, 2).get() == 3

def test_afterwards():
    assert now().year > 2001
""")

    result.assert_outcomes(passed=2)


@inside
def test_a_clock_that_the_user_moves_makes_what_is_due_run(shop, theirs):
    result = shop(f"""
def test_moved(harness):
    with {FREEZES[theirs]} as frozen:
        result = add.apply_async((1, 2), countdown=60)
        frozen.move_to(THEN + timedelta(minutes=1))
        harness.drain()
        assert harness.run_of(result).result == 3
""")

    result.assert_outcomes(passed=1)


def test_freezes_inside_a_test_come_and_go(shop):
    result = shop("""
@pytest.mark.taskharness(start="2030-01-01T00:00Z")
def test_inside(harness):
    with freeze_time("2040-01-01"):
        assert harness.clock.now.year == 2040
        assert add.delay(1, 2).get() == 3
    assert harness.clock.now.year == now().year == 2030
    assert add.delay(1, 2).get() == 3

def test_afterwards():
    assert now().year not in (2030, 2040)
""")

    result.assert_outcomes(passed=2)


def test_every_reader_of_the_clock_agrees(shop):
    result = shop("""
from datetime import date
from time import time as imported

@pytest.mark.taskharness(start="2030-01-01T12:00:00Z")
def test_readers(harness):
    seconds = 1_893_499_200 + 3600
    harness.clock.advance(hours=1)
    assert now() == harness.clock.now == datetime(2030, 1, 1, 13, tzinfo=timezone.utc)
    assert time.time() == seconds
    assert imported() == seconds
    assert time.time_ns() == seconds * 10**9
    assert time.gmtime().tm_year == date.today().year == 2030
    assert app.now() == harness.clock.now
""")

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_local_time_is_that_of_the_machine(shop, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    result = shop(f"""
import os

@pytest.mark.taskharness(start="2030-07-01T12:00:00Z")
def test_local(harness):
    offset = {{"UTC": 0, "America/New_York": -4, "Asia/Kolkata": 5.5}}[{zone!r}]
    assert datetime.now() == datetime(2030, 7, 1, 12) + timedelta(hours=offset)
    assert os.environ["TZ"] == {zone!r}

def test_afterwards():
    assert abs(datetime.now().astimezone() - now()) < timedelta(minutes=1)
""")

    result.assert_outcomes(passed=2)


def test_sleeping_in_tests_and_tasks_costs_nothing(shop):
    result = shop("""
from time import sleep

@app.task
def slow():
    sleep(600)
    time.sleep(600)
    return now()

@pytest.mark.taskharness(start="2030-01-01T00:00Z")
def test_sleep(harness):
    assert slow.delay().get() == datetime(2030, 1, 1, 0, 20, tzinfo=timezone.utc)
    time.sleep(3600)
    assert harness.clock.now == datetime(2030, 1, 1, 1, 20, tzinfo=timezone.utc)
""")

    result.assert_outcomes(passed=1)
    [summary] = [line for line in result.outlines if "1 passed" in line]
    assert float(summary.partition(" in ")[2].partition("s")[0]) < 60


def test_the_clock_starts_at_the_real_now(shop):
    result = shop("""
BEFORE = now()

def test_now(harness):
    assert BEFORE - timedelta(seconds=1) <= harness.clock.now <= BEFORE + timedelta(minutes=1)
    assert harness.clock.now == harness.clock.now
""")

    result.assert_outcomes(passed=1)


def test_a_class_decorated_with_freeze_time(shop):
    result = shop("""
import unittest

@freeze_time("2001-02-03")
class TestFrozen:
    def test_frozen(self, harness):
        assert harness.clock.now == now() == THEN
        assert add.delay(1, 2).get() == 3
""")

    result.assert_outcomes(passed=1)


def test_durations_under_the_users_own_freezegun_fixture_are_not_our_business_but_nothing_breaks(shop):
    result = shop(
        """
@pytest.fixture
def freezer():
    with freeze_time(THEN) as frozen:
        yield frozen

def test_one(freezer, harness):
    freezer.tick(timedelta(hours=1))
    assert add.delay(1, 2).get() == 3
""",
        "--durations=3",
    )

    result.assert_outcomes(passed=1)


def test_it_makes_no_difference_which_library_froze_first(project):
    result = project.test(
        """
        import time
        from time import monotonic
        import pytest
        from pytest_taskharness import Harness
        from shop import app

        @pytest.mark.parametrize("library", ["freezegun", "time-machine", "freezegun", "time-machine"])
        def test_monotonic_clocks_are_virtual(library):
            with Harness.open(app, clock=library):
                first, second = time.monotonic(), monotonic()
                time.sleep(30)
                assert round(time.monotonic() - first, 6) == round(monotonic() - second, 6) == 30
        """
    )

    result.assert_outcomes(passed=4)
