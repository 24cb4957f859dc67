"""The fixtures in one test, beside each other and beside the user's own."""

from __future__ import annotations

import pytest


def test_three_harnesses_in_one_test(project):
    result = project.test("""
        from shop import add

        def test_all(harness, memory_harness, eager_harness):
            assert [it.mode for it in (harness, memory_harness, eager_harness)] == ["memory", "memory", "eager"]
            assert add.delay(1, 2).get() == 3
            assert len(eager_harness.outbox) == 1
            assert len(harness.outbox) == len(memory_harness.outbox) == 0
    """)

    result.assert_outcomes(passed=1)


def test_afterwards_the_app_is_as_it_was(project):
    result = project.test("""
        from celery import current_app
        from shop import add, app

        def snapshot():
            settings = {key: app.conf[key] for key in ("broker_url", "result_backend", "task_always_eager")}
            return settings, dict(app.conf.changes), app._pool, app._backend_cache, app.amqp, set(app.tasks)

        before = snapshot()

        def test_one(harness, eager_harness):
            assert add.delay(1, 2).get() == 3
            app.conf.task_default_queue = "changed"

        def test_two():
            after = snapshot()
            for one, other in zip(before, after):
                assert one == other
            assert app.conf.task_default_queue == "celery"
    """)

    result.assert_outcomes(passed=2)


def test_a_harness_of_the_users_own_wins_over_ours(project):
    project.file(conftest="import pytest\n\n@pytest.fixture\ndef harness():\n    return 'mine'")
    result = project.test(
        """
        def test_mine(harness):
            assert harness == "mine"

        def test_ours(memory_harness):
            assert memory_harness.mode == "memory"
        """,
        "--taskharness-mode=eager,memory",
    )

    result.assert_outcomes(passed=2)


BUILT_ON_OURS = """
import pytest

@pytest.fixture
def harness(harness):
    harness.note = "prepared"
    return harness
"""


def test_a_harness_of_the_users_own_may_build_on_ours(project):
    project.file(conftest=BUILT_ON_OURS)

    project.test("def test_both(harness):\n    assert harness.note == 'prepared'").assert_outcomes(passed=1)


@pytest.mark.skipif(
    int(pytest.__version__.partition(".")[0]) < 9, reason="pytest 8 does not say what an overridden fixture asks for"
)
def test_a_harness_that_builds_on_ours_is_repeated_for_each_mode(project):
    project.file(conftest=BUILT_ON_OURS)
    result = project.test("def test_both(harness):\n    pass", "--taskharness-mode=eager,memory", "-v")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_both[[]eager] PASSED*", "*test_both[[]memory] PASSED*"])


def test_taskharness_config_may_be_overridden_and_depend_on_other_fixtures(project):
    project.file(
        conftest="""
        import pytest

        @pytest.fixture
        def queue():
            return "mine"

        @pytest.fixture
        def taskharness_config(queue):
            return {"task_default_queue": queue}
    """
    )
    result = project.test("""
        from shop import add

        def test_config(harness):
            add.delay(1, 2)
            assert harness.outbox[0].queue == "mine"
    """)

    result.assert_outcomes(passed=1)


def test_fixtures_of_session_and_module_scope_may_use_the_app_before_any_harness(project):
    project.file(
        conftest="""
        import pytest
        from shop import app

        @pytest.fixture(scope="session", autouse=True)
        def configured():
            app.conf.task_default_queue = "session"
            yield
            assert app.conf.task_default_queue == "session"
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"

        @pytest.fixture(scope="module", autouse=True)
        def touched():
            assert app.amqp.queues
    """
    )
    result = project.test("""
        from shop import add

        def test_one(harness):
            add.delay(1, 2)
            assert harness.outbox[0].queue == "session"
            assert add.delay(3, 4).get() == 7

        def test_two(harness):
            assert harness.outbox == []
            assert add.delay(3, 4).get() == 7
    """)

    result.assert_outcomes(passed=2)


def test_an_autouse_fixture_may_ask_for_the_harness(project):
    project.file(conftest="import pytest\n\n@pytest.fixture(autouse=True)\ndef always(harness):\n    yield harness")
    result = project.test(
        "from shop import add\n\ndef test_one():\n    assert add.delay(1, 2).get() == 3",
        "--taskharness-mode=eager,memory",
    )

    result.assert_outcomes(passed=2)


def test_getfixturevalue_gives_a_harness(project):
    result = project.test("""
        def test_late(request):
            assert request.getfixturevalue("harness").mode == "memory"
    """)

    result.assert_outcomes(passed=1)


def test_usefixtures_and_parametrize_go_together(project):
    result = project.test(
        """
        import pytest
        from shop import add

        @pytest.mark.usefixtures("harness")
        @pytest.mark.parametrize("n", [1, 2])
        def test_add(n):
            assert add.delay(n, n).get() == 2 * n
        """,
        "--taskharness-mode=eager,memory",
    )

    result.assert_outcomes(passed=4)


def test_a_harness_in_a_class_with_xunit_setup(project):
    result = project.test("""
        from shop import add

        class TestShop:
            def setup_method(self):
                self.n = 1

            def test_add(self, harness):
                assert add.delay(self.n, 2).get() == 3
    """)

    result.assert_outcomes(passed=1)


def test_a_broader_fixture_that_asks_for_the_harness_is_pytests_own_error(project):
    result = project.test("""
        import pytest

        @pytest.fixture(scope="module")
        def broad(harness):
            pass

        def test_broad(broad):
            pass
    """)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ScopeMismatch*"])


def test_two_apps_in_one_test(project):
    result = project.test("""
        from celery import Celery
        from pytest_taskharness import Harness
        from shop import add

        other = Celery("other")

        @other.task
        def relay(n):
            return add.delay(n, n).id

        def test_relay(harness):
            with Harness.open(other) as second:
                result = relay.delay(21)
                second.settle()
                [run] = harness.runs(add)
                assert (run.id, run.result) == (result.get(), 42)
    """)

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_a_closed_harness_can_still_be_looked_at(project, mode):
    result = project.test(f"""
        from pytest_taskharness import Harness
        from shop import add, app

        def test_closed():
            with Harness.open(app, {mode!r}) as harness:
                result = add.delay(1, 2)
                harness.settle()
            assert harness.run_of(result).result == 3
            assert len(harness.outbox) == 1
            assert "shop.add" in str(harness.timeline)
            assert harness.tally.lost == []
            assert "closed" in repr(harness)
    """)

    result.assert_outcomes(passed=1)
