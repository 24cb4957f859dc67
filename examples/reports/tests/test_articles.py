"""Articles are published at their moment, and not one second before."""

from datetime import datetime, timedelta, timezone

import pytest

from reports.scheduling import schedule_at, schedule_in_an_hour
from reports.status import status_of


def test_an_article_waits_for_an_hour(harness, article):
    schedule_in_an_hour(article.id)

    harness.clock.advance(minutes=59, seconds=59)
    assert article.published_at is None

    harness.clock.advance(seconds=1)
    assert article.published_at == harness.clock.now


def test_nothing_runs_before_the_hour_is_over(harness, article):
    schedule_in_an_hour(article.id)

    assert harness.clock.advance(minutes=59, seconds=59, milliseconds=999).runs == []
    assert harness.clock.advance(milliseconds=1).counts == {"SUCCESS": 1}


@pytest.mark.taskharness(start="2030-12-31T12:00:00Z")
def test_an_article_is_published_at_midnight_to_the_microsecond(harness, article):
    new_year = datetime(2031, 1, 1, tzinfo=timezone.utc)
    result = schedule_at(article.id, new_year)

    harness.clock.advance_to(new_year - timedelta(microseconds=1))
    assert article.published_at is None

    harness.clock.advance(microseconds=1)
    assert harness.run_of(result).started_at == article.published_at == new_year


@pytest.mark.taskharness(start="2030-12-31T12:00:00Z")
def test_midnight_is_midnight_where_the_reader_is(harness, article):
    in_tokyo = datetime(2031, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    result = schedule_at(article.id, in_tokyo)

    harness.clock.advance(days=1)

    harness.assert_ran_at(result, in_tokyo)


def test_an_eta_in_the_past_is_now(harness, article):
    schedule_at(article.id, harness.clock.now - timedelta(days=1))

    harness.drain()

    assert article.published_at == harness.clock.now


def test_two_articles_are_published_in_order_of_their_moments(harness, article):
    later = schedule_at(article.id, harness.clock.now + timedelta(days=30))
    sooner = schedule_in_an_hour(article.id)

    report = harness.settle()

    assert [run.id for run in report.runs] == [sooner.id, later.id]
    assert report.elapsed == timedelta(days=30)


def test_a_scheduled_article_is_pending_until_then(harness, article):
    result = schedule_in_an_hour(article.id)
    harness.drain()

    assert status_of(result.id).state == "PENDING"
