"""What is enqueued, and what is not."""

import pytest

from reports.scheduling import schedule_in_an_hour
from reports.tasks import build_report, publish_article


def test_a_report_is_enqueued(harness):
    build_report.delay(42, month="2030-01")

    harness.assert_enqueued(build_report.s(42, month="2030-01"))


def test_positional_or_by_name_is_the_same_call(harness):
    build_report.delay(customer_id=42, month="2030-01")

    harness.assert_enqueued(build_report.s(42, month="2030-01"))


def test_reports_have_a_queue_of_their_own(harness):
    build_report.delay(42, month="2030-01")

    harness.assert_enqueued(build_report.s(month="2030-01").set(queue="reports"), times=1)


def test_an_article_is_enqueued_with_its_hour(harness, article):
    schedule_in_an_hour(article.id)

    message = harness.assert_enqueued(publish_article.s(article_id=7).set(countdown=3600, queue="celery"))
    assert message.call_site.function == "schedule_in_an_hour"


def test_nothing_else_is_enqueued(harness, article):
    with harness.enqueues(publish_article.s(7), only=True):
        schedule_in_an_hour(article.id)


def test_a_call_that_does_not_fit_is_refused_where_it_is_made(harness):
    with harness.enqueues_nothing(), pytest.raises(TypeError, match="month"):
        build_report.delay(42)


def test_a_call_by_name_that_does_not_fit_fails_in_the_worker(harness):
    result = harness.app.send_task("reports.tasks.build_report", args=[42])
    harness.settle()

    harness.assert_failed(result, TypeError, match="month")


def test_an_expectation_that_does_not_fit_is_a_mistake_in_the_test(harness):
    build_report.delay(42, month="2030-01")

    with pytest.raises(TypeError, match="year"):
        harness.assert_enqueued(build_report.s(42, year=2030))
