"""Where the Celery app comes from, and what is said where it does not."""

from __future__ import annotations

import pytest

NAMED = """
def test_named(harness):
    assert harness.app.main == {name!r}
"""

NO_APP = """\
UsageError: no Celery app is configured for the harness. Name it in one of these ways:
      - in conftest.py:
            @pytest.fixture(scope="session")
            def taskharness_app():
                from shop.tasks import app
                return app
      - in pytest's configuration file:  taskharness_app = "shop.tasks:app"
      - on the command line:             --taskharness-app=shop.tasks:app
"""


def test_the_app_is_named_in_the_configuration_file(project):
    project.test(NAMED.format(name="shop")).assert_outcomes(passed=1)


def test_the_app_is_named_in_pyproject_toml(no_app):
    no_app.pytester.path.joinpath("tox.ini").unlink()
    no_app.pytester.makepyprojecttoml('[tool.pytest.ini_options]\ntaskharness_app = "shop:app"')

    no_app.test(NAMED.format(name="shop")).assert_outcomes(passed=1)


def test_the_app_is_named_on_the_command_line(no_app):
    no_app.test(NAMED.format(name="shop"), "--taskharness-app=shop:app").assert_outcomes(passed=1)


def test_the_app_comes_from_a_fixture(no_app):
    no_app.file(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def taskharness_app():
            from shop import app
            return app
    """
    )

    no_app.test(NAMED.format(name="shop")).assert_outcomes(passed=1)


OWN_APP = """
import pytest

@pytest.fixture
def taskharness_app():
    from celery import Celery
    return Celery("own")
"""


def test_a_fixture_beats_the_configuration_file_and_the_header_allows_for_it(project):
    project.file(conftest=OWN_APP)
    result = project.test(NAMED.format(name="own"))

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["taskharness: * app shop:app (ini taskharness_app), unless a taskharness_app fixture says otherwise, *"]
    )


def test_the_command_line_beats_a_fixture(no_app):
    no_app.file(conftest=OWN_APP)

    no_app.test(NAMED.format(name="shop"), "--taskharness-app=shop:app").assert_outcomes(passed=1)


def test_a_test_module_may_have_an_app_of_its_own(project):
    project.file(test_other=NAMED.format(name="shop"))
    result = project.test("""
        import pytest
        from celery import Celery

        own = Celery("own")

        @own.task
        def double(n):
            return n * 2

        @pytest.fixture
        def taskharness_app():
            return own

        def test_own(harness):
            assert double.delay(21).get() == 42
    """)

    result.assert_outcomes(passed=2)


def test_a_fixture_may_return_a_path(no_app):
    no_app.file(conftest="import pytest\n\n@pytest.fixture\ndef taskharness_app():\n    return 'shop:app'")

    no_app.test(NAMED.format(name="shop")).assert_outcomes(passed=1)


@pytest.mark.parametrize("path", ["shop", "shop:app", "shop.app", "package", "package.celery:app"])
def test_a_path_is_looked_up_as_celery_does(no_app, path):
    no_app.pytester.mkpydir("package").joinpath("celery.py").write_text("from shop import app\n", encoding="utf-8")

    no_app.test(NAMED.format(name="shop"), f"--taskharness-app={path}").assert_outcomes(passed=1)


def test_no_app_at_all_names_the_three_ways(no_app):
    result = no_app.test(NAMED.format(name="shop"))

    result.assert_outcomes(errors=1)
    assert NO_APP in result.stdout.str()
    assert not any("fixtures.py" in line for line in result.outlines)


def test_tests_that_need_no_app_run_without_one(no_app):
    no_app.test("def test_one():\n    pass").assert_outcomes(passed=1)


def test_a_module_that_is_not_there_is_the_error_that_python_gives(no_app):
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=shopp:app")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E * the Celery app 'shopp:app' cannot be imported: ModuleNotFoundError: No module named 'shopp'",
            "* It is looked up as `celery -A shopp:app` would: try that command in *",
        ]
    )
    assert not any("importlib" in line or "apps.py" in line for line in result.outlines)


def test_an_import_inside_the_users_module_that_fails_is_shown_with_its_line(no_app):
    no_app.file(broken="import os\nfrom celery import Celery\nimport nowhere\n\napp = Celery()")
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=broken:app")

    result.stdout.fnmatch_lines(
        [
            "E * the Celery app 'broken:app' cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
            '*File "*broken.py", line 3, in <module>',
            "*import nowhere",
        ]
    )
    assert not any("importlib" in line or "kombu" in line for line in result.outlines if "File " in line)


def test_a_syntax_error_in_the_users_module_is_shown_with_its_line(no_app):
    no_app.file(broken="from celery import Celery\n\napp = Celery(\n")
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=broken:app")

    result.stdout.fnmatch_lines(
        [
            "E * the Celery app 'broken:app' cannot be imported: SyntaxError: '(' was never closed (broken.py, line 3)",
            '*File "*broken.py", line 3',
            "*app = Celery(",
        ]
    )


def test_an_exception_in_the_users_module_is_shown_with_its_line(no_app):
    no_app.file(broken="raise KeyError('DATABASE_URL')")
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=broken:app")

    result.stdout.fnmatch_lines(
        [
            "E * the Celery app 'broken:app' cannot be imported: KeyError: 'DATABASE_URL'",
            '*File "*broken.py", line 1, in <module>',
        ]
    )


def test_an_attribute_error_at_import_is_shown_with_its_line(no_app):
    no_app.file(broken="import os\n\nos.nowhere\n")
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=broken:app")

    result.stdout.fnmatch_lines(
        [
            "E * the Celery app 'broken:app' cannot be imported: AttributeError: module 'os' has no attribute *",
            '*File "*broken.py", line 3, in <module>',
        ]
    )


def test_a_name_that_the_module_does_not_have(no_app):
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=shop:ap")

    result.stdout.fnmatch_lines(
        ["E * the Celery app 'shop:ap' cannot be imported: AttributeError: module 'shop' has no attribute 'ap'*"]
    )
    told = [line for line in result.outlines if line.startswith("E ") and "has no attribute 'ap'" in line]
    assert len(told) == 1


def test_something_that_is_no_app(no_app):
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=shop:add")

    result.stdout.fnmatch_lines(
        [
            "E * expected a Celery app, found <@task: shop.add of shop at *> (type add) from 'shop:add'. Name the *",
        ]
    )


def test_a_fixture_that_returns_nothing(no_app):
    no_app.file(conftest="import pytest\n\n@pytest.fixture\ndef taskharness_app():\n    pass")

    result = no_app.test(NAMED.format(name="shop"))

    result.stdout.fnmatch_lines(["E * expected a Celery app, found None (type NoneType) from *"])


@pytest.mark.parametrize("path", ["", " ", ":", "shop:"])
def test_a_path_that_is_none_is_an_error_and_no_other_app(no_app, path):
    result = no_app.test(NAMED.format(name="shop"), f"--taskharness-app={path}")

    assert result.ret != 0 or path == "shop:"
    assert not any("INTERNALERROR" in line for line in [*result.outlines, *result.errlines])


def test_a_module_that_exits_at_import_does_not_end_the_run(no_app):
    no_app.file(broken="import sys\nsys.exit(3)", test_other="def test_other():\n    pass")
    result = no_app.test(NAMED.format(name="shop"), "--taskharness-app=broken:app")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * the Celery app 'broken:app' cannot be imported: SystemExit: 3"])
