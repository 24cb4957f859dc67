"""`@pytest.mark.taskharness(…)`, as a user writes it."""

from __future__ import annotations

import pytest

from pytest_taskharness.modes import MODES

MODULE = """
import pytest
from datetime import datetime, timezone

{marker}
def test_shop(harness):
    {body}
"""


def marked(project, marker, body="pass", *args):
    return project.test(MODULE.format(marker=f"@pytest.mark.taskharness({marker})", body=body), *args)


def short(value):
    """A parameter that is short enough to be part of a test's name."""
    return value if len(value) < 40 else "text"


def ids(result):
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


@pytest.mark.parametrize(
    "marker, expected",
    [
        ("mode='eager'", ["test_shop"]),
        ("modes=['memory', 'eager']", ["test_shop[memory]", "test_shop[eager]"]),
        ("modes='all'", [f"test_shop[{mode}]" for mode in MODES]),
        ("seed=7", ["test_shop"]),
        ("seed=range(3)", ["test_shop[0]", "test_shop[1]", "test_shop[2]"]),
        (
            "modes='eager,memory', seed=[4, 2]",
            ["test_shop[eager-4]", "test_shop[eager-2]", "test_shop[memory-4]", "test_shop[memory-2]"],
        ),
    ],
)
def test_a_test_is_repeated_for_each_mode_and_each_seed(project, marker, expected):
    result = marked(project, marker, "pass", "--collect-only", "-q")

    assert sorted(ids(result)) == sorted(expected)


def test_the_marker_beats_the_command_line(project):
    marked(project, "mode='eager'", "assert harness.mode == 'eager'", "--taskharness-mode=memory").assert_outcomes(
        passed=1
    )


@pytest.mark.parametrize(
    "marker, body",
    [
        ("seed=7", "assert harness.seed == 7"),
        ("seed=range(2, 4)", "assert harness.seed in (2, 3)"),
        ("start='2030-01-01T00:00:00Z'", "assert harness.clock.now == datetime(2030, 1, 1, tzinfo=timezone.utc)"),
        ("start=datetime(2030, 1, 1, tzinfo=timezone.utc)", "assert datetime.now(timezone.utc).year == 2030"),
        ("workers=2", "assert [harness.worker(name).name for name in 'ab'] == ['a', 'b']"),
        ("config={'task_default_queue': 'mine'}", "assert harness.app.conf.task_default_queue == 'mine'"),
        ("", "assert harness.mode == 'memory'"),
    ],
)
def test_each_argument_arrives(project, marker, body):
    result = marked(project, marker, body)

    assert result.ret == 0


def test_a_function_adds_to_the_marker_of_its_class_and_wins(project):
    result = project.test("""
        import pytest

        @pytest.mark.taskharness(mode="eager", seed=1, config={"task_default_queue": "a", "timezone": "Europe/Oslo"})
        class TestShop:
            @pytest.mark.taskharness(seed=2, config={"task_default_queue": "b"})
            def test_both(self, harness):
                assert (harness.mode, harness.seed) == ("eager", 2)
                assert (harness.app.conf.task_default_queue, harness.app.conf.timezone) == ("b", "Europe/Oslo")

            @pytest.mark.taskharness(modes=["memory"])
            def test_other_mode(self, harness):
                assert (harness.mode, harness.seed) == ("memory", 1)
    """)

    result.assert_outcomes(passed=2)


def test_a_module_level_marker_holds_for_all_tests(project):
    result = project.test("""
        import pytest

        pytestmark = pytest.mark.taskharness(seed=3)

        def test_one(harness):
            assert harness.seed == 3

        def test_two(eager_harness):
            assert eager_harness.seed == 3
    """)

    result.assert_outcomes(passed=2)


def test_the_config_of_marker_and_fixture_come_together_and_the_marker_wins(project):
    project.file(
        conftest="""
        import pytest

        @pytest.fixture
        def taskharness_config():
            return {"task_default_queue": "fixture", "timezone": "Europe/Oslo"}
    """
    )

    result = marked(
        project, "config={'task_default_queue': 'marker'}",
        "assert (harness.app.conf.task_default_queue, harness.app.conf.timezone) == ('marker', 'Europe/Oslo')",
    )  # fmt: skip

    result.assert_outcomes(passed=1)


def test_what_a_marker_configured_is_gone_afterwards(project):
    result = project.test("""
        import pytest
        from shop import app

        @pytest.mark.taskharness(config={"task_default_queue": "mine", "timezone": "Europe/Oslo"})
        def test_one(harness):
            assert app.conf.timezone == "Europe/Oslo"

        def test_two():
            assert (app.conf.task_default_queue, app.conf.timezone) == ("celery", None)
            assert app.conf.broker_url == "amqp://nobody@nowhere.invalid//"
    """)

    result.assert_outcomes(passed=2)


def test_the_marker_is_registered(project):
    marked(project, "mode='memory'", "pass", "--strict-markers").assert_outcomes(passed=1)


def test_a_misspelt_marker_is_pytests_own_error_under_strict_markers(project):
    result = project.test("import pytest\n\n@pytest.mark.taskharnes\ndef test():\n    pass", "--strict-markers")

    result.stdout.fnmatch_lines(["'taskharnes' not found in `markers` configuration option"])


@pytest.mark.parametrize(
    "marker, text",
    [
        ("mod='memory'", "test_shop.py::test_shop: @pytest.mark.taskharness got an unexpected keyword argument 'mod'*"),
        ("'memory'", "test_shop.py::test_shop: @pytest.mark.taskharness takes keyword arguments only; given: 'memory'"),
        (
            "mode='eager', modes=['memory']",
            "test_shop.py::test_shop: @pytest.mark.taskharness takes mode= or modes=, not both",
        ),
        (
            "mode='egaer'",
            "test_shop.py::test_shop: unknown mode 'egaer' (from @pytest.mark.taskharness). Did you mean 'eager'? *",
        ),
        (
            "mode='external'",
            "test_shop.py::test_shop: mode 'external' (from @pytest.mark.taskharness) is planned and not in this *",
        ),
        (
            "seed='x'",
            "test_shop.py::test_shop: @pytest.mark.taskharness(seed=…) takes a whole number, or several: *; given: 'x'",
        ),
    ],
    ids=short,
)
def test_a_marker_that_cannot_be_used_is_an_error_of_collection_with_that_text_alone(project, marker, text):
    result = marked(project, marker)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting test_shop.py*", text.replace("[", "[[]")])
    assert not any("_pytest" in line or "plugin.py" in line for line in result.outlines)


def test_a_misspelt_argument_shows_the_signature(project):
    marked(project, "starts='2030'").stdout.fnmatch_lines(
        [
            "It is taskharness(mode=, modes=, start=, seed=, workers=, pool=, visibility_timeout=, *).",
        ]
    )


@pytest.mark.parametrize(
    "marker, text",
    [
        ("start='2030-13-01'", "E * start='2030-13-01' is no ISO 8601 time: *"),
        (
            "start='2030-01-01'",
            "E * start='2030-01-01' is naive. Say which zone is meant, for instance *",
        ),
        (
            "start=datetime(2030, 1, 1)",
            "E * start=* is naive. Say which zone is meant, for instance *",
        ),
        ("start=5", "E * start= takes an aware datetime or an ISO 8601 text; given: 5"),
        ("workers=0", "E * workers= takes a number from 1 to 26; given: 0"),
        ("workers=27", "E * workers= takes a number from 1 to 26; given: 27"),
        ("workers='3'", "E * workers= takes a number from 1 to 26; given: '3'"),
        ("pool='prefork'", "E * pool='prefork' means a real worker process; *'redis+process'*"),
        (
            "visibility_timeout=60",
            "E * visibility_timeout=60 belongs to Redis; *'fakeredis', 'redis' or *",
        ),
    ],
    ids=short,
)
def test_a_value_that_cannot_be_used_is_an_error_of_the_test_without_our_own_source(project, marker, text):
    result = marked(project, marker)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([text])
    assert not any("fixtures.py" in line or "contextlib" in line for line in result.outlines)
