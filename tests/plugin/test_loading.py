"""What loading the plugin costs, and what it brings."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_taskharness

HEAVY = ("billiard", "celery", "django", "freezegun", "hypothesis", "kombu", "redis", "time_machine")
LOADED = f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"


def python(*lines):
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def bare(pytester, monkeypatch):
    """A project that does not use the plugin, and no plugin but ours (some import what we do not)."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(f"import sys\ndef pytest_unconfigure():\n    {LOADED}")
    pytester.makepyfile("def test_one():\n    pass")
    return lambda *args: pytester.runpytest_subprocess("-p", "pytest_taskharness.plugin", *args)


def test_importing_the_plugin_imports_nothing_heavy():
    assert python("import sys, pytest_taskharness.plugin", LOADED) == "heavy: []\n"


def test_importing_the_package_imports_nothing_heavy():
    assert python("import sys, pytest_taskharness, pytest_taskharness.errors", LOADED) == "heavy: []\n"


def test_collecting_a_project_that_does_not_use_it_imports_nothing_heavy(bare):
    result = bare("--collect-only")

    result.stdout.fnmatch_lines(["taskharness: mode memory *", "heavy: []"])


def test_running_a_project_that_does_not_use_it_imports_nothing_heavy(bare):
    result = bare()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["heavy: []"])


def test_every_public_name_is_there():
    assert sorted(pytest_taskharness.__all__) == pytest_taskharness.__all__
    for name in pytest_taskharness.__all__:
        assert getattr(pytest_taskharness, name).__name__ == name


def test_dir_lists_the_public_names():
    assert {*pytest_taskharness.__all__, "errors"} <= set(dir(pytest_taskharness))


def test_everything_that_dir_lists_is_there_without_an_import():
    assert python(
        "import pytest_taskharness as package",
        "print([name for name in dir(package) if not hasattr(package, name)])",
    ) == "[]\n"  # fmt: skip


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'pytest_taskharness' has no attribute 'Harnes'$"):
        pytest_taskharness.Harnes  # noqa: B018


def test_every_error_derives_from_one_base():
    from pytest_taskharness import errors

    raised = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(error, (errors.TaskHarnessError, Warning)) for error in raised)


def test_it_can_be_switched_off(project):
    project.file(test_without="def test_without():\n    pass")
    result = project.test(
        "def test_shop(harness):\n    pass", "-p", "no:taskharness", "-W", "ignore::pytest.PytestConfigWarning"
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'harness' not found"])
    result.stdout.no_fnmatch_line("taskharness:*")


def test_the_fixtures_are_listed_with_what_they_do(project):
    result = project.run("--fixtures")

    result.stdout.fnmatch_lines_random(
        [
            "taskharness_app [[]session scope[]] -- *",
            "taskharness_config -- *",
            "harness -- *",
            "    Your Celery app with its worker stepped in the test's thread, under a virtual clock.",
            "memory_harness -- *",
            "eager_harness -- *",
        ]
    )
    result.stdout.no_fnmatch_line("_taskharness_mode*")


def test_the_marker_is_listed_with_its_signature(project):
    result = project.run("--markers")

    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.taskharness(mode=, modes=, start=, seed=, workers=, *): set up the harness of this test.",
        ]
    )


def test_the_options_are_in_the_help(project):
    result = project.run("--help")

    result.stdout.fnmatch_lines(
        [
            "pytest-taskharness: *",
            "  --taskharness-mode=MODE,…*",
            "  --taskharness-app=PATH*",
            "  --taskharness-seed=N*",
            "  --taskharness-timeline=WHEN*",
            "  taskharness_mode (args)*",
            "  taskharness_app (string)*",
        ]
    )


def test_a_conftest_may_name_the_plugin_where_entry_points_are_off(project, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project.file(conftest="pytest_plugins = ['pytest_taskharness.plugin']")

    result = project.test("from shop import add\n\ndef test(harness):\n    assert add.delay(1, 2).get() == 3")

    result.assert_outcomes(passed=1)
