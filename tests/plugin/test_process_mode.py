"""Mode redis+process as a user meets it: what a report shows of a real worker, and which test an error belongs to."""

from __future__ import annotations

import pytest

from pytest_taskharness.servers.rabbitmq_binary import find_rabbitmq
from pytest_taskharness.servers.redis import find_binary

PROCESS = "--taskharness-mode=redis+process"
TALKATIVE = """
import logging
from celery import Celery

app = Celery("talk", broker="amqp://nobody@nowhere.invalid//", backend="redis://nowhere.invalid/0")


@app.task
def say(text):
    logging.getLogger(__name__).warning("the worker says %s", text)
    return text
"""


@pytest.fixture(autouse=True)
def redis_server(needed):
    needed(find_binary(), "a Redis server")


@pytest.fixture
def talkative(project):
    project.ini("taskharness_app = talk:app")
    project.file(talk=TALKATIVE)
    return project


def test_a_failing_test_shows_the_timeline_and_the_log_of_the_worker(talkative):
    result = talkative.test(
        """
        from talk import say

        def test_fails(harness):
            say.delay("hello")
            harness.settle()
            harness.assert_succeeded(say, returns="goodbye")
        """,
        PROCESS,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*but it returned", "*- taskharness timeline (redis+process, seed 0) -*"])
    result.stdout.fnmatch_lines(["*finish   talk.say *  on worker SUCCESS"])
    result.stdout.fnmatch_lines(["*- taskharness log of worker 'worker' -*", "*the worker says hello*"])


def test_a_patch_that_the_worker_does_not_see_is_told(talkative):
    result = talkative.test(
        """
        import talk

        def test_patched(harness, monkeypatch):
            monkeypatch.setattr(talk, "logging", None)
            talk.say.delay("hello")
            harness.settle()
            harness.assert_failed(talk.say, AttributeError)

        def test_not_patched(harness):
            talk.say.delay("hello")
            harness.assert_succeeded(talk.say, returns="goodbye")
        """,
        PROCESS,
    )

    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert text.count("patches do not reach a worker's process") == 1
    assert "this test uses monkeypatch, and in mode redis+process the bodies run in another process" in text


def test_a_patch_of_another_plugin_is_not_the_test_s(talkative):
    # pytest-django has such a fixture for every test.
    talkative.file(
        elsewhere="""
        import pytest

        @pytest.fixture(autouse=True)
        def theirs(monkeypatch):
            pass
        """,
        conftest="""
        import pytest

        @pytest.fixture
        def patched(monkeypatch):
            pass
        """,
    )
    info = talkative.pytester.mkdir("elsewhere-1.0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[pytest11]\nelsewhere = elsewhere\n", encoding="utf-8")

    result = talkative.test(
        """
        from talk import say

        def test_patches_nothing(harness):
            harness.assert_succeeded(say)

        def test_patches_by_a_fixture(harness, patched):
            harness.assert_succeeded(say)
        """,
        PROCESS,
    )

    result.assert_outcomes(failed=2)
    first, _, second = result.stdout.str().partition("_ test_patches_by_a_fixture _")
    assert ["patches do not reach" in each for each in (first, second)] == [False, True]


def test_a_passing_test_shows_no_log(talkative):
    result = talkative.test(
        """
        from talk import say

        def test_passes(harness):
            say.delay("hello")
            harness.settle()
        """,
        PROCESS,
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*the worker says hello*")


def test_the_log_travels_with_the_report_under_xdist(talkative):
    result = talkative.test(
        """
        from talk import say

        def test_fails(harness):
            assert say.delay("hello").get(timeout=20) == "goodbye"
        """,
        PROCESS,
        "-n",
        "1",
    )

    result.assert_outcomes(failed=1)
    assert len([line for line in result.outlines if "the worker says hello" in line]) == 1


def test_a_worker_that_cannot_import_the_app_is_an_error_with_its_own_traceback(project):
    project.file(
        fickle="""
        import os
        from celery import Celery

        app = Celery("fickle", broker="redis://nowhere.invalid/0")
        if "PYTEST_CURRENT_TEST" not in os.environ or os.getpid() != int(os.environ["FIRST"]):
            raise RuntimeError("only one process may have me")
        """,
        conftest="""
        import os
        import pytest

        @pytest.fixture(scope="session")
        def taskharness_app():
            os.environ["FIRST"] = str(os.getpid())
            from fickle import app
            return app
        """,
    )
    project.ini()
    result = project.test("def test_one(harness): pass", PROCESS)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E*the worker process 'worker' cannot start: RuntimeError: only one process may have me",
            '*fickle.py", line 6, in <module>',
            "*RuntimeError: only one process may have me",
        ]
    )


def test_an_app_that_a_fixture_makes_is_an_error_that_says_what_to_do(project):
    project.ini()
    project.file(
        conftest="""
        import pytest
        from celery import Celery

        @pytest.fixture
        def taskharness_app():
            return Celery("hidden", broker="redis://nowhere.invalid/0")
        """
    )
    result = project.test("def test_one(harness): pass", PROCESS)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*expected the Celery app 'hidden' to be an attribute of a module*"])
    result.stdout.fnmatch_lines(["*give the app a name at the top level of a module*"])
    result.stdout.no_fnmatch_line("*whereabouts.py*")


def test_an_app_of_the_test_file_itself_can_be_imported(project):
    project.ini()
    result = project.test(
        """
        import os
        import pytest
        from celery import Celery

        app = Celery("here", broker="redis://nowhere.invalid/0")

        @app.task
        def where():
            return os.getpid()

        @pytest.fixture
        def taskharness_app():
            return app

        def test_one(harness):
            assert where.delay().get(timeout=20) != os.getpid()
        """,
        PROCESS,
    )

    result.assert_outcomes(passed=1)


def test_a_failing_test_in_the_middle_leaves_nothing_to_the_next(project):
    result = project.test(
        """
        import pytest
        from shop import add, boom

        def test_one(harness):
            assert add.delay(1, 2).get(timeout=20) == 3

        def test_fails(harness):
            add.apply_async((3, 4), countdown=3600)
            boom.delay().get(timeout=20)

        def test_two(harness):
            assert harness.settle().counts == {}
            assert add.delay(5, 6).get(timeout=20) == 11
            assert len(harness.runs()) == 1
        """,
        PROCESS,
    )

    result.assert_outcomes(passed=2, failed=1)


def test_a_worker_that_is_killed_fails_its_own_test_only(project):
    result = project.test(
        """
        import os
        from shop import app, add

        def test_kills(harness):
            [pid] = [stats["pid"] for stats in app.control.inspect().stats().values()]
            os.kill(pid, 9)
            add.delay(1, 2).get(timeout=20)

        def test_next(harness):
            assert add.delay(1, 2).get(timeout=20) == 3
        """,
        PROCESS,
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*WorkerDied: the worker 'worker' (process *) was killed by SIGKILL*"])


def test_one_test_runs_unchanged_in_every_mode(project, needed):
    needed(find_rabbitmq(), "a RabbitMQ server")
    result = project.test(
        """
        from celery import chord, group
        from shop import add, app

        def test_sums(harness):
            both = group(add.s(1, 2), add.s(3, 4)).delay()
            result = (add.s(5, 6) | add.s(7)).delay()
            harness.settle()
            assert (both.get(), result.get()) == ([3, 7], 18)
            assert [run.state for run in harness.runs(add)] == ["SUCCESS"] * 4
        """,
        "--taskharness-mode=all",
    )

    result.assert_outcomes(passed=7)


SETTINGS = """
SECRET_KEY = "a test"
INSTALLED_APPS = ["orders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "orders.sqlite3"}}
CELERY_BROKER_URL = "amqp://nobody@nowhere.invalid//"
"""
DJANGO_APP = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"

from celery import Celery

app = Celery("site_app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
MODELS = """
from django.db import models

class Order(models.Model):
    number = models.IntegerField()
"""
TASKS = """
from celery import shared_task
from .models import Order

@shared_task
def order(number):
    Order.objects.create(number=number)
    return Order.objects.count()
"""


def test_a_django_project_whose_tasks_import_models(project):
    package = project.pytester.mkpydir("orders")
    package.joinpath("models.py").write_text(MODELS)
    package.joinpath("tasks.py").write_text(TASKS)
    project.ini("taskharness_app = site_app:app")
    project.file(site_settings=SETTINGS, site_app=DJANGO_APP, conftest="import site_app, django\ndjango.setup()")

    project.test(
        """
        from django.db import connection
        from orders.models import Order
        from orders.tasks import order

        def test_order(harness):
            with connection.schema_editor() as editor:
                editor.create_model(Order)
            assert order.delay(7).get() == 1
            assert Order.objects.get().number == 7
        """,
        PROCESS,
    ).assert_outcomes(passed=1)
