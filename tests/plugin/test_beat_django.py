"""django-celery-beat: its schedule is a table of the test's own database."""

from __future__ import annotations

import pytest

SETTINGS = """
SECRET_KEY = "a test"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_celery_beat"]
CELERY_BROKER_URL = "redis://nowhere.invalid:1/0"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
"""

SHOP = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django
from celery import Celery

django.setup()
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def count(what="stock"):
    return what


@app.task
def disable(name):
    from django_celery_beat.models import PeriodicTask

    task = PeriodicTask.objects.get(name=name)
    task.enabled = False
    task.save()
"""

CONFTEST = """
from datetime import datetime, timedelta, timezone

import pytest

from pytest_taskharness.process.between.faketime import find_library
import shop
from django.core.management import call_command
from django.db import transaction
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from pytest_taskharness import Harness

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="session")
def tables():
    call_command("migrate", verbosity=0)


@pytest.fixture(params=["memory", "eager", "fakeredis", "redis"])
def mode(request):
    return request.param


@pytest.fixture
def every_mode(tables, mode):
    with transaction.atomic(), Harness.open(shop.app, mode, start=START) as harness:
        yield harness
        transaction.set_rollback(True)


@pytest.fixture
def harness(tables):
    with transaction.atomic(), Harness.open(shop.app, start=START) as harness:
        yield harness
        transaction.set_rollback(True)


def add(name, schedule, task="shop.count", **fields):
    kind = {CrontabSchedule: "crontab", IntervalSchedule: "interval", ClockedSchedule: "clocked"}[type(schedule)]
    return PeriodicTask.objects.create(name=name, task=task, **{kind: schedule}, **fields)


def every(minutes):
    return IntervalSchedule.objects.get_or_create(every=minutes, period="minutes")[0]


def crontab(**fields):
    return CrontabSchedule.objects.create(timezone="UTC", **fields)


def minutes(instants):
    return [(at - START) / MINUTE for at in instants]
"""


@pytest.fixture
def shop(project):
    """A Django project whose schedule is a table."""

    def run(tests, *, passed):
        project.file(settings=SETTINGS, shop=SHOP, conftest=CONFTEST, test_schedule=tests)
        project.run().assert_outcomes(passed=passed)

    return run


def test_entries_of_every_kind(shop):
    shop(
        """
        from conftest import *

        def test_interval_and_crontab(every_mode):
            harness = every_mode
            add("often", every(10))
            add("at half past", crontab(minute="30", hour="*"), args='["half"]')
            beat = harness.beat.start()
            harness.clock.advance(hours=2)
            assert minutes(beat.fires("often")) == list(range(10, 121, 10))
            assert minutes(beat.fires("at half past")) == [30, 90]
            assert [run.args for run in harness.runs("shop.count")].count(("half",)) == 2

        def test_a_crontab_that_is_far_away_is_found_in_time(harness):
            add("at noon", crontab(minute="0", hour="12"))
            beat = harness.beat.start()
            harness.clock.advance(hours=13)
            assert minutes(beat.fires("at noon")) == [720]

        def test_clocked_runs_once(harness):
            add("once", ClockedSchedule.objects.create(clocked_time=START + 7 * MINUTE), one_off=True)
            beat = harness.beat.start()
            harness.clock.advance(hours=1)
            assert minutes(beat.fires("once")) == [7]

        def test_one_off(harness):
            add("once", every(10), one_off=True)
            beat = harness.beat.start()
            harness.clock.advance(hours=1)
            assert minutes(beat.fires("once")) == [10]
            assert not PeriodicTask.objects.get(name="once").enabled

        def test_start_time_and_expires(harness):
            add("late", every(10), start_time=START + 25 * MINUTE)
            add("ends", every(10), expires=START + 25 * MINUTE)
            beat = harness.beat.start()
            harness.clock.advance(hours=1)
            assert minutes(beat.fires("late"))[0] == 25
            assert minutes(beat.fires("ends")) == [10, 20]
        """,
        passed=8,
    )


def test_the_table_is_written_and_read_while_it_runs(shop):
    shop(
        """
        from conftest import *

        def test_what_the_test_adds_is_noticed_within_five_seconds(every_mode):
            harness = every_mode
            beat = harness.beat.start()
            harness.clock.advance(minutes=1)
            add("added", every(10))
            harness.clock.advance(minutes=30)
            assert minutes(beat.fires("added")) == [11, 21, 31]

        def test_what_a_body_changes_too(harness):
            add("often", every(1))
            beat = harness.beat.start()
            shop.disable.apply_async(("often",), countdown=150)
            harness.clock.advance(minutes=10)
            assert minutes(beat.fires("often")) == [1, 2]

        def test_runs_are_counted_in_the_table(harness):
            add("often", every(1))
            with harness.beat.start():
                harness.clock.advance(minutes=10)
            often = PeriodicTask.objects.get(name="often")
            assert (often.total_run_count, often.last_run_at) == (10, START + 10 * MINUTE)

        def test_two_beats_by_mistake_send_everything_twice(every_mode):
            harness = every_mode
            add("often", every(1))
            first, second = harness.beat.start(), harness.beat.start()
            harness.clock.advance(minutes=10)
            assert minutes(first.fires("often")) == minutes(second.fires("often")) == list(range(1, 11))

        def test_an_old_last_run_is_caught_up_once(harness):
            add("often", every(60), last_run_at=START - timedelta(hours=5))
            beat = harness.beat.start()
            harness.clock.advance(hours=2)
            assert minutes(beat.fires("often")) == [0, 60, 120]
            assert minutes(beat.skipped("often")) == [-240, -180, -120, -60]
        """,
        passed=11,
    )


def test_a_question_writes_nothing(shop):
    shop(
        """
        from conftest import *

        def rows():
            return list(PeriodicTask.objects.order_by("name").values())

        def test_question(harness):
            add("often", every(10))
            add("once", every(10), one_off=True)
            before = rows()
            simulation = harness.beat.simulate(hours=5)
            assert (len(simulation.fires("often")), simulation.counts["once"]) == (30, 1)
            assert rows() == before
            assert (harness.clock.now, harness.outbox) == (START, [])

        def test_question_about_another_day(harness):
            later = START + timedelta(days=100)
            add("at noon", crontab(minute="0", hour="12"), last_run_at=later - timedelta(hours=12))
            simulation = harness.beat.simulate(start=later, hours=15)
            assert simulation.fires("at noon") == [later + timedelta(hours=12)]

        def test_left_out_polls_make_no_difference(harness, monkeypatch):
            from pytest_taskharness.beat import database

            def asked():
                counts = harness.beat.simulate(minutes=40)
                return {name: counts.fires(name) for name in counts.counts}

            add("often", every(7))
            add("late", every(10), start_time=START + 13 * MINUTE + timedelta(seconds=2))
            add("ends", every(3), expires=START + 10 * MINUTE)
            add("once", ClockedSchedule.objects.create(clocked_time=START + 31 * MINUTE), one_off=True)
            quick = asked()
            monkeypatch.setattr(database._Polling, "longest_sleep", lambda self, interval, now: interval)
            assert asked() == quick
            assert min(map(len, quick.values())) == 0 < len(quick["ends"])

        def test_outside_of_a_transaction(tables):
            with Harness.open(shop.app, start=START) as harness:
                task = add("often", every(10))
                before = rows()
                harness.beat.simulate(hours=1)
                assert rows() == before
                task.delete()
        """,
        passed=4,
    )


def test_a_real_worker_with_a_beat_that_reads_the_table(project, libfaketime):
    project.file(
        settings=SETTINGS.replace(":memory:", "shop.sqlite3"),
        shop=SHOP,
        conftest=CONFTEST,
        test_schedule="""
        from conftest import *

        def test_real_beat(tables):
            add("often", every(1))
            with Harness.open(shop.app, "redis+process", start=START) as harness:
                PeriodicTask.objects.update(last_run_at=START)
                harness.worker("w", arguments=["-B"])
                harness.clock.advance(minutes=2)
                fires = [event for event in harness.timeline if event.kind == "beat fire"]
                assert minutes(event.at for event in fires) == [1, 2]
                assert len(harness.runs("shop.count")) == 2
                PeriodicTask.objects.get(name="often").delete()
                harness.clock.advance(minutes=2)
                assert len(harness.runs("shop.count")) == 2
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_a_database_in_a_file_is_not_closed_in_the_middle_of_the_tests_transaction(project):
    project.file(settings=SETTINGS.replace(":memory:", "shop.sqlite3"), shop=SHOP, conftest=CONFTEST)
    project.file(
        test_open="""
        import shop
        from django.db import close_old_connections, transaction
        from django_celery_beat import schedulers
        from pytest_taskharness import Harness

        def test_open(tables):
            with transaction.atomic(), Harness.open(shop.app, config={"beat_schedule": {}}) as harness:
                harness.beat.simulate(hours=1, scheduler="django")
                with harness.beat.start("django"):
                    harness.clock.advance(hours=1)
                transaction.set_rollback(True)
            assert schedulers.close_old_connections is close_old_connections
        """
    )
    project.run().assert_outcomes(passed=1)
