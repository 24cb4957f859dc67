"""A Django project: the settings' namespace, and the database connection of the test."""

from __future__ import annotations

from pytest_taskharness.servers.redis import find_binary

SETTINGS = """
SECRET_KEY = "a test"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
CELERY_BROKER_URL = "amqp://nobody@nowhere.invalid//"
CELERY_RESULT_BACKEND = "redis://nowhere.invalid/0"
CELERY_TASK_ALWAYS_EAGER = True
"""

SHOP = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

from celery import Celery
from django.db import connection

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def order(number):
    with connection.cursor() as cursor:
        cursor.execute("insert into orders values (%s)", [number])
"""


def test_a_body_uses_the_tests_own_database_connection(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_orders="""
        from django.db import connection
        from shop import order

        def test_order(harness):
            with connection.cursor() as cursor:
                cursor.execute("create table orders (number integer)")
                order.delay(7)
                assert cursor.execute("select count(*) from orders").fetchone() == (0,)
                harness.settle()
                # Celery's Django fixup closes connections around each task: an in-memory database would be gone.
                assert cursor.execute("select number from orders").fetchall() == [(7,)]
        """,
    )

    project.run().assert_outcomes(passed=1)


def test_settings_in_a_namespace_are_overridden_and_put_back(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_settings="""
        from pytest_taskharness import Harness
        from shop import app

        def test_settings():
            with Harness.open(app):
                assert app.conf.broker_url.startswith("taskharness-memory://")
                assert app.conf.task_always_eager is False
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
            assert app.conf.task_always_eager is True
        """,
    )

    project.run().assert_outcomes(passed=1)


def test_copies_at_once_are_refused_what_the_test_has_not_committed(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_orders="""
        import pytest
        from django.db import connection, transaction
        from pytest_taskharness.errors import FidelityError
        from shop import order

        def rows():
            with connection.cursor() as cursor:
                return cursor.execute("select number from orders").fetchall()

        def clear():
            with connection.cursor() as cursor:
                cursor.execute("create table if not exists orders (number integer)")
                cursor.execute("delete from orders")

        def test_order(harness):
            with transaction.atomic(), pytest.raises(FidelityError, match="'default' while the test has a transaction"):
                harness.assert_idempotent(order.s(7), observe=rows, reset=clear, plans="together")
        """,
    )

    project.run().assert_outcomes(passed=1)


def test_what_waits_for_a_commit_that_never_comes_is_told(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_orders="""
        import pytest
        from django.db import transaction
        from shop import order

        def sign_up():
            transaction.on_commit(lambda: order.delay(7))

        @pytest.mark.parametrize("look", ["assert_enqueued", "run_of"])
        def test_forgotten(harness, look):
            with transaction.atomic():
                sign_up()
                with pytest.raises((AssertionError, LookupError), match="1 call of .*on_commit.*captureOnCommit"):
                    getattr(harness, look)(order.s(7))
                transaction.set_rollback(True)

        def test_nothing_waits(harness):
            with transaction.atomic(), pytest.raises(AssertionError) as caught:
                harness.assert_enqueued(order.s(7))
            assert "commit" not in str(caught.value)
        """,
    )

    project.run().assert_outcomes(passed=3)


RECEIPT = """
from shop import app, connection

@app.task
def receipt(number):
    with connection.cursor() as cursor:
        [row] = cursor.execute("select number from orders where number = %s", [number]).fetchall()
        return row[0]
"""
RACE = """
from django.db import connection, transaction
from receipts import receipt

def test_a_worker_that_is_faster_than_the_commit(harness):
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists orders (number integer)")
        with transaction.atomic():
            cursor.execute("insert into orders values (7)")
            early = receipt.delay(7)
            harness.settle()
    harness.assert_failed(early, ValueError, match="not enough values")
    assert receipt.delay(7).get() == 7
"""


def test_a_real_worker_does_not_see_what_is_not_committed(project, needed):
    needed(find_binary(), "a Redis server")
    project.file(settings=SETTINGS.replace(":memory:", "orders.db"), shop=SHOP, receipts=RECEIPT, test_race=RACE)

    project.run("--taskharness-mode=redis+process").assert_outcomes(passed=1)


def test_what_was_rolled_back_is_not_there_for_a_task_that_was_published_all_the_same(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        receipts=RECEIPT,
        test_rollback="""
        from django.db import connection, transaction
        from receipts import receipt

        def test_rolled_back(harness):
            with connection.cursor() as cursor:
                cursor.execute("create table orders (number integer)")
                with transaction.atomic():
                    cursor.execute("insert into orders values (7)")
                    receipt.delay(7)
                    transaction.set_rollback(True)
            harness.settle()
            harness.assert_failed(receipt, ValueError, match="not enough values")
        """,
    )

    project.run().assert_outcomes(passed=1)
