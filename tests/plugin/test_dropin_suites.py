"""The kinds of suites that others have written against Celery's fixtures, each reduced to what is special about it."""

from __future__ import annotations

import pytest


@pytest.fixture
def suite(project):
    """Celery's fixtures as most suites load them, and the drop-in."""
    project.ini("taskharness_replace_celery_fixtures = true", "addopts = -p celery.contrib.pytest")
    return project


def test_the_tasks_belong_to_an_app_of_the_project(suite):
    """An agent's: `memory://` is one broker for all apps of the process, and `shared=True` does the rest."""
    suite.file(
        project_app="""
        from celery import Celery, shared_task

        app = Celery("project", broker_url="memory://", result_backend="cache+memory://")

        @app.task
        def add(x, y):
            return x + y

        @app.task
        def total(numbers):
            return sum(numbers)

        @shared_task
        def shared(x):
            return x
        """,
        conftest="""
        import pytest
        from celery.app.trace import reset_worker_optimizations, setup_worker_optimizations

        @pytest.fixture(scope="session")
        def celery_config():
            return {"broker_url": "memory://", "result_backend": "cache+memory://"}

        @pytest.fixture(scope="session")
        def traced(celery_session_app):
            # The agent comes up when all is imported, and puts itself into Celery's module.
            import celery.app.trace as module
            names, build = [], module.build_tracer

            def build_tracer(name, *args, **kwargs):
                names.append(name)
                return build(name, *args, **kwargs)

            module.build_tracer = build_tracer
            yield names
            module.build_tracer = build

        @pytest.fixture(scope="session", autouse=True)
        def worker_for_all(traced, celery_session_worker):
            return celery_session_worker

        @pytest.fixture(scope="session", autouse=True, params=[False, True], ids=["plain", "optimized"])
        def optimizations(request, worker_for_all):
            if request.param:
                setup_worker_optimizations(worker_for_all.app)
            yield
            reset_worker_optimizations()
        """,
    )
    result = suite.test("""
        from celery import chain, chord, group
        from project_app import add, shared, total

        def test_delay(traced):
            assert add.delay(1, 2).get() == 3
            assert "project_app.add" in traced

        def test_shared():
            assert shared.delay(1).get() == 1

        def test_canvases():
            assert chain(add.s(1, 2), add.s(3)).apply_async().get() == 6
            assert group(add.s(1, 2), add.s(3, 4)).apply_async().get() == [3, 7]
            assert chord([add.s(1, 2), add.s(3, 4)])(total.s()).get() == 10
    """)

    result.assert_outcomes(passed=6)


def test_a_library_reads_the_urls(suite):
    """Locks in Redis find their server in the configuration; a test leaves out what only one broker can do."""
    result = suite.test("""
        import pytest

        @pytest.fixture(scope="session", params=[1, 2])
        def celery_config(request):
            urls = {"broker_url": "memory://", "result_backend": "redis://nowhere.invalid"}
            return {**urls, "task_protocol": request.param}

        def test_on_memory_only(celery_app, celery_worker):
            if not celery_app.conf.broker_url.startswith("memory"):
                raise pytest.skip("flaky on live brokers")

        @pytest.mark.celery(result_backend="redis://another.invalid")
        def test_the_backend_s(celery_app, celery_worker):
            assert celery_app.conf.get("result_backend") == "redis://another.invalid"

        def test_both_protocols(celery_app, celery_worker):
            @celery_app.task
            def add(x, y):
                return x + y

            celery_worker.reload()
            assert add.delay(1, 2).get(timeout=1) == 3
    """)  # fmt: skip

    result.assert_outcomes(passed=6)


def test_each_task_of_a_test_reloads_the_worker(suite):
    """A tracer's: the decorator of the app is wrapped, once per test, and the worker is never pinged."""
    suite.file(
        conftest="""
        from functools import wraps

        import pytest

        @pytest.fixture
        def celery_worker_parameters():
            return {"perform_ping_check": False}

        @pytest.fixture(autouse=True)
        def reloading(celery_app, celery_worker):
            def wrapped(make):
                @wraps(make)
                def inner(*args, **kwargs):
                    task = make(*args, **kwargs)
                    celery_worker.reload()
                    return task
                return inner

            celery_app.task = wrapped(celery_app.task)
        """
    )
    result = suite.test("""
        import pytest
        from celery import signals
        from celery.exceptions import Retry

        class Mine(Exception):
            pass

        @pytest.fixture
        def seen():
            names = []
            def heard(signal, **kwargs):
                names.append(signal.name)
            heard_of = (signals.before_task_publish, signals.task_prerun, signals.task_postrun, signals.task_failure,
                        signals.task_retry)
            for signal in heard_of:
                signal.connect(heard)
            yield names
            for signal in heard_of:
                signal.disconnect(heard)

        def test_the_signals_of_a_run(celery_app, seen):
            @celery_app.task
            def fine():
                return 42

            assert fine.delay().get(timeout=10) == 42
            assert seen == ["before_task_publish", "task_prerun", "task_postrun"]

        def test_the_signals_of_a_failure(celery_app, seen):
            @celery_app.task
            def wrong():
                raise Mine("wrong")

            with pytest.raises(Mine):
                wrong.delay().get(timeout=10)
            assert seen == ["before_task_publish", "task_prerun", "task_failure", "task_postrun"]

        def test_the_signals_of_a_retry(celery_app, seen):
            @celery_app.task(bind=True, default_retry_delay=2, max_retries=1)
            def again(self):
                self.retry(exc=Mine("gave up"))

            with pytest.raises(Mine):
                again.delay().get()
            assert seen.count("task_retry") == 1 and seen.count("task_failure") == 1

        def test_apply_needs_no_worker(celery_app, seen):
            @celery_app.task
            def fine():
                return 42

            assert fine.apply().get() == 42
            assert seen == ["task_prerun", "task_postrun"]
    """)  # fmt: skip

    result.assert_outcomes(passed=4)


def test_a_worker_of_one_s_own_and_nothing_of_celery_s_fixtures(suite):
    """A web framework's and a scheduler's: app and worker from a fixture, with a `celery.ping` of one's own."""
    suite.file(
        conftest="""
        import celery
        import pytest
        from celery.contrib.testing.app import DEFAULT_TEST_CONFIG, TestApp, setup_default_app
        from celery.contrib.testing.worker import start_worker

        entered = []

        class InContext(celery.Task):
            def __call__(self, *args, **kwargs):
                entered.append(self.name)
                return self.run(*args, **kwargs)

        CELERY = celery.Celery("web", task_cls=InContext)

        @CELERY.task(name="celery.ping")
        def ping():
            return "pong"

        @pytest.fixture(scope="session")
        def own_worker():
            CELERY.conf.update(DEFAULT_TEST_CONFIG)
            CELERY.conf["worker_send_task_events"] = True
            with start_worker(CELERY, pool="solo"):
                yield

        @pytest.fixture
        def another_app():
            app = TestApp("another", set_as_current=True, config={"result_backend": "cache+memory://"})
            with setup_default_app(app), start_worker(app, perform_ping_check=False):
                yield app
        """
    )
    result = suite.test("""
        import logging
        import time

        import pytest
        from celery import shared_task
        from conftest import CELERY, entered

        @CELERY.task(bind=True, max_retries=1)
        def provoked(self, error, value):
            if self.request.retries == 0:
                raise self.retry(countdown=60)
            if error:
                raise ValueError(value)
            return value

        @shared_task
        def shared(x):
            return x

        @pytest.mark.parametrize("error", [True, False])
        def test_a_retry(own_worker, error):
            result = provoked.delay(error, 7)
            if error:
                with pytest.raises(ValueError):
                    result.get(timeout=100)
            else:
                assert result.get(timeout=100) == 7
            assert "test_shop.provoked" in entered

        def test_send_task(own_worker):
            result = CELERY.send_task("test_shop.provoked", (False, 8))
            assert result.wait() == 8 and result.successful()

        def test_another_app_meanwhile(own_worker, another_app):
            assert shared.delay(5).get(timeout=10) == 5

        def test_and_the_first_again(own_worker):
            assert provoked.delay(False, 9).get(timeout=100) == 9
    """)  # fmt: skip

    result.assert_outcomes(passed=5)


def test_programs_that_make_tasks_and_tests_that_poll(suite):
    """A device's: tasks are added to the app after the worker started, queues are named, pickle is all that is read."""
    suite.file(
        conftest="""
        import time

        import pytest

        @pytest.fixture(scope="session")
        def celery_config():
            pickled = dict.fromkeys(["task_serializer", "result_serializer"], "pickle")
            return {"accept_content": ["pickle", "json"], **pickled}

        @pytest.fixture(scope="session")
        def celery_worker_parameters():
            return {"loglevel": "WARN", "queues": ("celery", "default", "special")}

        @pytest.fixture
        def wait_for():
            def wait(condition, timeout=5.0, interval=0.05):
                deadline = time.monotonic() + timeout
                while time.monotonic() < deadline:
                    if condition():
                        return
                    time.sleep(interval)
                raise AssertionError("it did not come about")
            return wait
        """
    )
    result = suite.test("""
        from pathlib import Path

        import pytest

        class Program:
            def __init__(self, app, path):
                @app.task(name="write")
                def write(at, text):
                    at.write_text(text)
                @app.task(name="produce")
                def produce():
                    write.apply_async((path, "hello"), queue="special")
                    return path
                self.tasks = {"write": write, "produce": produce}

        @pytest.mark.usefixtures("celery_app", "celery_worker")
        def test_callbacks(tmp_path, celery_app, celery_worker, wait_for):
            program = Program(celery_app, tmp_path / "out.txt")
            celery_worker.reload()
            assert program.tasks["produce"].delay().get(timeout=1) == tmp_path / "out.txt"
            wait_for((tmp_path / "out.txt").exists)
            assert (tmp_path / "out.txt").read_text() == "hello"

        def test_a_countdown_that_is_polled_for(tmp_path, celery_app, celery_worker, wait_for):
            program = Program(celery_app, tmp_path / "out.txt")
            program.tasks["produce"].apply_async(countdown=3600)
            wait_for((tmp_path / "out.txt").exists, timeout=4000, interval=10)
    """)  # fmt: skip

    result.assert_outcomes(passed=2)


def test_a_manager_that_asks_the_worker(suite):
    """Celery's own: an app for each test on the worker of the session, and remote control to wait by."""
    suite.file(
        shared_tasks="""
        from time import sleep

        from celery import chord, group, shared_task

        @shared_task
        def add(x, y):
            return x + y

        @shared_task
        def nap(seconds):
            sleep(seconds)

        @shared_task(bind=True)
        def replaced(self, n):
            return self.replace(group(add.s(n, m) for m in range(3)))

        @shared_task
        def total(numbers):
            return sum(numbers)
        """,
        conftest="""
        import pytest
        from celery.contrib.pytest import celery_app, celery_session_worker
        from celery.contrib.testing.manager import Manager

        @pytest.fixture(scope="session")
        def celery_config():
            return {"broker_url": "redis://nowhere.invalid", "result_backend": "redis://nowhere.invalid",
                    "result_extended": True}

        @pytest.fixture(scope="session")
        def celery_worker_pool():
            return "prefork"

        @pytest.fixture(scope="session")
        def celery_includes():
            return {"shared_tasks"}

        @pytest.fixture
        def manager(celery_app, celery_session_worker):
            manager = Manager(celery_app)
            yield manager
            manager.wait_until_idle()

        @pytest.fixture(autouse=True)
        def current(celery_app):
            celery_app.set_current()
            celery_app.set_default()
        """,
    )  # fmt: skip
    result = suite.test("""
        import pytest
        from celery import chord, group
        from celery.exceptions import TimeoutError
        from shared_tasks import add, nap, replaced, total

        def test_canvases(manager):
            assert (add.s(1, 2) | add.s(3)).apply_async().get(timeout=60) == 6
            assert chord([add.s(1, 1), add.s(0, 1)])(total.s()).get(timeout=60) == 3
            assert replaced.delay(1).get(timeout=60) == [1, 2, 3]

        def test_a_result_of_the_session_s_app(manager, celery_session_worker):
            result = add.delay(2, 2)
            assert celery_session_worker.app.AsyncResult(result.id).get(timeout=60) == 4

        def test_the_states_of_what_runs(manager):
            results = [nap.apply_async((1,), countdown=5) for _ in range(3)]
            scheduled = manager.inspect().scheduled()
            assert [len(requests) for requests in scheduled.values()] == [3]
            manager.assert_result_tasks_in_progress_or_completed(results)

        def test_a_join_that_is_given_up(manager):
            result = nap.delay(60)
            with pytest.raises(TimeoutError):
                result.get(timeout=5)
            assert manager.join(result) is None

        def test_what_a_test_inspects(manager):
            answers = manager.inspect(timeout=1).ping()
            assert [answer for answer in answers.values()] == [{"ok": "pong"}]
    """)

    result.assert_outcomes(passed=5)


def test_an_endpoint_waits_for_its_task(suite):
    """A middleware's: the test is a coroutine, and the ids of requests go on from task to task in the logs."""
    result = suite.test("""
        import asyncio
        import logging

        from celery import shared_task
        from celery.signals import before_task_publish, task_prerun

        logger = logging.getLogger("views")
        current = []

        @before_task_publish.connect
        def carry(headers, **kwargs):
            headers["CORRELATION"] = current[-1] if current else "none"

        @task_prerun.connect
        def take(task, **kwargs):
            current.append(task.request.get("CORRELATION"))

        @shared_task
        def first():
            logger.info("first %s", current[-1])
            second.delay()

        @shared_task
        def second():
            logger.info("second %s", current[-1])

        async def view():
            logger.debug("view")
            return first.delay().get(timeout=10)

        def test_endpoint(caplog, celery_session_app, celery_session_worker):
            caplog.set_level("DEBUG")
            current[:] = ["abc"]
            asyncio.run(view())
            result = second.delay()
            result.get(timeout=10)
            texts = [record.message for record in caplog.records if record.name != "asyncio"]
            assert texts == ["view", "first abc", "second abc", "second abc"]
    """)

    result.assert_outcomes(passed=1)
