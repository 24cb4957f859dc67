"""What the web page sees, before, while and after."""

import pytest
from celery.exceptions import TimeoutError as ResultTimeout
from pydantic import ValidationError

from reports.models import Progress, Report
from reports.status import status_of
from reports.tasks import build_report


def test_before_a_worker_takes_it_a_report_is_pending(harness):
    result = build_report.delay(42, month="2030-01")

    assert status_of(result.id).state == "PENDING"


def test_while_it_is_built_the_status_has_the_progress(harness, accounting):
    seen = []
    accounting.on_read = lambda section: seen.append(status_of(result.id).progress)
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    assert seen[1:] == [Progress(done=done, total=5) for done in (1, 2, 3, 4)]


def test_between_two_attempts_the_status_has_the_error(harness, accounting):
    accounting.outages = 1
    result = build_report.delay(42, month="2030-01")
    harness.drain()

    status = status_of(result.id)
    assert (status.state, status.error) == ("RETRY", "accounting does not answer")


def test_afterwards_the_status_has_the_report(harness):
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    assert status_of(result.id).report == Report(
        customer_id=42, month="2030-01", fmt="pdf", rows=26, path="/reports/42/2030-01.pdf"
    )


def test_after_the_last_retry_the_status_is_a_failure(harness, accounting):
    accounting.outages = 6
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    status = status_of(result.id)
    assert (status.state, status.error) == ("FAILURE", "accounting does not answer")


def test_what_is_no_report_is_not_passed_on(harness):
    harness.app.backend.mark_as_done("old", {"customer_id": 42, "file": "42.pdf"})

    with pytest.raises(ValidationError, match="month"):
        status_of("old")


def test_nobody_waits_longer_than_the_timeout(harness, accounting):
    accounting.outages = 6
    asked = harness.clock.now
    result = build_report.delay(42, month="2030-01")

    with pytest.raises(ResultTimeout):
        result.get(timeout=20)

    assert (harness.clock.now - asked).total_seconds() == 20
    assert status_of(result.id).state == "RETRY"
