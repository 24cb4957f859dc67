"""Runs, messages and the tally, read off events that a test writes by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pytest_taskharness.timeline import CallSite, State, TaskName, Timeline

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Story:
    """Writes events, each a second after the one before unless it says when."""

    def __init__(self):
        self.timeline = Timeline(START)
        self.seconds = -1

    def __call__(self, kind, *, id="1", task="shop.charge", at=None, worker=None, **detail):
        self.seconds = self.seconds + 1 if at is None else at
        if kind == "publish":
            detail = {"args": (), "kwargs": {}, **detail}
        moment = START + timedelta(seconds=self.seconds)
        return self.timeline.record(kind, moment, task=task, id=id, worker=worker, **detail)

    def run(self, id="1"):
        return self.timeline.run(id)


@pytest.fixture
def story():
    return Story()


def attempt(story, outcome, *, error=None, id="1", redelivered=False, worker="worker"):
    story("deliver", id=id, redelivered=redelivered, worker=worker)
    story("receive", id=id)
    story("start", id=id, redelivered=redelivered, worker=worker)
    kind = "retry" if outcome == "RETRY" else "finish"
    state = outcome if outcome in {"SUCCESS", "FAILURE", "RETRY"} else None
    story(kind, id=id, outcome=outcome, state=state, error=error)


def names(runs):
    return [run.id for run in runs]


# -- states


def test_a_published_task_is_pending(story):
    story("publish")

    assert (story.run().states, story.run().state) == (["PENDING"], "PENDING")


def test_the_history_of_a_retried_task_is_complete(story):
    story("publish")
    attempt(story, "RETRY")
    story("publish", retries=1)
    attempt(story, "SUCCESS")

    assert story.run().states == [
        "PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS",
    ]  # fmt: skip


def test_a_state_that_the_backend_stores_too_is_counted_once(story):
    story("publish")
    story("start")
    story("store", state="STARTED")
    story("store", state="SUCCESS", result=1)
    story("finish", outcome="SUCCESS", state="SUCCESS")

    assert story.run().states == ["PENDING", "STARTED", "SUCCESS"]


def test_a_custom_state_keeps_its_meta_each_time(story):
    story("publish")
    story("start")
    story("store", state="PROGRESS", meta={"done": 1})
    story("store", state="PROGRESS", meta={"done": 2})

    progress = [state for state in story.run().states if state == "PROGRESS"]
    assert [(state.meta, state.at) for state in progress] == [
        ({"done": 1}, START + timedelta(seconds=2)),
        ({"done": 2}, START + timedelta(seconds=3)),
    ]


def test_a_revoked_task_says_so(story):
    story("publish")
    story("revoke", state="REVOKED", note="expired")

    assert story.run().states == ["PENDING", "REVOKED"]
    assert story.run().finished


def test_a_state_is_its_name(story):
    state = State("PROGRESS", meta=1)

    assert (state, state.meta, state.at, {state: 1}["PROGRESS"]) == ("PROGRESS", 1, None, 1)


# -- attempts


def test_each_start_is_an_attempt_with_its_own_time_and_end(story):
    error = ValueError("no")
    story("publish")
    attempt(story, "RETRY", error=error, worker="a")
    story("publish", retries=1)
    attempt(story, "SUCCESS", redelivered=True, worker="b")

    first, second = story.run().attempts
    assert (first.number, first.worker, first.outcome, first.error, first.redelivered) == (
        1,
        "a",
        "RETRY",
        error,
        False,
    )
    assert (second.number, second.worker, second.outcome, second.error, second.redelivered) == (
        2, "b", "SUCCESS", None, True,
    )  # fmt: skip
    assert (first.started_at, first.elapsed) == (START + timedelta(seconds=3), timedelta(seconds=1))


def test_an_attempt_that_never_ended_has_no_outcome(story):
    story("publish")
    story("start")

    [only] = story.run().attempts
    assert (only.outcome, only.elapsed, story.run().finished) == (None, None, False)


def test_the_last_attempt_speaks_for_the_run(story):
    attempt(story, "RETRY", worker="a")
    attempt(story, "SUCCESS", worker="b")

    run = story.run()
    assert (run.worker, run.started_at, run.elapsed) == ("b", run.attempts[1].started_at, timedelta(seconds=1))


def test_a_run_that_never_started_has_no_worker(story):
    story("publish")

    run = story.run()
    assert (run.worker, run.started_at, run.elapsed, run.attempts) == (None, None, None, [])


def test_retry_delays_are_what_each_retry_asked_for(story):
    story("publish", at=0, eta=START + timedelta(hours=1))
    story("publish", at=10, retries=1, eta=START + timedelta(seconds=11))
    story("publish", at=20, retries=2, eta=START + timedelta(seconds=22.5))
    story("publish", at=30, retries=3)

    assert story.run().retry_delays == [1, 2.5, 0]
    assert story.run().eta is None


@pytest.mark.parametrize(
    "outcome, finished", [("SUCCESS", True), ("IGNORED", True), ("REJECTED", True), ("RETRY", False)]
)
def test_a_run_is_finished_when_no_further_state_is_to_be_expected(story, outcome, finished):
    story("publish")
    attempt(story, outcome)

    assert story.run().finished is finished


# -- results and errors


def test_the_result_is_what_the_backend_keeps(story):
    story("store", state="PROGRESS", meta=1)
    story("store", state="SUCCESS", result=[1, 2])

    assert story.run().result == [1, 2]


def test_there_is_no_result_before_success(story):
    story("publish")

    assert story.run().result is None


def test_the_error_is_that_of_the_last_attempt(story):
    error = ValueError("no")
    story("start")
    story("retry", outcome="RETRY", state="RETRY", error=error)
    assert story.run().error is error

    story("start")
    story("finish", outcome="SUCCESS", state="SUCCESS")
    assert story.run().error is None


def test_the_traceback_belongs_to_the_error(story):
    story("store", state="FAILURE", error=ValueError("no"), traceback="Traceback …")

    assert story.run().traceback == "Traceback …"


def test_a_run_that_recovered_has_no_traceback(story):
    story("store", state="RETRY", error=ValueError("no"), traceback="Traceback …")
    story("store", state="SUCCESS", result=1)

    assert story.run().traceback is None


# -- delivery


def test_acknowledged_means_the_last_delivery(story):
    story("publish")
    story("deliver")
    assert not story.run().acked
    story("ack")
    assert story.run().acked
    story("deliver", redelivered=True)
    assert (story.run().acked, story.run().redelivered) == (False, True)


def test_arguments_are_those_published_last(story):
    story("publish", args=(1,), kwargs={"a": 1})
    story("publish", args=(2,), kwargs={"a": 2}, retries=1)

    assert (story.run().args, story.run().kwargs) == ((2,), {"a": 2})


def test_arguments_of_a_performed_task_come_from_its_delivery(story):
    story("deliver", args=(1,), kwargs={"a": 1}, performed=True)

    assert (story.run().args, story.run().kwargs) == ((1,), {"a": 1})


def test_the_task_is_a_name_that_looks_like_a_task(story):
    story("publish")

    assert (story.run().task, story.run().task.name) == ("shop.charge", "shop.charge")
    assert isinstance(story.run().task, TaskName)


# -- family


def test_children_point_to_the_run_that_published_them(story):
    story("publish", id="1")
    story("publish", id="2", parent_id="1")
    story("publish", id="3", parent_id="2")

    assert names(story.run("1").children) == ["2"]
    assert story.run("3").parent == story.run("2")
    assert story.run("1").parent is None


def test_an_inline_errback_is_a_run_with_one_attempt(story):
    error = ValueError("no")
    story("publish", id="1")
    story(
        "callback", id="1-errback-1", task="shop.alert", parent_id="1", outcome="FAILURE", state="FAILURE", error=error
    )

    run = story.run("1-errback-1")
    assert (run.inline, run.state, run.error, len(run.attempts), run.parent.id) == (True, "FAILURE", error, 1, "1")
    assert not story.run("1").inline


def test_two_views_of_one_id_are_the_same_run(story):
    story("publish")

    assert story.run() == story.run()
    assert len({story.run(), story.run()}) == 1
    assert story.run() != "1"


def test_a_run_grows_with_the_timeline(story):
    story("publish")
    run = story.run()
    attempt(story, "SUCCESS")

    assert run.state == "SUCCESS"


def test_a_run_has_a_timeline_of_its_own(story):
    story("publish", id="1")
    story("publish", id="2")

    assert [event.id for event in story.run("2").timeline] == ["2"]
    assert story.run("2").timeline.start == START


def test_a_run_says_what_it_is(story):
    story("publish", id="0123456789")
    assert repr(story.run("0123456789")) == "<Run shop.charge 01234567 PENDING, 0 attempts>"
    attempt(story, "SUCCESS", id="0123456789")
    assert repr(story.run("0123456789")) == "<Run shop.charge 01234567 SUCCESS, 1 attempt>"


# -- finding


def test_runs_are_in_the_order_of_their_first_event(story):
    for task_id in "312":
        story("publish", id=task_id)
    story("publish", id="4", task="shop.mail")
    story("store", id="5", state="SUCCESS")

    assert names(story.timeline.runs()) == ["3", "1", "2", "4"]
    assert names(story.timeline.runs("shop.mail")) == ["4"]


def test_an_unknown_id_is_no_run(story):
    assert story.run("nobody") is None
    assert story.timeline.of("nobody") == []


def test_runs_since_are_those_that_did_something(story):
    story("publish", id="1")
    seq = len(story.timeline)
    story("publish", id="2")
    attempt(story, "SUCCESS", id="1")
    story("revoke", id="3", state="REVOKED")

    assert names(story.timeline.runs_since(seq)) == ["1", "3"]


# -- messages


def test_a_message_is_what_the_publisher_said(story):
    site = CallSite("shop/signup.py", 31, "sign_up")
    story(
        "publish", args=(1,), kwargs={"a": 2}, queue="mail", options={"priority": 3}, eta=START + timedelta(seconds=60),
        call_site=site, at=0,
    )  # fmt: skip

    [message] = story.timeline.messages()
    assert (message.task, message.id, message.args, message.kwargs, message.queue) == (
        "shop.charge",
        "1",
        (1,),
        {"a": 2},
        "mail",
    )
    assert (message.countdown, message.priority, message.retries, message.seq) == (60, 3, 0, 0)
    assert str(message.call_site) == "shop/signup.py:31 in sign_up"


def test_a_message_without_options_has_none(story):
    story("publish")

    [message] = story.timeline.messages()
    assert (message.countdown, message.priority, message.eta, message.hidden) == (None, None, None, False)


def test_messages_since(story):
    story("publish", id="1")
    story("deliver", id="1")
    story("publish", id="2")

    assert [message.id for message in story.timeline.messages(since=1)] == ["2"]


# -- the tally


def tally(story):
    found = story.timeline.tally
    return {
        name: names(getattr(found, name))
        for name in ("lost", "duplicated", "unexpected", "unknown")
        if getattr(found, name)
    }


def test_a_normal_life_is_not_in_the_tally(story):
    story("publish")
    attempt(story, "RETRY")
    story("ack")
    story("publish", retries=1)
    attempt(story, "SUCCESS")
    story("ack")

    assert tally(story) == {}


def test_acknowledged_and_never_ended_is_lost(story):
    story("publish")
    story("ack")
    story("start")

    assert tally(story) == {"lost": ["1"]}


def test_expired_in_its_queue_is_lost(story):
    story("publish")
    story("expire")

    assert tally(story) == {"lost": ["1"]}


def test_rejected_for_good_is_lost_and_requeued_is_not(story):
    story("publish", id="1")
    story("reject", id="1", requeue=False)
    story("publish", id="2")
    story("reject", id="2", requeue=True)

    assert tally(story) == {"lost": ["1"]}


def test_still_in_its_queue_is_not_lost(story):
    story("publish")

    assert tally(story) == {}


def test_two_successes_are_a_duplicate(story):
    story("publish")
    attempt(story, "SUCCESS")
    attempt(story, "SUCCESS", redelivered=True)

    assert tally(story) == {"duplicated": ["1"]}


def test_what_nobody_published_is_unexpected_unless_it_was_performed(story):
    story("start", id="1")
    story("deliver", id="2", performed=True)
    story("start", id="2")
    story("callback", id="3")
    story("deliver", id="4")
    story("poison", id="4")

    assert tally(story) == {"unexpected": ["1", "4"]}


def test_a_publish_that_raised_is_unknown(story):
    story("publish", unknown=True)

    assert tally(story) == {"unknown": ["1"]}


def test_what_the_test_has_dropped_is_lost(story):
    story("publish")
    story("fault", dropped=1)

    assert tally(story) == {"lost": ["1"]}


def test_a_copy_that_is_still_there_is_not_lost(story):
    story("publish")
    story("fault", copies=1)
    story("fault", dropped=1)
    assert tally(story) == {}

    story("fault", dropped=1)
    assert tally(story) == {"lost": ["1"]}
