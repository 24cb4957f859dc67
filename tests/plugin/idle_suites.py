"""Suites that do not use the harness, in a directory of their own, and what becomes of them.

They hold every outcome that pytest knows, and names, clocks and threads that a careless plugin would get hold of.
"""

from __future__ import annotations

import json

__all__ = ["SUITES", "outcomes", "write"]

#: Writes down what became of each test, and each warning.
CONFTEST = """
import json

pytest_plugins = ["suite_fixtures"]
seen = {}


def pytest_collectreport(report):
    if not report.passed:
        seen[f"collected {report.nodeid}"] = report.outcome


def pytest_runtest_logreport(report):
    seen[f"{report.nodeid} {report.when}"] = [report.outcome, getattr(report, "wasxfail", None)]


def pytest_warning_recorded(warning_message, nodeid):
    seen.setdefault(f"warnings {nodeid}", []).append(str(warning_message.message))


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        with open("seen.json", "w") as file:
            json.dump(seen, file)
"""

#: A module of fixtures, as larger suites have it; all names are ours.
FIXTURES = """
import pytest


@pytest.fixture
def harness():
    return "theirs"


@pytest.fixture(name="memory_harness")
def named():
    return "theirs"


@pytest.fixture(scope="session")
def taskharness_app():
    return "theirs"
"""

PLAIN = """
import logging
import time
import warnings

import pytest


def test_passes(): ...


def test_fails():
    assert 1 == 2


def test_is_skipped():
    pytest.skip("not today")


@pytest.mark.xfail
def test_fails_as_expected():
    assert False


@pytest.mark.xfail(strict=True)
def test_passes_against_all_expectations(): ...


@pytest.mark.parametrize("mode", ["memory", "redis"])
@pytest.mark.parametrize("seed", [1, 2])
def test_of_modes_and_seeds(mode, seed): ...


@pytest.fixture
def broken():
    raise RuntimeError("broken")


@pytest.fixture
def broken_afterwards():
    yield
    raise RuntimeError("broken")


def test_with_a_broken_fixture(broken): ...


def test_with_a_broken_tear_down(broken_afterwards): ...


def test_of_a_fixture_that_is_nowhere(nowhere): ...


def test_that_warns():
    warnings.warn("old", DeprecationWarning)


def test_of_output(capsys, caplog):
    print("out")
    logging.getLogger("shop").warning("logged")
    assert capsys.readouterr().out == "out\\n"
    assert caplog.messages == ["logged"]


def test_the_clock_goes_on():
    before = time.monotonic_ns()
    time.sleep(0.001)
    assert time.monotonic_ns() - before >= 1_000_000


def test_names_that_are_theirs(harness, memory_harness, taskharness_app):
    assert [harness, memory_harness, taskharness_app] == ["theirs"] * 3


class TestOwnHarness:
    @pytest.fixture
    def harness(self, harness):
        return f"{harness}, extended"

    def test_extends_theirs(self, harness):
        assert harness == "theirs, extended"
"""

UNIT = """
import asyncio
import unittest


class Plain(unittest.TestCase):
    def setUp(self):
        self.harness = "theirs"

    def test_passes(self):
        self.assertEqual(self.harness, "theirs")

    def test_fails(self):
        self.fail("no")

    def test_has_parts(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

    @unittest.expectedFailure
    def test_fails_as_expected(self):
        self.fail("yes")

    @unittest.skip("not today")
    def test_is_skipped(self): ...


class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("broken")

    def test_never_runs(self): ...


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_waits(self):
        await asyncio.sleep(0.001)
        self.assertTrue(asyncio.get_running_loop().is_running())
"""

OWN_CLOCK = """
import time
from datetime import datetime
from unittest import mock

import pytest
from freezegun import freeze_time


@pytest.fixture
def noon():
    with freeze_time("2030-01-01 12:00") as frozen:
        yield frozen


def test_a_clock_of_their_own(noon):
    assert datetime.now() == datetime(2030, 1, 1, 12)
    noon.tick(60)
    assert datetime.now() == datetime(2030, 1, 1, 12, 1)


def test_a_sleep_of_their_own():
    with mock.patch("time.sleep") as sleep:
        time.sleep(3600)
    sleep.assert_called_once_with(3600)
"""

EAGER = """
import threading

import pytest
from celery import Celery, current_app, shared_task

app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.task_always_eager = True


@app.task
def add(x, y):
    return x + y


@shared_task
def shared(x):
    return x


def test_eagerly():
    assert add.delay(1, 2).get() == 3
    assert shared.delay(7).get() == 7


def test_the_current_app_is_theirs():
    assert current_app.main == "shop"


def test_a_message_that_nobody_takes():
    app.conf.task_always_eager = False
    try:
        assert add.delay(1, 2).state == "PENDING"
        with app.connection_for_write() as connection:
            assert connection.default_channel.queue_purge("celery") == 1
    finally:
        app.conf.task_always_eager = True


def test_a_thread_of_their_own():
    found = []
    thread = threading.Thread(target=lambda: found.append(add.apply((1, 2)).get()))
    thread.start()
    thread.join()
    assert found == [3]
"""

STOCK = """
import pytest


@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}


def test_an_app(celery_app):
    assert celery_app.conf.broker_url == "memory://"


@pytest.mark.celery(result_backend="rpc://")
def test_an_app_with_a_setting(celery_app):
    assert celery_app.conf.result_backend == "rpc://"


def test_a_worker(celery_session_app, celery_session_worker):
    @celery_session_app.task(name="double")
    def double(x):
        return 2 * x

    celery_session_worker.reload()
    assert type(celery_session_worker).__module__ == "celery.contrib.testing.worker"
    assert double.delay(21).get(timeout=10) == 42
"""

DJANGO = """
from unittest import mock

import django
from django.conf import settings
from django.db import connection, transaction
from django.test import SimpleTestCase

if not settings.configured:
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True
    )
    django.setup()


class Views(SimpleTestCase):
    def test_has_settings(self):
        self.assertTrue(settings.USE_TZ)

    def test_may_ask_no_database(self):
        connection.cursor()


def test_after_a_commit():
    done = mock.Mock()
    with transaction.atomic():
        transaction.on_commit(done)
        done.assert_not_called()
    done.assert_called_once_with()
"""

#: Files of one project.
SUITES = {
    "conftest.py": CONFTEST,
    "suite_fixtures.py": FIXTURES,
    "test_plain.py": PLAIN,
    "test_unit.py": UNIT,
    "test_own_clock.py": OWN_CLOCK,
    "test_eager.py": EAGER,
    "test_stock.py": STOCK,
    "test_django.py": DJANGO,
}


def write(folder, **more):
    """The files, and more of them by the names of their modules."""
    for name, text in {**SUITES, **{f"{module}.py": text for module, text in more.items()}}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = celery: settings\n", encoding="utf-8")


def outcomes(pytester, *args):
    """What becomes of each test, and of the run."""
    result = pytester.runpytest_subprocess(*args, "-p", "no:hypothesispytest", timeout=120)
    seen = json.loads((pytester.path / "seen.json").read_text(encoding="utf-8"))
    (pytester.path / "seen.json").unlink()
    return {"exit status": int(result.ret), **seen}
