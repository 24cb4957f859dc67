"""The RabbitMQ of a run, as a user meets it: header, errors.  Nothing here starts one."""

from __future__ import annotations

import pytest

ONE = """
def test_shop(rabbitmq_process_harness):
    pass
"""
MODE = "--taskharness-mode=rabbitmq+process"


@pytest.fixture(autouse=True)
def no_server(project, monkeypatch):
    """A machine without a RabbitMQ."""
    monkeypatch.setenv("PATH", str(project.pytester.path / "bin"))
    project.file(
        conftest="from pytest_taskharness.servers import rabbitmq_binary\nrabbitmq_binary.PLACES = ('/nowhere',)"
    )


def header_of(result):
    [line] = [line for line in result.outlines if line.startswith("taskharness:")]
    return line


def test_where_there_is_none_the_header_and_the_error_say_so(project):
    result = project.test(ONE, MODE)

    result.assert_outcomes(errors=1)
    assert " and none (no rabbitmq-server found), clock " in header_of(result)
    result.stdout.fnmatch_lines([
        "E*UsageError: expected a RabbitMQ to start; there is none. Looked for:",
        "*- rabbitmq-server on PATH (*",
        "*- apt install rabbitmq-server, *",
        "*- mode memory needs no server, *",
    ])  # fmt: skip


def test_a_url_is_named_with_its_source_and_without_its_password(project):
    url = "--taskharness-rabbitmq-url=amqp://me:secret@127.0.0.1:1//"
    result = project.test(ONE, MODE, url)

    assert " and amqp://***@127.0.0.1:1// (--taskharness-rabbitmq-url), clock " in header_of(result)
    result.stdout.fnmatch_lines(["E*UsageError: expected a RabbitMQ at amqp://***@127.0.0.1:1// *ConnectionRefused*"])
    assert "secret" not in result.stdout.str()


def test_a_server_on_another_machine_is_refused_at_once(project):
    result = project.test(ONE, MODE, "--taskharness-rabbitmq-url=amqp://me:secret@203.0.113.7//")

    result.stdout.fnmatch_lines(
        ["E*expected a RabbitMQ on this machine; *203.0.113.7*", "*--taskharness-allow-remote*"]
    )
