"""Installed and not used, the plugin changes no outcome of any suite, whatever else is loaded and in either order."""

from __future__ import annotations

import pytest
from idle_suites import outcomes, write

CELERYS = ("-p", "celery.contrib.pytest")
OURS = ("-p", "taskharness")

LOADED = {
    "by its entry point": (),
    "under xdist": ("-n", "2"),
    "without the cache": ("-p", "no:cacheprovider"),
    "with importlib": ("--import-mode=importlib",),
    "with warnings as errors": ("-W", "error", "--strict-markers"),
    "after the fixtures": ("-p", "suite_fixtures"),
    "after Celery's plugin": (*CELERYS, *OURS),
    "before Celery's plugin": (*OURS, *CELERYS),
}


def without_ours(args):
    """The same command line without the plugin; ``-p taskharness`` at one end of it is taken off."""
    rest = args[len(OURS) :] if args[: len(OURS)] == OURS else args
    rest = rest[: -len(OURS)] if rest[-len(OURS) :] == OURS else rest
    return (*rest, "-p", "no:taskharness")


@pytest.mark.parametrize("args", LOADED.values(), ids=LOADED)
def test_no_outcome_changes(pytester, args):
    write(pytester.path)

    expected = outcomes(pytester, *without_ours(args))

    assert {("passed", "call"), ("failed", "call"), ("failed", "setup"), ("skipped", "call")} <= kinds(expected)
    assert outcomes(pytester, *args) == expected


def kinds(seen):
    """Each outcome of each phase; so many there must be for the comparison to say something."""
    return {(value[0], name.rpartition(" ")[2]) for name, value in seen.items() if isinstance(value, list)}


def test_a_module_of_fixtures_may_extend_ours(project):
    project.file(
        conftest="pytest_plugins = ['more_fixtures']",
        more_fixtures="""
        import pytest

        @pytest.fixture
        def harness(harness):
            harness.extended = True
            return harness

        @pytest.fixture
        def taskharness_config(taskharness_config):
            return {**taskharness_config, "task_default_queue": "extended"}
        """,
    )

    result = project.test(
        """
        from shop import add

        def test_extended(harness):
            add.delay(1, 2)
            assert harness.extended
            assert harness.outbox[-1].queue == "extended"
        """
    )

    result.assert_outcomes(passed=1)


def test_a_module_of_fixtures_that_came_first_keeps_its_names(project):
    project.file(
        first_fixtures="""
        import pytest

        @pytest.fixture(name="harness")
        def _theirs():
            return "theirs"
        """
    )

    result = project.test(
        """
        def test_theirs(harness):
            assert harness == "theirs"

        def test_ours(memory_harness):
            assert memory_harness.mode == "memory"
        """,
        "-p",
        "first_fixtures",
    )

    result.assert_outcomes(passed=2)
