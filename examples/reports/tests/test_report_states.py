"""What a report goes through, from the call to its result."""

from datetime import timedelta

from reports.tasks import build_report


def test_a_report_goes_through_every_state(harness):
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    harness.assert_states(
        result,
        ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"],
    )


def test_progress_is_told_after_each_section(harness):
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    progress = [state.meta for state in harness.run_of(result).states if state == "PROGRESS"]
    assert progress == [{"done": done, "total": 5} for done in (1, 2, 3, 4, 5)]


def test_each_section_takes_two_seconds(harness):
    published = harness.clock.now
    result = build_report.delay(42, month="2030-01")
    harness.settle()

    told = [state.at - published for state in harness.run_of(result).states if state == "PROGRESS"]
    assert told == [timedelta(seconds=seconds) for seconds in (2, 4, 6, 8, 10)]


def test_a_report_takes_ten_seconds_and_the_test_none(harness):
    build_report.delay(42, month="2030-01")

    report = harness.settle()

    assert report.elapsed == timedelta(seconds=10)
    assert report.counts == {"SUCCESS": 1}


def test_the_result_says_where_the_report_is(harness):
    result = build_report.delay(42, month="2030-01", fmt="csv")

    assert result.get() == {
        "customer_id": 42,
        "month": "2030-01",
        "fmt": "csv",
        "rows": 26,
        "path": "/reports/42/2030-01.csv",
    }
