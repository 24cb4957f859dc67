"""The command line, the configuration file, the header, and the ids of tests."""

from __future__ import annotations

import pytest

from pytest_taskharness.modes import MODES

ONE = """
def test_shop(harness):
    print("ran in", harness.mode, harness.seed)
"""


def header(result):
    [line] = [line for line in result.outlines if line.startswith("taskharness:")]
    return line


def ids(result):
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


# -- the header


def test_the_header_says_what_holds_by_default(no_app):
    line = header(no_app.test(ONE, "--collect-only"))

    assert line.startswith("taskharness: mode memory (default), app from the taskharness_app fixture, ")
    assert line.endswith("clock time-machine (installed), seed 0 (default)")


def test_the_header_says_what_came_from_the_configuration_file(project):
    project.ini("taskharness_app = shop:app", "taskharness_mode = eager memory", "taskharness_seed = 7")

    line = header(project.test(ONE, "--collect-only"))

    assert "mode eager,memory (ini taskharness_mode)" in line
    assert "app shop:app (ini taskharness_app)" in line
    assert "seed 7 (ini taskharness_seed)" in line


def test_the_header_says_what_came_from_the_command_line(project):
    line = header(
        project.test(
            ONE, "--collect-only", "--taskharness-mode=eager", "--taskharness-app=other:app", "--taskharness-seed=3"
        )
    )

    assert "mode eager (--taskharness-mode)" in line
    assert "app other:app (--taskharness-app)" in line
    assert "seed 3 (--taskharness-seed)" in line


def test_there_is_no_header_when_pytest_is_quiet(project):
    project.test(ONE, "-q").stdout.no_fnmatch_line("taskharness:*")


# -- modes


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], ["test_shop"]),
        (["--taskharness-mode=eager"], ["test_shop"]),
        (["--taskharness-mode=memory,eager"], ["test_shop[memory]", "test_shop[eager]"]),
        (["--taskharness-mode=eager", "--taskharness-mode", "memory"], ["test_shop[eager]", "test_shop[memory]"]),
        (["--taskharness-mode=all"], [f"test_shop[{mode}]" for mode in MODES]),
    ],
)
def test_a_test_is_named_after_its_mode_where_there_are_several(project, arguments, expected):
    assert ids(project.test(ONE, "--collect-only", "-q", *arguments)) == expected


def test_each_mode_is_really_run_in(project):
    result = project.test(ONE, "--taskharness-mode=all", "-rP")

    result.assert_outcomes(passed=len(MODES))
    result.stdout.fnmatch_lines([f"ran in {mode} 0" for mode in MODES])


def test_modes_of_the_configuration_file_are_run_in(project):
    project.ini("taskharness_app = shop:app", "taskharness_mode = eager,memory")

    assert ids(project.test(ONE, "--collect-only", "-q")) == ["test_shop[eager]", "test_shop[memory]"]


def test_the_command_line_replaces_the_modes_of_the_configuration_file(project):
    project.ini("taskharness_app = shop:app", "taskharness_mode = eager memory")

    project.test(ONE, "--taskharness-mode=eager", "-rP").stdout.fnmatch_lines(["ran in eager 0"])


def test_a_pinned_fixture_is_not_repeated(project):
    result = project.test(
        "def test_memory(memory_harness):\n    assert memory_harness.mode == 'memory'\n"
        "def test_eager(eager_harness):\n    assert eager_harness.mode == 'eager'\n",
        "--taskharness-mode=all",
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (
            ["--taskharness-mode=memmory"],
            (
                "ERROR: taskharness: unknown mode 'memmory' (from --taskharness-mode). Did you mean 'memory'? "
                "Modes: eager, memory, fakeredis, redis, redis+process, rabbitmq, rabbitmq+process, or all."
            ),
        ),
        (
            ["--taskharness-mode=external"],
            (
                "ERROR: taskharness: mode 'external' (from --taskharness-mode) is planned and not in this version. "
                "Modes that work: eager, memory, fakeredis, redis, redis+process, rabbitmq, rabbitmq+process."
            ),
        ),
        (
            ["--taskharness-mode="],
            (
                "ERROR: taskharness: --taskharness-mode names no mode. "
                "Modes: eager, memory, fakeredis, redis, redis+process, rabbitmq, rabbitmq+process, or all."
            ),
        ),
        (["--taskharness-seed=x"], "ERROR: taskharness: --taskharness-seed takes a whole number; given: 'x'"),
        (
            ["--taskharness-timeline=often"],
            "ERROR: taskharness: --taskharness-timeline takes one of never, failed, always; given: 'often'",
        ),
    ],
)
def test_an_option_that_cannot_be_used_ends_the_run_before_it_begins(project, arguments, text):
    result = project.test(ONE, *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR == 4
    assert text in result.errlines
    assert not any("Traceback" in line for line in result.errlines)


def test_a_wrong_line_of_the_configuration_file_is_named_as_such(project):
    project.ini("taskharness_mode = memory,egaer")

    result = project.test(ONE)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: taskharness: unknown mode 'egaer' (from ini taskharness_mode). Did you mean 'eager'? "
        "Modes: eager, memory, fakeredis, redis, redis+process, rabbitmq, rabbitmq+process, or all."
    ) in result.errlines


# -- seeds


def test_a_seed_decides_what_is_random(project):
    source = """
        from shop import app

        @app.task(autoretry_for=(RuntimeError,), retry_backoff=10, max_retries=4)
        def flaky():
            raise RuntimeError

        def test_jitter(harness):
            result = flaky.delay()
            harness.settle()
            print("delays", harness.run_of(result).retry_delays)
    """

    def delays(seed):
        result = project.test(source, "-rP", f"--taskharness-seed={seed}")
        return next(line for line in result.outlines if line.startswith("delays"))

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
