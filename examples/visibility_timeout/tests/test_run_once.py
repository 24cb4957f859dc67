"""The ways out."""

import pytest

from carts.tasks import TWO_HOURS, export_by_chapters, export_chapter, remind, remind_with_key

HOUR = 3600
pytestmark = pytest.mark.taskharness(modes=["fakeredis", "redis"], visibility_timeout=HOUR)


@pytest.mark.taskharness(visibility_timeout=3 * HOUR)
def test_a_timeout_longer_than_the_wait(harness, sent):
    remind.apply_async((7,), countdown=TWO_HOURS)

    harness.settle()

    assert len(sent) == 1


def test_a_key_that_says_which_mail_is_meant(harness, sent):
    remind_with_key.apply_async((7,), countdown=TWO_HOURS)

    harness.settle()

    assert len(harness.run_of(remind_with_key).attempts) == 2
    assert len(sent) == 1


def test_parts_that_are_shorter_than_the_timeout(harness):
    export_by_chapters("2030-01")

    harness.settle()

    assert [run.args for run in harness.runs(export_chapter)] == [("2030-01", 1), ("2030-01", 2), ("2030-01", 3)]
    assert harness.tally.duplicated == []
