"""Beside pytest-django, pytest-asyncio and the real pytest-celery, in either order: no outcome of any suite changes."""

from __future__ import annotations

import pytest
from idle_suites import outcomes, write

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
USE_TZ = True
"""

WITH_DJANGO = """
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import TestCase


@pytest.mark.django_db
def test_a_row():
    User.objects.create(username="kim")
    assert User.objects.count() == 1


def test_a_row_that_may_not_be():
    User.objects.count()


@pytest.mark.django_db
def test_after_a_commit(django_capture_on_commit_callbacks):
    done = []
    with django_capture_on_commit_callbacks(execute=True):
        transaction.on_commit(lambda: done.append(1))
    assert done == [1]


@pytest.mark.django_db(transaction=True)
def test_with_a_real_transaction(settings):
    settings.USE_TZ = False
    done = []
    transaction.on_commit(lambda: done.append(1))
    assert done == [1]


class Rows(TestCase):
    @classmethod
    def setUpTestData(cls):
        User.objects.create(username="kim")

    def test_is_there(self):
        self.assertEqual(User.objects.count(), 1)
"""

WITH_ASYNCIO = """
import asyncio

import pytest
import pytest_asyncio


@pytest_asyncio.fixture
async def harness():
    await asyncio.sleep(0)
    yield "theirs"


@pytest.mark.asyncio
async def test_waits(harness):
    before = asyncio.get_running_loop().time()
    await asyncio.sleep(0.001)
    assert asyncio.get_running_loop().time() > before
    assert harness == "theirs"


@pytest.mark.asyncio
async def test_fails():
    await asyncio.wait_for(asyncio.sleep(10), timeout=0.001)


async def test_that_nobody_runs(): ...
"""

STOCK_AND_CONTAINERS = """
def test_celerys_own(celery_app):
    assert celery_app.conf.broker_url


def test_a_container(celery_worker): ...
"""

TITLE = "*- taskharness: this celery_worker is pytest-celery's -*"
OURS = ("-p", "taskharness")
CELERYS = ("-p", "celery.contrib.pytest")
DJANGOS = ("-p", "pytest_django.plugin")


@pytest.fixture
def suites(pytester, monkeypatch):
    write(
        pytester.path, settings=SETTINGS, test_with_django=WITH_DJANGO, test_with_asyncio=WITH_ASYNCIO,
        test_containers=STOCK_AND_CONTAINERS,
    )  # fmt: skip
    (pytester.path / "test_django.py").unlink()  # it would configure Django by itself
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/nobody-listens")
    return pytester


@pytest.mark.parametrize(
    "first, last",
    [((), ()), (OURS, ()), (("-p", "celery", "-p", "django", "-p", "asyncio"), OURS), (("-n", "2"), ())],
    ids=["by entry points", "ours first", "ours last", "under xdist"],
)
def test_no_outcome_changes(suites, first, last):
    rest = first if first != OURS else ()

    expected = outcomes(suites, *rest, "-p", "no:taskharness")

    assert expected["test_with_django.py::test_a_row call"][0] == "passed"
    assert expected["test_with_asyncio.py::test_waits call"][0] == "passed"
    assert [value[0] for name, value in expected.items() if "test_a_container[" in name] == ["failed", "passed"]
    assert outcomes(suites, *first, *last) == expected


def test_no_outcome_changes_where_pytest_celery_is_switched_off(suites):
    args = ("-p", "no:celery", "-p", "celery.contrib.pytest")

    expected = outcomes(suites, *args, "-p", "no:taskharness")

    assert expected["test_stock.py::test_a_worker call"][0] == "passed"
    assert outcomes(suites, *args) == expected


def test_the_real_error_is_explained(suites):
    result = suites.runpytest_subprocess("test_containers.py", "-k", "a_container", "--tb=line")

    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*docker.errors.DockerException: *", TITLE])
