"""What an error carries to the report of its test."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

from pytest_taskharness.report.attaching import attach_harness, attach_section, attached
from pytest_taskharness.timeline import Timeline

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Group(Exception):
    """As an ExceptionGroup, which Python 3.10 does not have."""

    def __init__(self, *exceptions):
        super().__init__("several")
        self.exceptions = exceptions


def harness(seed):
    return SimpleNamespace(mode="memory", seed=seed, timeline=Timeline(START), worker_logs={"worker": "ready"})


def titles(error, **options):
    return [title for title, _ in attached(error, **options)]


def test_nothing_was_attached():
    assert titles(ValueError()) == []


def test_a_harness_is_its_timeline_and_its_logs():
    error = ValueError()
    attach_harness(error, harness(7))

    assert titles(error) == ["taskharness timeline (memory, seed 7)", "taskharness log of worker 'worker'"]


def test_a_section_stays_where_no_timeline_is_wanted():
    error = ValueError()
    attach_harness(error, harness(7))
    attach_section(error, "a test", "def test_it(): …")

    assert list(attached(error, timelines=False)) == [("a test", "def test_it(): …")]


def test_those_of_all_errors_of_a_group():
    first, second = ValueError(), KeyError()
    attach_harness(first, harness(1))
    attach_section(second, "a test", "…")

    assert titles(Group(first, Group(second)))[::2] == ["taskharness timeline (memory, seed 1)", "a test"]
