"""Tests that say ``replace=False``: Celery's own worker, in a thread, beside the stepped ones of all others."""

from __future__ import annotations

import pytest

#: Tasks that say which thread has run them; a worker in a thread looks for messages often enough for a test.
TASKS = """
import threading

from celery import Celery, shared_task

threads = []
app = Celery("project", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.broker_transport_options = {"polling_interval": 0.01}


@shared_task
def here():
    threads.append(threading.current_thread())
    return "here"


@app.task
def of_the_project():
    threads.append(threading.current_thread())
    return "mine"


def stepped():
    ran, threads[:] = list(threads), []
    return ran and set(ran) == {threading.main_thread()}


def threaded():
    ran, threads[:] = list(threads), []
    return ran and threading.main_thread() not in ran
"""
CONFIG = """
import pytest

@pytest.fixture(scope="session")
def celery_config():
    return {"broker_transport_options": {"polling_interval": 0.01}}

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"perform_ping_check": False, "shutdown_timeout": 60}
"""


@pytest.fixture
def suite(project):
    """A suite of somebody else, with the drop-in."""
    project.ini("taskharness_replace_celery_fixtures = true", "addopts = --strict-markers")
    project.file(tasks=TASKS, conftest=CONFIG)
    return project


def test_a_test_has_celery_s_own_worker_and_the_others_have_not(suite):
    result = suite.test("""
        import time

        import pytest
        from celery import Celery
        from celery.contrib.testing.worker import start_worker
        from pytest_taskharness.errors import FidelityError

        from tasks import app, here, of_the_project, stepped, threaded, threads

        REAL = time.sleep, time.time, time.monotonic
        apart = pytest.mark.taskharness(replace=False)

        def test_a_session(celery_session_worker):
            assert (here.delay().get(timeout=60), of_the_project.delay().get(timeout=60)) == ("here", "mine")
            assert stepped()
            of_the_project.apply_async(countdown=3600)

        @apart
        def test_a_worker_in_a_thread(celery_app, celery_worker):
            assert (time.sleep, time.time, time.monotonic) == REAL
            assert not hasattr(celery_worker, "harness")
            assert (here.delay().get(timeout=60), of_the_project.delay().get(timeout=60)) == ("here", "mine")
            assert threaded()

        def test_of_the_next_test(celery_worker):
            assert here.apply_async(countdown=3600).get(timeout=4000) == "here"
            assert of_the_project.delay().get(timeout=60) == "mine"
            assert stepped()

        @apart
        def test_start_worker():
            with start_worker(app, perform_ping_check=False, shutdown_timeout=60):
                assert of_the_project.delay().get(timeout=60) == "mine"
            assert threaded()

        @apart
        def test_the_app_of_a_stepped_worker(celery_worker, celery_session_app):
            with pytest.raises(FidelityError, match="found 'celery.tests', whose messages go to a stepped"):
                with start_worker(celery_session_app):
                    pass
            with pytest.raises(FidelityError, match="somebody waits for a task of app 'celery.tests'"):
                celery_session_app.send_task(here.name).get(timeout=60)

        @apart
        def test_the_worker_of_the_session(celery_session_worker):
            pass

        def test_the_session_goes_on(celery_session_worker):
            threads.clear()
            time.sleep(3600)
            assert [run.state for run in celery_session_worker.harness.runs(of_the_project)] == ["SUCCESS"] * 2
            assert stepped()
            assert of_the_project.delay().get(timeout=60) == "mine"
            assert stepped()
    """)

    result.assert_outcomes(passed=6, errors=1)
    result.stdout.fnmatch_lines(
        "E * expected a worker in a thread, *(replace=False) says; found none but the stepped one that the fixture "
        "'celery_session_app' is there for. What belongs to a session is one or the other for all its tests: leave out "
        "the marker; or let this test use celery_worker, which is its own."
    )


def test_a_class_and_a_module_have_it_for_what_belongs_to_them(suite):
    suite.file(
        test_of_a_module="""
        import pytest
        from celery.contrib.testing.worker import start_worker

        from tasks import app, of_the_project, stepped, threaded

        pytestmark = pytest.mark.taskharness(replace=False)

        @pytest.fixture(scope="module")
        def worker():
            with start_worker(app, perform_ping_check=False, shutdown_timeout=60):
                yield

        def test_the_fixture_of_a_module(worker):
            assert of_the_project.delay().get(timeout=60) == "mine"
            assert threaded()

        @pytest.mark.taskharness(replace=True)
        def test_the_closest_marker_wins(celery_worker):
            assert celery_worker.harness
        """
    )
    result = suite.test("""
        import unittest

        import pytest
        from celery.contrib.testing.worker import start_worker

        from tasks import app, here, of_the_project, stepped, threaded

        class Base:
            @classmethod
            def setUpClass(cls):
                super().setUpClass()
                cls.worker = start_worker(app, perform_ping_check=False, shutdown_timeout=60)
                cls.worker.__enter__()

            @classmethod
            def tearDownClass(cls):
                cls.worker.__exit__(None, None, None)
                super().tearDownClass()

        @pytest.mark.taskharness(replace=False)
        class TestApart(Base, unittest.TestCase):
            def test_one(self):
                self.assertEqual(of_the_project.delay().get(timeout=60), "mine")
                self.assertTrue(threaded())

        class TestStepped(Base, unittest.TestCase):
            def test_one(self):
                self.assertEqual(of_the_project.apply_async(countdown=60).get(timeout=100), "mine")
                self.assertTrue(stepped())

            @pytest.mark.taskharness(replace=False)
            def test_that_comes_too_late(self):
                pass

        @pytest.fixture(scope="class")
        def for_the_class():
            with start_worker(app, perform_ping_check=False, shutdown_timeout=60):
                yield

        class TestFirstApart:
            @pytest.mark.taskharness(replace=False)
            def test_a_thread_beside_the_worker_of_the_class(self, for_the_class, celery_worker):
                assert here.delay().get(timeout=60) == "here"
                assert threaded()

            def test_the_worker_of_the_class(self, for_the_class):
                assert of_the_project.apply_async(countdown=60).get(timeout=100) == "mine"
                assert stepped()
    """)

    result.assert_outcomes(passed=6, errors=1)
    result.stdout.fnmatch_lines(
        "E * What belongs to a class is one or the other for all its tests: put the marker on the class, *"
    )


def test_what_the_marker_cannot_say_is_refused(suite):
    result = suite.test("""
        import pytest

        @pytest.mark.taskharness(replace="no")
        def test_a_text(celery_app):
            pass

        @pytest.mark.taskharness(workers=2)
        def test_how_many_workers(celery_worker):
            pass

        @pytest.mark.taskharness(pool="threads")
        def test_a_pool(celery_worker):
            pass

        def test_one_more(celery_app, celery_worker):
            celery_worker.harness.worker("second")
            assert len(celery_app.control.inspect().ping()) == 2
    """)

    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines([
        "E * @pytest.mark.taskharness(replace=…) takes True or False: whether the drop-in serves this test; *'no'",
        "E * expected as many workers as celery_worker and start_worker() start; found workers=2 in *",
        "E * pool='threads' means a real worker process; *",
    ])  # fmt: skip
