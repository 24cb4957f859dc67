"""Suites that were written for the fixtures of ``celery.contrib.pytest``, served by a stepped worker."""

from __future__ import annotations

import pytest

TASKS = """
import time

from celery import Task, chord, shared_task

done = []


@shared_task
def add(x, y):
    done.append((x, y))
    return x + y


@shared_task
def total(numbers):
    return sum(numbers)


@shared_task
def nap(seconds):
    time.sleep(seconds)
    return seconds


@shared_task
def boom():
    raise KeyError("boom")


@shared_task(bind=True, autoretry_for=(ValueError,), retry_backoff=60, retry_jitter=False, max_retries=5)
def flaky(self, failures):
    if self.request.retries < failures:
        raise ValueError("not yet")
    return self.request.retries


@shared_task(bind=True)
def steps(self):
    for number in range(3):
        self.update_state(state="PROGRESS", meta={"number": number})
        time.sleep(60)
    return "all"


@shared_task
def parent(x):
    return add.delay(x, 1).get(timeout=10)


class Greet(Task):
    name = "greet"

    def run(self, name):
        return f"hello {name}"
"""


@pytest.fixture
def suite(project):
    """A suite of somebody else, with the drop-in; a warning is an error."""
    project.ini("taskharness_replace_celery_fixtures = true", "addopts = --strict-markers", "filterwarnings = error")
    project.file(tasks=TASKS)
    return project


def test_a_suite_with_a_worker_for_each_test(suite):
    result = suite.test("""
        import time

        import pytest
        from celery import chain, chord, current_app, group
        from celery.exceptions import TimeoutError
        from celery.result import EagerResult
        from celery.worker import WorkController

        import tasks
        from tasks import add, boom, flaky, nap, parent, steps, total

        @pytest.fixture(scope="session")
        def celery_config():
            return {"broker_url": "redis://nowhere.invalid/0", "result_backend": "redis://nowhere.invalid/1"}

        @pytest.fixture(scope="session")
        def celery_parameters():
            return {"strict_typing": False}

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"queues": ("celery", "slow"), "shutdown_timeout": 30}

        @pytest.fixture(scope="session")
        def celery_includes():
            return ["tasks"]

        def test_it_is_celery_s_own(celery_app, celery_worker):
            assert isinstance(celery_worker, WorkController) and celery_worker.app is celery_app
            assert current_app._get_current_object() is celery_app
            assert celery_app.strict_typing is False
            assert celery_worker.hostname.startswith("gen") and celery_worker.consumer.controller is celery_worker
            celery_worker.ensure_started()

        def test_a_task_of_the_test(celery_app, celery_worker):
            @celery_app.task
            def multiply(x, y):
                return x * y

            celery_worker.reload()
            assert multiply.delay(4, 4).get(timeout=10) == 16

        def test_without_reload(celery_app, celery_worker):
            @celery_app.task
            def multiply(x, y):
                return x * y

            assert multiply.delay(4, 4).get(timeout=10) == 16

        @pytest.mark.usefixtures("celery_worker")
        class TestWaiting:
            def test_retries(self):
                began = time.time()
                assert flaky.delay(4).get(timeout=3600) == 4
                assert time.time() - began == 60 + 120 + 240 + 480

            def test_a_countdown(self):
                result = add.apply_async((1, 2), countdown=3600)
                with pytest.raises(TimeoutError):
                    result.get(timeout=10)
                assert result.get(timeout=3600) == 3

            def test_polling(self):
                result, seen = steps.delay(), set()
                while not result.ready():
                    seen.add(result.state)
                    time.sleep(1)
                assert result.get() == "all"

            def test_polling_without_a_pause(self):
                result = nap.delay(5)
                while result.state != "SUCCESS":
                    pass

            def test_an_error(self):
                result = boom.delay()
                with pytest.raises(KeyError):
                    result.get(timeout=10)
                assert result.failed() and "KeyError" in result.traceback

            def test_canvases(self):
                assert chord([add.s(n, n) for n in range(5)])(total.s()).get(timeout=10) == 20
                assert chain(add.s(1, 1), add.s(2)).apply_async().get(timeout=10) == 4
                assert group(add.s(n, n) for n in range(3)).apply_async().get(timeout=10) == [0, 2, 4]

        @pytest.mark.celery(task_always_eager=True)
        def test_what_the_suite_says_of_eager_tasks_holds(celery_app, celery_worker):
            assert isinstance(add.delay(1, 2), EagerResult)

        def test_the_configuration_is_the_suite_s(celery_app, celery_worker):
            assert celery_app.conf.broker_url == "redis://nowhere.invalid/0"
            assert celery_app.conf.result_backend == "redis://nowhere.invalid/1"
            celery_app.conf.result_expires = 60
            assert add.delay(1, 2).get(timeout=10) == 3

        def test_only_the_worker_s_queues(celery_worker):
            assert add.apply_async((1, 2), queue="slow").get(timeout=10) == 3
            with pytest.raises(TimeoutError):
                add.apply_async((1, 2), queue="nobody").get(timeout=10)

        def test_without_a_worker_nothing_runs(celery_app, depends_on_current_app):
            with pytest.raises(TimeoutError):
                add.delay(1, 2).get(timeout=10)

        def test_a_test_that_does_not_wait(celery_worker):
            tasks.done.clear()
            add.delay(1, 2)

        def test_has_been_heard_of_all_the_same():
            assert tasks.done == [(1, 2)]

        def test_remote_control(celery_app, celery_worker):
            result = add.apply_async((5, 5), countdown=60)
            scheduled = celery_app.control.inspect().scheduled()[celery_worker.hostname]
            assert [each["request"]["id"] for each in scheduled] == [result.id]
            assert celery_app.control.ping(destination=[celery_worker.hostname]) == [
                {celery_worker.hostname: {"ok": "pong"}}
            ]
            result.revoke()
            time.sleep(60)
            assert result.state == "REVOKED"

        @pytest.fixture
        def tidy(celery_app, celery_worker):
            yield
            celery_app.control.purge()
            celery_app.control.revoke("nobody")
            celery_app.control.shutdown()

        def test_remote_control_in_a_tear_down(tidy):
            assert add.delay(1, 2).get(timeout=10) == 3
    """)

    result.assert_outcomes(passed=17)


def test_what_a_worker_in_a_thread_lets_pass(suite):
    result = suite.test("""
        import time

        import pytest
        from celery import shared_task
        from celery.contrib.testing.worker import start_worker

        import tasks
        from tasks import nap, parent

        @pytest.fixture(scope="session", params=["threads", "prefork"])
        def celery_worker_pool(request):
            return request.param

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"concurrency": 2, "hostname": "w@here"}

        @shared_task(time_limit=10)
        def limited():
            nap.run(60)

        @pytest.mark.celery(beat_schedule={"tick": {"task": "tasks.add", "schedule": 10, "args": (1, 2)}})
        def test_a_beat_inside(celery_app):
            with start_worker(celery_app, beat=True):
                time.sleep(35)
            assert tasks.done == [(1, 2)] * 3

        def test_a_result_inside_a_task(celery_worker):
            assert parent.delay(1).get(timeout=10) == 2

        def test_limits_are_those_of_the_pool(celery_worker, celery_worker_pool):
            result = limited.delay()
            assert isinstance(result.get(timeout=100, propagate=False), Exception) == (celery_worker_pool == "prefork")

        def test_the_name_of_the_worker(celery_app, celery_worker):
            assert list(celery_app.control.inspect().ping()) == ["w@here"]

        def test_an_answer_that_the_worker_logs(celery_app, celery_worker, caplog):
            caplog.set_level("DEBUG")  # too late: a worker has looked at the level when it started
            assert nap.delay(1).get(timeout=10) == 1
            assert not [each for each in caplog.records if "received" in each.message or "succeeded" in each.message]
    """)

    result.assert_outcomes(passed=9)


def test_a_suite_with_a_worker_for_all_tests(suite):
    result = suite.test("""
        import time
        from datetime import datetime

        import pytest
        from celery import current_app

        import tasks
        from tasks import Greet, add, flaky, nap

        REAL = (time.sleep, time.monotonic, datetime)

        @pytest.fixture(scope="session")
        def celery_class_tasks():
            return [Greet]

        def test_first(celery_session_app, celery_session_worker):
            assert celery_session_app.tasks["greet"].delay("you").get(timeout=10) == "hello you"
            assert flaky.delay(3).get(timeout=3600) == 3

        def test_another_test_has_its_own_time():
            before = time.monotonic()
            time.sleep(0.01)
            assert 0.01 <= time.monotonic() - before < 5
            assert (time.sleep, time.monotonic, datetime) == REAL
            assert abs(datetime.now().timestamp() - time.time()) < 5

        @pytest.fixture
        def by_another_fixture(celery_session_worker):
            return celery_session_worker

        def test_time_goes_on_where_it_was(by_another_fixture):
            assert by_another_fixture.harness.clock.now.timestamp() > time.time() - 1
            add.apply_async((7, 7), countdown=3600)

        def test_that_fails(celery_session_worker):
            nap.delay(5)
            raise AssertionError("in the middle")

        def test_what_another_test_has_left(celery_session_worker):
            tasks.done.clear()
            time.sleep(3700)
            assert tasks.done == [(7, 7)]

        def test_a_worker_for_one_test_inside(celery_session_worker, celery_app, celery_worker):
            @celery_app.task
            def here():
                return "here"

            assert current_app._get_current_object() is celery_app
            assert here.delay().get(timeout=10) == "here"

        def test_the_session_s_app_is_the_current_one_again(celery_session_app, celery_session_worker):
            assert current_app._get_current_object() is celery_session_app
            assert add.delay(1, 2).get(timeout=10) == 3

        def test_who_does_not_ask_and_waits_all_the_same():
            assert add.delay(3, 4).get(timeout=10) == 7

        def test_and_then_time_is_real_again():
            assert (time.sleep, time.monotonic, datetime) == REAL
    """)

    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(["E * in the middle", "*taskharness timeline (memory*", "*publish*tasks.nap*"])
    result.stdout.no_fnmatch_line("*tasks.flaky*")  # of another test


def test_start_worker_wherever_it_is_called(suite):
    result = suite.test("""
        import time
        import unittest

        import pytest
        from celery import Celery, current_app
        from celery.contrib.testing import worker as testing
        from celery.contrib.testing.worker import start_worker

        from shop import add, app, boom

        other = Celery("other", broker="redis://nowhere.invalid", set_as_current=False)
        REAL = [time.sleep]

        @other.task
        def multiply(x, y):
            return x * y

        class TestOfAClass(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                super().setUpClass()
                cls.worker = start_worker(app, perform_ping_check=False)
                cls.worker.__enter__()

            @classmethod
            def tearDownClass(cls):
                cls.worker.__exit__(None, None, None)
                super().tearDownClass()

            def test_one(self):
                self.assertEqual(add.delay(1, 2).get(timeout=10), 3)

            def test_two(self):
                self.assertEqual(add.apply_async((1, 2), countdown=3600).get(timeout=4000), 3)
                self.assertNotIn(time.sleep, REAL)

        class TestOfEachTest(unittest.TestCase):
            def setUp(self):
                self.worker = start_worker(app, perform_ping_check=False)
                self.worker.__enter__()
                self.addCleanup(self.worker.__exit__, None, None, None)

            def test_one(self):
                self.assertEqual(add.delay(1, 2).get(timeout=10), 3)

        def test_everything_is_put_back():
            assert time.sleep in REAL
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
            assert (app.conf.broker_read_url, app.conf.task_always_eager) == (app.conf.broker_url, False)

        @pytest.fixture(scope="module")
        def worker():
            with start_worker(app, perform_ping_check=False) as worker:
                yield worker

        def test_a_fixture_of_the_suite(worker):
            assert add.delay(1, 2).get(timeout=10) == 3

        def test_between_two_that_use_it():
            assert time.sleep in REAL

        def test_two_apps(worker):
            with start_worker(other, perform_ping_check=False):
                assert current_app._get_current_object() is other
                assert multiply.apply_async((3, 4), countdown=60).get(timeout=100) == 12
                assert add.delay(1, 2).get(timeout=10) == 3

        def test_two_workers_of_one_app(worker):
            with testing.start_worker(app, perform_ping_check=False, concurrency=2) as second:
                assert set(app.control.inspect().ping()) == {worker.hostname, second.hostname}
            assert set(app.control.inspect().ping()) == {worker.hostname}

        def test_the_signals(worker):
            seen = []
            starting = lambda sender, **_: seen.append(("starting", sender))
            started = lambda sender, worker, consumer, **_: seen.append(("started", sender, worker, consumer))
            stopped = lambda sender, worker, **_: seen.append(("stopped", sender, worker))
            testing.test_worker_starting.connect(starting)
            testing.test_worker_started.connect(started)
            testing.test_worker_stopped.connect(stopped)
            with start_worker(other, perform_ping_check=False) as here:
                assert isinstance(here, testing.TestWorkController)
            assert seen == [
                ("starting", other), ("started", other, here, here.consumer), ("stopped", other, here)
            ]

        def test_a_controller_of_the_suite(worker):
            class Mine(testing.TestWorkController):
                def mine(self):
                    return "mine"

            with start_worker(other, perform_ping_check=False, WorkController=Mine) as here:
                assert here.mine() == "mine"

        def test_the_ping_check(worker):
            import celery.contrib.testing.tasks

            with start_worker(other) as here:
                assert [run.task for run in here.harness.runs()] == ["celery.ping"]

        def test_stopping_it_by_hand():
            with start_worker(other, perform_ping_check=False) as here:
                multiply.apply_async((3, 4), countdown=60)
                here.stop()

        def test_an_error_in_the_block():
            with pytest.raises(ValueError):
                with start_worker(other, perform_ping_check=False):
                    multiply.delay(3, 4)
                    raise ValueError
            assert time.sleep in REAL
    """)

    result.assert_outcomes(passed=13)


def test_what_the_suite_makes_of_it(suite):
    suite.pytester.makeconftest("""
        import celery.contrib.testing.tasks
        import pytest

        @pytest.fixture
        def celery_app():
            from shop import app
            return app

        @pytest.fixture
        def celery_worker(celery_worker):
            yield celery_worker.harness
    """)
    result = suite.test("""
        import threading
        from io import StringIO

        from celery.contrib.testing.manager import Manager
        from shop import add, app, charge

        told = threading.Event()

        @app.task
        def tell():
            told.set()

        def test_their_own_fixtures_stand_on_celery_s(celery_app, celery_worker):
            assert celery_app is app
            assert add.delay(1, 2).get(timeout=10) == 3

        def test_step_by_step_to_a_harness(celery_worker):
            result = add.apply_async((1, 2), countdown=3600)
            celery_worker.settle()
            celery_worker.assert_succeeded(result, returns=3)
            celery_worker.assert_idempotent(add.s(1, 2), observe=lambda: None)

        def test_beside_a_harness_of_ours(harness, celery_worker):
            assert celery_worker is harness
            assert add.delay(1, 2).get(timeout=10) == 3

        def test_waiting_for_an_event(celery_worker):
            tell.apply_async(countdown=60)
            assert told.wait(100)

        def test_celery_s_manager(celery_worker):
            manager = Manager(app, stdout=StringIO(), stderr=StringIO())
            result = add.apply_async((1, 2), countdown=5)
            manager.join(result)
            manager.assert_result_tasks_in_progress_or_completed([result])
            manager.wait_until_idle()
            assert result.get() == 3
    """, "-o", "taskharness_app=shop:app")  # fmt: skip

    result.assert_outcomes(passed=5)


def test_tasks_of_another_app_at_the_same_broker(suite):
    suite.file(
        project="""
        from celery import Celery

        app = Celery("project", broker="memory://", backend="cache+memory://")
        far = Celery("far", broker="redis://nowhere.invalid/3", backend="redis://nowhere.invalid/4")
        done = []

        @app.task
        def add(x, y):
            return x + y

        @app.task
        def first():
            second.delay()

        @app.task
        def second():
            third.delay()

        @app.task
        def third():
            done.append("third")

        @far.task
        def subtract(x, y):
            return x - y
        """
    )
    result = suite.test("""
        import pytest
        from celery import Celery, chord, group
        from kombu import Connection

        from project import add, app, done, far, first, subtract
        from pytest_taskharness.errors import Deadlock

        def test_they_reach_the_worker(celery_app, celery_worker):
            assert add.apply_async((1, 2), countdown=3600).get(timeout=4000) == 3
            assert group(add.s(1, 2), add.s(3, 4))().get(timeout=10) == [3, 7]
            assert [run.worker for run in celery_worker.harness.runs(add)] == ["worker"] * 3
            assert app.AsyncResult(add.delay(5, 6).id).get(timeout=10) == 11

        def test_everything_is_put_back():
            assert app.amqp.Connection is Connection
            assert type(app.backend).__name__ == "CacheBackend"

        @pytest.mark.celery(broker_url="redis://nowhere.invalid", result_backend="redis://nowhere.invalid")
        def test_a_worker_at_another_broker(celery_worker):
            with pytest.raises(Deadlock, match="Does it wait for a task that was sent to another broker"):
                add.delay(1, 2).get()  # waits for ever

        def test_an_app_of_the_test(celery_session_worker):
            mine = Celery("mine", broker="memory://", backend="cache+memory://", set_as_current=False)
            assert mine.send_task("project.add", (1, 2)).get(timeout=10) == 3

        @pytest.mark.celery(broker_url="redis://nowhere.invalid:6379/3", result_backend="redis://nowhere.invalid/4")
        def test_a_broker_that_is_never_touched(celery_app, celery_worker):
            assert subtract.delay(3, 1).get(timeout=10) == 2

        def test_the_worker_is_ahead_of_who_waits(celery_worker):
            first.delay().get(timeout=10)
            assert done == ["third"]
    """)

    result.assert_outcomes(passed=6)


ONE_OF_EACH = """
def test_one(celery_app, celery_worker):
    from celery.contrib.testing.worker import TestWorkController

    @celery_app.task
    def multiply(x, y):
        return x * y

    assert isinstance(celery_worker, TestWorkController)
    assert celery_worker.harness.mode == "memory"
    assert multiply.apply_async((4, 4), countdown=3600).get(timeout=4000) == 16
    assert celery_app.conf.result_expires == 77


def test_all(celery_session_worker):
    assert celery_session_worker.harness
"""
OVERRIDDEN = """
import pytest

@pytest.fixture(scope="session")
def celery_config():
    return {"result_expires": 77}
"""
#: In the manner of pytest-celery, whose own stands beside Celery's other fixtures.
CONTAINERS = """
import pytest

@pytest.fixture(params=["a", "b"])
def celery_worker(request):
    raise RuntimeError("no Docker")
"""


@pytest.mark.parametrize(
    "conftest, module, options",
    [
        pytest.param("", "", (), id="nobody"),
        pytest.param("pytest_plugins = ['celery.contrib.pytest']", "", (), id="conftest"),
        pytest.param("", "pytest_plugins = ['celery.contrib.pytest']", (), id="module"),
        pytest.param("from celery.contrib.pytest import *", "", (), id="imported"),
        pytest.param("", "", ("-p", "neighbour"), id="neighbour"),
        pytest.param("", "pytest_plugins = ['containers']", (), id="neighbour-module"),
        pytest.param("", "", ("-p", "neighbour", "-p", "celery.contrib.pytest", "-W", "default"), id="both"),
    ],
)
def test_whoever_loads_celery_s_fixtures_and_when(suite, conftest, module, options):
    suite.file(containers=CONTAINERS, neighbour=f"from celery.contrib.pytest import *\n{CONTAINERS}")
    suite.pytester.makeconftest(f"{conftest}\n{OVERRIDDEN}")

    result = suite.test(f"{module}\n{ONE_OF_EACH}", *options)

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*celery_worker: stepped (ini taskharness_replace_celery_fixtures)"])


def test_without_the_setting_nothing_of_it_is_there(project):
    result = project.test("""
        import sys

        def test_one():
            assert not {"pytest_taskharness.dropin", "celery.contrib.pytest"} & sys.modules.keys()

        def test_two(celery_app):
            pass
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * fixture 'celery_app' not found"])
    result.stdout.no_fnmatch_line("*celery_worker*")


def test_workers_that_end_in_any_order(suite):
    result = suite.test("""
        import time
        import unittest

        import celery.result
        import kombu.utils.limits
        import pytest
        from celery import Celery
        from celery.contrib.testing.worker import start_worker

        import tasks
        from shop import add, app

        other = Celery("other", broker=app.conf.broker_url, backend=app.conf.result_backend, set_as_current=False)

        @other.task
        def pack():
            return "packed"

        REAL = time.sleep, time.time, kombu.utils.limits.monotonic, celery.result.time

        def check():
            assert (time.sleep, time.time, kombu.utils.limits.monotonic, celery.result.time) == REAL
            before = time.time()
            time.sleep(0.01)
            assert before < time.time() < before + 60

        class TestTwo(unittest.TestCase):
            def setUp(self):
                self.first = start_worker(app, perform_ping_check=False)
                self.first.__enter__()
                self.second = start_worker(other, perform_ping_check=False)
                self.second.__enter__()

            def tearDown(self):
                self.first.__exit__(None, None, None)
                assert pack.apply_async(countdown=3600).get(timeout=7200) == "packed"
                self.second.__exit__(None, None, None)
                check()

            def test_both(self):
                assert add.delay(1, 2).get(timeout=10) == 3
                assert pack.delay().get(timeout=10) == "packed"

        @pytest.fixture(scope="class")
        def for_the_class():
            with start_worker(app, perform_ping_check=False):
                yield

        class TestOfAClass:
            def test_the_worker_of_the_class(self, for_the_class):
                assert add.delay(1, 2).get(timeout=10) == 3

            def test_the_worker_of_the_session_which_began_later(self, celery_session_worker):
                assert tasks.add.delay(1, 2).get(timeout=10) == 3

            def test_neither(self):
                check()

        def test_after_the_class():
            check()

        def test_a_session_goes_on(celery_session_worker):
            assert tasks.add.apply_async((1, 2), countdown=60).get(timeout=100) == 3

        def test_the_app_of_the_class_again():
            with start_worker(app, perform_ping_check=False):
                assert add.delay(1, 2).get(timeout=10) == 3
            check()
    """)

    result.assert_outcomes(passed=7)


def test_what_cannot_be_served_is_said(suite):
    result = suite.test("""
        import pytest
        from celery.concurrency.solo import TaskPool
        from celery.contrib.testing.worker import start_worker
        from pytest_taskharness.errors import FidelityError

        from shop import add, app

        def test_a_ping_that_the_app_does_not_know():
            with pytest.raises(AssertionError, match="celery.contrib.testing.tasks, or pass perform_ping_check=False"):
                with start_worker(app):
                    pass

        @pytest.mark.parametrize("pool", ["gevent", "eventlet", "celery.concurrency.gevent:TaskPool"])
        def test_green_pools(pool):
            with pytest.raises(FidelityError, match="means green threads.*'solo', 'threads' or 'prefork'"):
                with start_worker(app, pool=pool, perform_ping_check=False):
                    pass

        def test_a_class_of_pool():
            with start_worker(app, pool=TaskPool, perform_ping_check=False):
                assert add.delay(1, 2).get(timeout=10) == 3

        @pytest.mark.taskharness(mode="eager")
        def test_a_mode_without_a_worker():
            with pytest.raises(FidelityError, match="Run this test with mode='memory'"):
                with start_worker(app, perform_ping_check=False):
                    pass

        @pytest.mark.taskharness(mode="eager")
        def test_beside_a_harness_without_a_worker(harness):
            with pytest.raises(FidelityError, match="Run this test with mode='memory'"):
                with start_worker(app, perform_ping_check=False):
                    pass

        @pytest.mark.taskharness(mode="fakeredis", start="2030-01-01T00:00Z")
        def test_the_marker_of_the_harness(celery_app, celery_worker):
            assert (celery_worker.harness.mode, celery_worker.harness.clock.now.year) == ("fakeredis", 2030)

        def test_nothing_is_left_of_any_of_them():
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
    """, "-o", "taskharness_app=shop:app")  # fmt: skip

    result.assert_outcomes(passed=9)
