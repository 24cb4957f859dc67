"""One test never notices another."""

from __future__ import annotations

import pytest


def test_messages_that_a_test_leaves_are_gone(project):
    result = project.test("""
        from shop import add

        def test_one(harness):
            add.delay(1, 2)
            add.apply_async((3, 4), countdown=60)

        def test_two(harness):
            harness.settle()
            assert harness.runs() == []
            assert harness.outbox == []
    """)

    result.assert_outcomes(passed=2)


def test_a_failing_test_in_the_middle_leaves_everything_clean(project):
    result = project.test("""
        import time
        from datetime import datetime
        from shop import add, app, boom

        REAL = (time.sleep, app.conf.broker_url, datetime)

        def check():
            assert (time.sleep, app.conf.broker_url, datetime) == REAL
            assert datetime.now().year < 2100

        def test_one(harness):
            assert add.delay(1, 2).get() == 3

        def test_between():
            check()

        def test_fails(harness):
            harness.clock.advance(days=365 * 500)
            boom.delay()
            harness.drain()
            add.apply_async((1, 2), countdown=10)
            raise AssertionError("in the middle")

        def test_after():
            check()

        def test_two(harness):
            assert harness.clock.now.year < 2100
            assert add.delay(1, 2).get() == 3
            assert len(harness.runs()) == 1
    """)

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["E * in the middle"])


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
def test_an_interrupted_run_ends_as_ever(project, how):
    result = project.test(f"""
        import pytest
        from shop import add

        def test_interrupted(harness):
            add.delay(1, 2)
            {how}
    """)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not any("INTERNALERROR" in line for line in result.outlines)


def test_a_process_that_dies_in_the_middle_does_not_hang(project):
    result = project.test("""
        import os
        from shop import app

        @app.task
        def die():
            os._exit(7)

        def test_dies(harness):
            die.delay()
            harness.drain()
    """)

    assert result.ret == 7


def test_a_worker_process_of_xdist_that_dies_is_replaced(project):
    result = project.test(
        """
        import os
        import pytest
        from shop import add, app

        @app.task
        def die():
            os._exit(7)

        @pytest.mark.parametrize("n", range(4))
        def test_add(harness, n):
            assert add.delay(n, n).get() == 2 * n

        def test_dies(harness):
            die.delay()
            harness.drain()
        """,
        "-n", "2",
    )  # fmt: skip

    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running 'test_shop.py::test_dies'*"])


def test_a_task_that_a_test_defines_is_gone_after_it(project):
    result = project.test("""
        from shop import app

        def test_one(harness):
            @app.task(name="shop.double")
            def double(n):
                return n * 2

            assert double.delay(21).get() == 42

        def test_two(harness):
            assert "shop.double" not in app.tasks

            @app.task(name="shop.double")
            def double(n):
                return n * 3

            assert double.delay(21).get() == 63
    """)

    result.assert_outcomes(passed=2)


def test_a_shared_task_belongs_to_the_app_of_the_harness(project):
    project.file(reusable="from celery import shared_task\n\n@shared_task\ndef half(n):\n    return n // 2")
    result = project.test("""
        from reusable import half

        def test_half(harness):
            assert half.delay(42).get() == 21
            assert half.app.main == "shop"
    """)

    result.assert_outcomes(passed=1)


def test_a_revoked_id_is_forgotten(project):
    result = project.test("""
        from shop import add, app

        def test_one(harness):
            app.control.revoke("fixed")
            add.apply_async((1, 2), task_id="fixed")
            harness.drain()
            assert harness.run_of("fixed").state == "REVOKED"

        def test_two(harness):
            add.apply_async((1, 2), task_id="fixed")
            harness.drain()
            assert harness.run_of("fixed").state == "SUCCESS"
    """)

    result.assert_outcomes(passed=2)


def test_a_connection_that_outlives_its_test_never_loses_a_message_silently(project):
    result = project.test("""
        import pytest
        from shop import add, app

        kept = []

        def test_one(harness):
            kept.append(app.connection_for_write())
            kept[0].ensure_connection()
            add.apply_async((1, 2), connection=kept[0])
            assert len(harness.outbox) == 1

        def test_two(harness):
            with pytest.raises(Exception, match="this broker belonged to a harness that is closed"):
                add.apply_async((3, 4), connection=kept[0], retry=False)
    """)

    result.assert_outcomes(passed=2)


def test_a_result_that_outlives_its_test_is_pending_in_the_next(project):
    result = project.test("""
        from celery.result import AsyncResult
        from shop import add, app

        def test_one(harness):
            assert add.apply_async((1, 2), task_id="fixed").get() == 3

        def test_two(harness):
            assert AsyncResult("fixed", app=app).state == "PENDING"
    """)

    result.assert_outcomes(passed=2)


def test_a_harness_that_nobody_closed_is_not_taken_apart_in_the_middle_of_the_next_test(project):
    """The garbage collector would put the app's settings and the clock back, while another harness has them."""
    result = project.test("""
        import gc
        from pytest_taskharness import Harness
        from shop import add, app

        def test_leaks():
            Harness.open(app)

        def test_next(harness):
            gc.collect()
            broker = app.conf.broker_url
            add.delay(1, 2)
            gc.collect()
            assert app.conf.broker_url == broker
            harness.clock.advance(hours=1)
            assert harness.runs()[0].result == 3
    """)

    result.assert_outcomes(passed=2)


def test_the_order_of_tests_does_not_matter(project):
    source = """
        import pytest
        from shop import add

        @pytest.mark.parametrize("n", {order})
        def test_ids(harness, n):
            add.delay(n, n)
            harness.clock.advance(hours=n)
            assert len(harness.runs()) == 1
    """

    project.test(source.format(order=[1, 2, 3])).assert_outcomes(passed=3)
    project.test(source.format(order=[3, 2, 1])).assert_outcomes(passed=3)


def test_the_same_test_gives_the_same_timeline_under_every_hash_seed(project, monkeypatch):
    source = """
        import re
        from celery import chord, group
        from shop import add, app

        @app.task
        def total(numbers):
            return sum(numbers)

        def test_chord(harness):
            with_queues = group(add.s(n, n).set(queue=f"q{n}") for n in range(5))
            chord(with_queues)(total.s())
            for n in range(5):
                app.amqp.queues[f"q{n}"]
            harness.settle()
            ids = {}
            numbered = lambda match: ids.setdefault(match[0], f"id{len(ids)}")
            for line in str(harness.timeline).splitlines():
                print("|", re.sub(r"[0-9a-f]{8}(?= |$)", numbered, line).split(" at ")[0])
    """

    def trace(seed):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        result = project.test(source, "-rP")
        result.assert_outcomes(passed=1)
        return [line for line in result.outlines if line.startswith("|")]

    first = trace("1")
    assert len(first) > 30
    assert trace("2") == first
    assert trace("3") == first


def test_forty_tests_on_four_workers(project):
    result = project.test(
        """
        import pytest
        from shop import add

        @pytest.mark.parametrize("n", range(40))
        def test_add(harness, n):
            results = [add.apply_async((n, k), countdown=k) for k in range(5)]
            assert [result.get() for result in results] == [n + k for k in range(5)]
            assert len(harness.outbox) == len(harness.runs()) == 5
            assert harness.tally.unexpected == []
        """,
        "-n", "4",
    )  # fmt: skip

    result.assert_outcomes(passed=40)
