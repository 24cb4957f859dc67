"""What happens while the accounting system is down."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from reports.source import SourceDown
from reports.tasks import build_report

FOREVER = 1_000


def test_two_outages_cost_two_retries(harness, accounting):
    accounting.outages = 2
    result = build_report.delay(42, month="2030-01")

    report = harness.settle()

    assert report.counts == {"RETRY": 2, "SUCCESS": 1}
    assert result.get()["rows"] == 50


def test_the_states_tell_both_retries(harness, accounting):
    accounting.outages = 2
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    harness.assert_states(
        result,
        ["PENDING"] + 2 * ["RECEIVED", "STARTED", "RETRY"] + ["RECEIVED", "STARTED"] + 5 * ["PROGRESS"] + ["SUCCESS"],
    )


def test_each_retry_waits_twice_as_long(harness, accounting):
    accounting.outages = FOREVER
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    assert harness.run_of(result).retry_delays == [1, 2, 4, 8, 16]


def test_the_delays_pass_on_the_clock(harness, accounting):
    accounting.outages = FOREVER
    published = harness.clock.now
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    starts = [attempt.started_at - published for attempt in harness.run_of(result).attempts]
    assert starts == [timedelta(seconds=seconds) for seconds in (0, 1, 3, 7, 15, 31)]


def test_after_five_retries_the_report_has_failed(harness, accounting):
    accounting.outages = FOREVER
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    harness.assert_retried(result, times=5, delays=[1, 2, 4, 8, 16], exc=SourceDown)
    harness.assert_failed(result, SourceDown, match="does not answer")
    with pytest.raises(SourceDown):
        result.get()


def test_an_outage_in_the_middle_starts_the_report_anew(harness, accounting):
    accounting.outages, accounting.down_at = 1, "invoices"
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    done = [state.meta["done"] for state in harness.run_of(result).states if state == "PROGRESS"]
    assert done == [1, 2, 1, 2, 3, 4, 5]


def test_only_an_outage_is_retried(harness):
    result = build_report.delay(42, month="January")
    harness.settle()

    assert len(harness.run_of(result).attempts) == 1
    harness.assert_failed(result, ValidationError, match="month")


@pytest.mark.parametrize("attempt", range(5))
def test_an_outage_is_retried_up_to_the_fifth_attempt(harness, accounting, attempt):
    accounting.outages = FOREVER

    run = harness.perform(build_report.s(42, month="2030-01"), attempt=attempt)

    assert run.state == "RETRY"


def test_the_sixth_attempt_is_the_last(harness, accounting):
    accounting.outages = FOREVER

    run = harness.perform(build_report.s(42, month="2030-01"), attempt=5)

    assert run.state == "FAILURE"
    assert isinstance(run.error, SourceDown)
