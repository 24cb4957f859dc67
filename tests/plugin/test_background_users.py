"""``harness.background()`` and ``await harness.wait()`` as users meet them: Django, event loops, frameworks, Ctrl-C."""

from __future__ import annotations

from test_django import SETTINGS, SHOP


def test_bodies_of_the_thread_see_what_the_test_has_not_committed(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_orders="""
        import queue

        import pytest
        from django.db import connection, transaction
        from shop import app, order

        told = queue.Queue()

        def rows():
            with connection.cursor() as cursor:
                return cursor.execute("select number from orders order by number").fetchall()

        @app.task
        def look():
            told.put(rows())

        @pytest.fixture(autouse=True)
        def in_transaction():
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("create table if not exists orders (number integer)")
                yield
                transaction.set_rollback(True)

        @pytest.mark.parametrize("number", [1, 2])
        def test_order(harness, number):
            with harness.background():
                with connection.cursor() as cursor:
                    cursor.execute("insert into orders values (%s)", [number])
                order.delay(10 * number)
                look.delay()
                assert told.get(timeout=20) == [(number,), (10 * number,)]
            assert rows() == [(number,), (10 * number,)]
            assert connection.allow_thread_sharing is False

        def test_a_connection_that_the_thread_opens_first_is_the_tests(harness):
            with harness.background():
                order.delay(3)
            assert rows() == [(3,)]
        """,
    )

    project.run().assert_outcomes(passed=3)


def test_ctrl_c_in_the_block_ends_the_run_and_the_thread(project):
    result = project.test(
        """
        import atexit
        import os
        import signal
        import threading

        from shop import add

        signal.signal(signal.SIGINT, signal.default_int_handler)  # nobody has told pytest to ignore it
        atexit.register(lambda: print("left:", [each.name for each in threading.enumerate()][1:]))

        def test_interrupted(harness):
            with harness.background():
                add.delay(1, 2).get()
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(20)
        """,
        "-s",
    )
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert "left: []" in result.stdout.str()
    assert result.ret == 2


def test_what_goes_wrong_in_the_thread_fails_the_test_with_its_timeline(project):
    result = project.test(
        """
        import pytest
        from shop import app

        @app.task
        def picky():
            pytest.fail("a body is not content")

        def test_it(harness):
            with harness.background():
                picky.delay()
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*a body is not content*", "*taskharness timeline*", "*start*picky*"])


def test_the_error_of_the_test_names_what_went_wrong_in_the_thread(project):
    result = project.test(
        """
        import queue

        import pytest
        from shop import app

        told = queue.Queue()

        @app.task
        def picky():
            told.put(1)
            pytest.fail("in a body")

        def test_it(harness):
            with harness.background():
                picky.delay()
                told.get(timeout=20)
                while not harness.run_of(picky).attempts:
                    pass
                told.get(timeout=0.1)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Failed: in a body*", "*During handling*", "*Empty*"])
