"""The complaint: Redis takes a delivery for lost that is not acknowledged for an hour, and a worker takes it again.

kombu#337, celery#2481, celery#4400, celery#5935.
"""

from datetime import timedelta
from unittest.mock import Mock

import pytest

from carts import archive, mail
from carts.tasks import TWO_HOURS, export, remind

HOUR = 3600
pytestmark = pytest.mark.taskharness(modes=["fakeredis", "redis"], visibility_timeout=HOUR)


def test_a_reminder_in_two_hours_is_sent_twice(harness, sent):
    remind.apply_async((7,), countdown=TWO_HOURS)

    report = harness.settle()

    assert sent == 2 * ["Your cart 7 is still here"]
    assert report.elapsed == timedelta(hours=2)


@pytest.mark.parametrize("hours", [2, 3, 24])
def test_each_hour_of_waiting_is_one_more_mail(harness, sent, hours):
    remind.apply_async((7,), countdown=hours * HOUR)

    harness.settle()

    assert len(sent) == hours


def test_the_second_delivery_comes_after_an_hour_and_says_so(harness, sent):
    published = harness.clock.now
    remind.apply_async((7,), countdown=TWO_HOURS)
    harness.settle()

    deliveries = [
        (event.at - published, event.detail["redelivered"]) for event in harness.timeline if event.kind == "deliver"
    ]
    assert deliveries == [(timedelta(0), False), (timedelta(hours=1), True)]
    assert [attempt.redelivered for attempt in harness.run_of(remind).attempts] == [False, True]


def test_a_retry_in_two_hours_is_a_wait_like_any_other_and_doubles_each_time(harness, monkeypatch):
    """Four attempts were meant, the first and three retries; each of them is delivered twice, and retries twice."""
    monkeypatch.setattr(mail, "send", Mock(side_effect=mail.ProviderDown))
    remind.delay(7)

    report = harness.settle()

    assert report.counts == {"RETRY": 1 + 2 + 4, "FAILURE": 8}


def test_a_late_acknowledged_export_of_ninety_minutes_is_made_twice(harness):
    export.delay("2030-01")

    harness.settle()

    assert harness.tally.duplicated == [harness.run_of(export)]


def test_acknowledged_early_it_is_made_once(harness, monkeypatch):
    monkeypatch.setattr(export, "acks_late", False)
    export.delay("2030-01")

    harness.settle()

    assert len(harness.run_of(export).attempts) == 1


def test_only_what_outlives_the_timeout_is_made_twice(harness, monkeypatch):
    monkeypatch.setattr(archive, "write", Mock())
    export.delay("2030-01")

    harness.settle()

    assert harness.tally.duplicated == []
