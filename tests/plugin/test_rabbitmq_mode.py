"""Mode rabbitmq, as a user of the plugin meets it."""

from __future__ import annotations

import os

import pytest

from pytest_taskharness.servers.rabbitmq_binary import find_rabbitmq

#: In CI it has to be: a test that needs it fails there, and is not skipped.
RABBITMQ_IS_THERE = bool(os.environ.get("CI")) or find_rabbitmq() is not None

needs_rabbitmq = pytest.mark.skipif(not RABBITMQ_IS_THERE, reason="needs a RabbitMQ server")

#: Nobody has a RabbitMQ.
NOWHERE = """
from pytest_taskharness.servers import rabbitmq, rabbitmq_binary

rabbitmq.find_rabbitmq = rabbitmq_binary.find_rabbitmq = lambda: None
"""


@needs_rabbitmq
def test_the_fixture_the_marker_and_the_option(project):
    result = project.test(
        """
        import pytest
        from shop import add

        def test_pinned(rabbitmq_harness):
            assert (rabbitmq_harness.mode, add.delay(1, 2).get()) == ("rabbitmq", 3)

        def test_chosen(harness):
            assert (harness.mode, add.delay(1, 2).get()) == ("rabbitmq", 3)

        @pytest.mark.taskharness(mode="memory")
        def test_otherwise(harness):
            assert harness.mode == "memory"

        @pytest.mark.taskharness(consumer_timeout=60)
        def test_the_consumer_timeout(harness):
            add.apply_async((1, 2), countdown=90)
            harness.settle()
            assert [attempt.redelivered for attempt in harness.run_of(add).attempts] == [True]
        """,
        "--taskharness-mode=rabbitmq",
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["taskharness: mode rabbitmq (--taskharness-mode), *, server rabbitmq-server (*)*"])


def test_where_there_is_no_rabbitmq_the_text_says_what_to_do(project):
    project.file(conftest=NOWHERE)
    result = project.test(
        """
        def test_it(rabbitmq_harness):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*expected a RabbitMQ to start; there is none.*", "*--taskharness-rabbitmq-url=*"])


@pytest.mark.parametrize("url, says", [
    ("", "*takes the URL of a RabbitMQ, such as amqp://*"),
    ("redis://127.0.0.1", "*--taskharness-rabbitmq-url takes the URL of a RabbitMQ: amqp://*"),
    ("amqp://guest:secret@192.0.2.1//", "*--taskharness-allow-remote*"),
])  # fmt: skip
def test_a_url_that_cannot_be_used(project, url, says):
    result = project.test(
        """
        def test_it(rabbitmq_harness):
            pass
        """,
        f"--taskharness-rabbitmq-url={url}",
    )
    assert result.ret != 0
    lines = result.outlines + result.errlines
    assert "secret" not in "\\n".join(lines)
    result.stdout.fnmatch_lines([says]) if url else result.stderr.fnmatch_lines([says])


def test_the_header_shows_no_password(project):
    project.ini("taskharness_app = shop:app", "taskharness_rabbitmq_url = amqp://guest:secret@127.0.0.1:5//")
    result = project.test("", "--taskharness-mode=rabbitmq")
    result.stdout.fnmatch_lines(["taskharness: *server amqp://*@127.0.0.1:5// (ini taskharness_rabbitmq_url)*"])
    result.stdout.no_fnmatch_line("*secret*")


def test_a_visibility_timeout_names_the_modes_that_have_one(project):
    result = project.test(
        """
        import pytest

        @pytest.mark.taskharness(mode="rabbitmq", visibility_timeout=60)
        def test_it(harness):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*visibility_timeout=60 belongs to Redis; RabbitMQ has consumer_timeout=*"])
