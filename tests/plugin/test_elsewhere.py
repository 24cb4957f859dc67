"""Beside other plugins, under other import modes, and without pytest."""

from __future__ import annotations

import subprocess
import sys

import pytest

ADD = "from shop import add\n\ndef test_add(harness):\n    assert add.delay(1, 2).get() == 3\n"


def script(project, source):
    path = project.pytester.makepyfile(script=source)
    return subprocess.run([sys.executable, str(path)], cwd=path.parent, capture_output=True, text=True, check=False)


# -- without pytest


def test_a_plain_script_opens_a_harness(project):
    done = script(
        project,
        """
        import sys
        from pytest_taskharness import Harness
        from shop import add, app

        with Harness.open(app, start="2030-01-01T00:00Z", seed=3, clock="freezegun") as harness:
            result = add.apply_async((1, 2), countdown=3600)
            print(harness.settle())
            print(result.get(), harness.clock.now.isoformat())
        assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
        print("pytest" in sys.modules)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "<Report SUCCESS 1 in 1:00:00>",
        "3 2030-01-01T01:00:00+00:00",
        "False",
    ]


def test_a_path_names_the_app_in_a_script_too(project):
    done = script(
        project, "from pytest_taskharness import Harness\nwith Harness.open('shop:app') as h:\n    print(h.app.main)"
    )

    assert done.stdout == "shop\n", done.stderr


def test_a_with_block_that_fails_shows_its_own_error(project):
    done = script(
        project,
        """
        from pytest_taskharness import Harness
        from shop import add, app

        with Harness.open(app, strict_leftovers=True):
            add.delay(1, 2)
            raise KeyError("mine")
        """,
    )

    assert done.stderr.splitlines()[-1] == "KeyError: 'mine'"


def test_an_error_while_opening_gives_everything_back(project):
    done = script(
        project,
        """
        import time
        from pytest_taskharness import Harness
        from pytest_taskharness.errors import ConfigurationError
        from shop import app

        real = time.sleep, time.time()
        for wrong in ({"workers": 0}, {"config": {"worker_concurrency": "many"}}, {"clock": "sundial"}):
            try:
                Harness.open(app, start="2030-01-01T00:00Z", **wrong)
            except Exception as error:
                print(type(error).__name__)
            assert time.sleep is real[0]
            assert time.time() - real[1] < 60
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
        """,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "ConfigurationError"
    assert len(done.stdout.splitlines()) == 3


def test_a_unittest_test_case_opens_a_harness(project):
    result = project.test("""
        import unittest
        from pytest_taskharness import Harness
        from shop import add, app

        class ShopTest(unittest.TestCase):
            def setUp(self):
                self.harness = Harness.open(app)
                self.addCleanup(self.harness.close)

            def test_add(self):
                self.assertEqual(add.delay(1, 2).get(), 3)
                self.assertEqual(len(self.harness.runs(add)), 1)

            def test_nothing(self):
                self.assertEqual(self.harness.runs(), [])
    """)

    result.assert_outcomes(passed=2)


def test_a_unittest_test_case_gets_the_harness_from_an_autouse_fixture(project):
    result = project.test("""
        import unittest
        import pytest
        from shop import add

        @pytest.mark.taskharness(start="2030-01-01T00:00Z")
        class ShopTest(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _harness(self, harness):
                self.harness = harness

            def test_add(self):
                self.assertEqual(add.delay(1, 2).get(), 3)
                self.assertEqual(self.harness.clock.now.year, 2030)

            def test_fails(self):
                add.delay(5, 6)
                self.fail("no")
    """)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*taskharness timeline (memory, seed 0)*", "*publish*(5, 6)*"])


def test_unittests_own_runner_works(project):
    project.file(
        test_shop="""
        import unittest
        from pytest_taskharness import Harness
        from shop import add, app

        class ShopTest(unittest.TestCase):
            def test_add(self):
                with Harness.open(app, "eager") as harness:
                    self.assertEqual(add.delay(1, 2).get(), 3)
    """
    )
    done = subprocess.run(
        [sys.executable, "-m", "unittest"], cwd=project.pytester.path, capture_output=True, text=True, check=False
    )

    assert "OK" in done.stderr


# -- ways to run pytest


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_every_import_mode(project, mode):
    project.pytester.mkdir("tests").joinpath("test_add.py").write_text(ADD, encoding="utf-8")

    project.run(f"--import-mode={mode}").assert_outcomes(passed=1)


def test_pytest_started_in_another_directory(project):
    project.file(conftest="import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))")
    project.file(test_shop=ADD)
    elsewhere = project.pytester.mkdir("elsewhere")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ".."],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout


def test_doctests_and_a_harness_in_one_run(project):
    project.file(documented='"""\n>>> 1 + 1\n2\n"""')

    project.test(ADD, "--doctest-modules", "documented.py", "test_shop.py").assert_outcomes(passed=2)


def test_collect_only_opens_nothing(project):
    project.file(shop="raise RuntimeError('must not be imported')")
    result = project.test("def test_add(harness):\n    pass", "--collect-only", "-q")

    result.stdout.fnmatch_lines(["test_shop.py::test_add"])


def test_warnings_as_errors(project):
    project.test(ADD, "-W", "error").assert_outcomes(passed=1)


def test_the_same_plugin_by_name_and_by_entry_point(project):
    project.test(ADD, "-p", "taskharness").assert_outcomes(passed=1)


# -- beside other plugins


@pytest.mark.parametrize(
    "first, second",
    [("celery.contrib.pytest", "taskharness"), ("taskharness", "celery.contrib.pytest")],
)
def test_celerys_own_pytest_plugin_beside_us_in_either_order(project, first, second):
    result = project.test(
        """
        from shop import add

        def test_ours(harness):
            assert add.delay(1, 2).get() == 3

        def test_theirs(celery_app, celery_worker):
            @celery_app.task
            def double(n):
                return n * 2

            celery_worker.reload()
            assert double.delay(21).get(timeout=20) == 42

        def test_ours_again(harness):
            assert add.delay(1, 2).get() == 3

        def test_both(harness, celery_app):
            assert add.delay(1, 2).get() == 3
        """,
        "-p", first, "-p", second,
    )  # fmt: skip

    result.assert_outcomes(passed=4)


def test_celerys_app_fixture_may_be_our_app(project):
    project.file(
        conftest="""
        import pytest

        @pytest.fixture
        def taskharness_app(celery_app):
            return celery_app
    """
    )
    result = project.test(
        """
        def test_theirs(harness, celery_app):
            @celery_app.task
            def double(n):
                return n * 2

            assert double.delay(21).get() == 42
        """,
        "-p", "celery.contrib.pytest",
    )  # fmt: skip

    result.assert_outcomes(passed=1)


def test_an_async_test_without_an_async_plugin_is_pytests_own_business(project):
    result = project.test("""
        import asyncio
        from shop import add

        def test_loop(harness):
            async def main():
                result = add.apply_async((1, 2), countdown=10)
                await asyncio.sleep(10)
                return result.get()

            assert asyncio.run(main()) == 3
    """)

    result.assert_outcomes(passed=1)


def test_a_django_project_that_is_not_configured_is_left_alone(project):
    result = project.test("""
        import sys
        from shop import add

        def test_add(harness):
            assert add.delay(1, 2).get() == 3
            assert "django.conf" not in sys.modules
    """)

    result.assert_outcomes(passed=1)


def test_xfail_and_skip_keep_their_meaning(project):
    result = project.test("""
        import pytest
        from shop import add

        @pytest.mark.xfail(strict=True)
        def test_xfails(harness):
            assert add.delay(1, 2).get() == 4

        def test_skips(harness):
            pytest.skip("later")

        @pytest.mark.xfail(raises=RuntimeError)
        def test_raises(harness):
            from shop import boom
            boom.delay().get()
    """)

    result.assert_outcomes(xfailed=2, skipped=1)
