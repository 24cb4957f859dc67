"""``start_worker`` that is entered and never left: a thread would go on, and so does the stepped worker."""

from __future__ import annotations

import pytest


@pytest.fixture
def suite(project):
    project.ini("taskharness_replace_celery_fixtures = true")
    return project


def test_a_worker_that_nobody_leaves_goes_on_for_those_who_need_it(suite):
    result = suite.test("""
        import time

        from celery.contrib.testing.worker import start_worker

        from shop import add, app

        REAL = time.sleep, time.time, time.monotonic
        started, ran = [], []

        @app.task
        def note(what):
            ran.append(what)

        def worker():  # for all tests, by the first one
            if not started:
                started.append(start_worker(app, perform_ping_check=False))
                started[0].__enter__()

        def test_the_first():
            worker()
            assert add.apply_async((1, 2), countdown=3600).get(timeout=4000) == 3

        def test_another_one_has_the_real_clock():
            assert (time.sleep, time.time, time.monotonic) == REAL
            before = time.time()
            time.sleep(0.01)
            assert before < time.time() < before + 60

        def test_who_waits():
            worker()
            assert add.apply_async((3, 4), countdown=3600).get(timeout=4000) == 7

        def test_who_sends_and_sleeps():
            note.apply_async(("later",), countdown=3600)
            time.sleep(3600)
            assert ran == ["later"]

        def test_who_leaves_it_after_all():
            started.pop().__exit__(None, None, None)
            assert (time.sleep, time.time, time.monotonic) == REAL
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
    """)

    result.assert_outcomes(passed=5, warnings=1)
    result.stdout.fnmatch_lines(
        "*PytestWarning: expected start_worker() to be left where it was entered; the call at test_shop.py:17 in "
        "worker never was. * This one goes on for tests that send to its app or wait for its tasks; *"
    )


def test_the_garbage_collector_does_not_end_it_in_the_middle_of_another_test(suite):
    result = suite.test("""
        import gc
        import time
        import unittest

        from celery.contrib.testing.worker import start_worker

        from shop import add, app

        REAL = time.sleep, time.time, time.monotonic
        here = []

        class Holder:
            pass

        def test_one():
            holder = Holder()
            holder.itself, holder.worker = holder, start_worker(app, perform_ping_check=False)
            here.append(holder.worker.__enter__().harness)
            assert add.delay(1, 2).get(timeout=10) == 3
            gc.disable()

        def test_the_one_in_which_it_is_collected():
            gc.enable()
            assert add.apply_async((1, 2), countdown=60).get(timeout=100) == 3
            gc.collect()
            assert add.apply_async((1, 2), countdown=60).get(timeout=100) == 3
            assert time.sleep not in REAL

        def test_then_it_has_ended():
            assert "closed" in repr(here[0])
            assert (time.sleep, time.time, time.monotonic) == REAL
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
    """)

    result.assert_outcomes(passed=3, warnings=1)


def test_of_a_class_of_a_fixture_and_of_an_app_that_has_ended(suite):
    result = suite.test("""
        import time
        import unittest

        import pytest
        from celery.contrib.testing.worker import start_worker

        from shop import add, app

        REAL = [time.sleep]
        kept = []

        def enter(app):
            kept.append(start_worker(app, perform_ping_check=False))
            return kept[-1].__enter__()

        class TestOfAClass(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                enter(app)

            def test_one(self):
                self.assertNotIn(time.sleep, REAL)
                self.assertEqual(add.delay(1, 2).get(timeout=10), 3)

            def test_two(self):
                self.assertNotIn(time.sleep, REAL)

        def test_after_the_class():
            assert time.sleep in REAL

        @pytest.fixture
        def by_hand(celery_app):
            enter(celery_app)

        def test_of_a_fixture(celery_app, by_hand):
            assert time.sleep not in REAL

        def test_after_the_fixture():
            assert time.sleep in REAL
    """, "-v", "-W", "default")  # fmt: skip

    result.assert_outcomes(passed=5, warnings=2)
    result.stdout.fnmatch_lines(
        ["*test_shop.py::TestOfAClass::test_two", "*This one goes on *", "*test_shop.py::test_of_a_fixture", "*app.*"]
    )
