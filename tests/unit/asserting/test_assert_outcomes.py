"""`assert_states`, `assert_succeeded`, `assert_failed`, `assert_retried`, `assert_backoff`, `assert_nothing_lost`."""

from __future__ import annotations

from textwrap import dedent
from unittest.mock import ANY

import pytest
from asserting_scenes import Scene, at, charge, failure, report, send_email, sync_crm
from celery.exceptions import Retry

from pytest_taskharness.asserting import Assertions
from pytest_taskharness.timeline import Timeline


class GatewayDown(Exception):
    pass


TRACEBACK = """\
Traceback (most recent call last):
  File "/venv/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/shop/tasks.py", line 31, in charge
    gateway.charge(order_id, amount)
GatewayDown: no answer
"""


def charged(*delays, ending="succeed"):
    """A charge that was retried after these delays."""
    scene, now = Scene(), 0
    scene.publish(charge, 42, 999)
    for number, delay in enumerate(delays, 1):
        scene.retry(Retry("again", GatewayDown("no answer")), delay=delay, number=number, after=now)
        now += delay
    if ending == "succeed":
        scene.succeed(42, after=now)
    elif ending == "fail":
        scene.fail(GatewayDown("no answer"), after=now, traceback=TRACEBACK)
    scene.world.now = at(now)
    return scene


# -- assert_states


def test_states_compare_with_their_names_and_with_matchers():
    harness = charged(1).harness

    run = harness.assert_states(
        charge, ["PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", ANY, "SUCCESS"]
    )  # fmt: skip

    assert run.task == "shop.tasks.charge"
    assert harness.assert_states(run, tuple(run.states)) == run


def test_states_that_differ_are_shown_side_by_side():
    straight = ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]

    assert failure(charged(1).harness.assert_states, charge, straight) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to go through other states:
            expected  found
            PENDING   PENDING   t+0.000s
            RECEIVED  RECEIVED  t+0.000s
            STARTED   STARTED   t+0.000s
            SUCCESS   RETRY     t+0.000s  <-- first difference
            -         RECEIVED  t+1.000s
            -         STARTED   t+1.000s
            -         SUCCESS   t+1.000s""")


class Angry:
    def __eq__(self, other):
        raise RuntimeError("not today")

    __hash__ = None

    def __repr__(self):
        return "Angry()"


def test_states_that_are_missing_come_with_advice():
    scene = Scene().publish(report)

    assert failure(scene.harness.assert_states, report, [Angry(), "RECEIVED"]) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to go through other states:
            expected  found
            Angry()   PENDING  t+0.000s  <-- first difference (comparing raised RuntimeError: not today)
            RECEIVED  -
        hint: nothing has driven it yet: call harness.drain() or harness.settle()""")


def test_states_are_a_list():
    with pytest.raises(TypeError, match="assert_states\\(\\) takes a list of states, got 'SUCCESS'"):
        charged().harness.assert_states(charge, "SUCCESS")


# -- assert_succeeded


def test_success_and_its_result():
    scene = Scene().publish(charge, 42, 999).succeed([1, [2]])

    assert scene.harness.assert_succeeded(charge).result == [1, [2]]
    scene.harness.assert_succeeded(charge, returns=(1, (2,)))
    scene.harness.assert_succeeded(charge, returns=[ANY, ANY])


def test_none_is_a_result_that_can_be_asked_for():
    scene = Scene().publish(charge, 42, 999).succeed(None)

    scene.harness.assert_succeeded(charge, returns=None)


def test_another_result():
    scene = Scene().publish(charge, 42, 999).succeed({"total": 1})

    assert failure(scene.harness.assert_succeeded, charge, returns={"total": 2}) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to return
            {'total': 2}
        but it returned
            {'total': 1}   (first difference at ['total'])""")


def test_a_result_that_was_not_stored():
    scene = Scene().publish(report).begin().event("finish", state="SUCCESS", outcome="SUCCESS")

    assert failure(scene.harness.assert_succeeded, report, returns=7) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to return
            7
        but it returned
            None
        hint: no result was stored; does the task ignore its result?""")


def test_a_failure_where_success_was_expected_tells_the_whole_story():
    scene = charged(1, ending="fail")

    assert failure(scene.harness.assert_succeeded, charge) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to succeed
        but its state is FAILURE
            states    t+0.000s  PENDING RECEIVED STARTED RETRY
                      t+1.000s  RECEIVED STARTED FAILURE
            error     GatewayDown: no answer
                      File "/venv/celery/app/trace.py", line 453, in trace_task
                        R = retval = fun(*args, **kwargs)
                      File "/shop/tasks.py", line 31, in charge
                        gateway.charge(order_id, amount)
            attempts  1  t+0.000s  RETRY    GatewayDown('no answer')  again after 1 s  on w1
                      2  t+1.000s  FAILURE  GatewayDown('no answer')                   on w1""")


def test_a_run_that_nobody_drove():
    scene = Scene().publish(report)

    assert failure(scene.harness.assert_succeeded, report) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to succeed
        but its state is PENDING
            states    t+0.000s  PENDING
        hint: nothing has driven it yet: call harness.drain() or harness.settle()""")


def test_a_run_that_is_not_due_yet():
    scene = Scene().publish(report, eta=at(60)).event("deliver").event("receive")

    assert failure(scene.harness.assert_succeeded, report).splitlines()[-1] == (
        "hint: it is due at t+60.000s and it is t+0.000s now: call harness.clock.advance(), or harness.settle()"
    )


def test_a_run_that_waits_for_its_next_attempt():
    scene = charged(1, ending="")
    scene.world.now = at(5)

    assert failure(scene.harness.assert_succeeded, charge).splitlines()[-1] == (
        "hint: it has not come to its end: call harness.drain() or harness.settle()"
    )


def test_an_attempt_that_never_ended_and_one_that_was_redelivered():
    scene = Scene().publish(report).begin().begin(after=1, redelivered=True, worker="w2")

    assert failure(scene.harness.assert_succeeded, report) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to succeed
        but its state is STARTED
            states    t+0.000s  PENDING RECEIVED STARTED
                      t+1.000s  RECEIVED STARTED
            attempts  1  t+0.000s  never ended  on w1
                      2  t+1.000s  never ended  on w2, redelivered
        hint: it has not come to its end: call harness.drain() or harness.settle()""")


def test_on_a_timeline_from_a_file_all_of_it_works_and_now_is_the_last_event():
    text = charged(1, ending="fail").timeline.to_json()
    harness = Assertions(Timeline.from_json(text))

    harness.assert_failed(charge, GatewayDown, match="no answer")
    harness.assert_states(charge, ANY_STATES)
    assert "GatewayDown: no answer" in failure(harness.assert_succeeded, charge)
    waiting = Assertions(Timeline.from_json(Scene().publish(report, eta=at(60)).timeline.to_json()))
    assert "it is due at t+60.000s and it is t+0.000s now" in failure(waiting.assert_succeeded, report)


ANY_STATES = [ANY] * 7


def test_hidden_arguments_stay_hidden_in_every_text():
    scene = Scene().publish(send_email, 7, "s3cret", argsrepr="(7, '***')", hidden=True)

    text = failure(scene.harness.assert_succeeded, send_email)

    assert "shop.tasks.send_email(7, '***') 1f3c9a7e" in text
    assert "s3cret" not in text


# -- assert_failed


def test_a_failure_with_its_error():
    harness = charged(ending="fail").harness

    assert isinstance(harness.assert_failed(charge).error, GatewayDown)
    harness.assert_failed(charge, GatewayDown)
    harness.assert_failed(charge, (ValueError, GatewayDown), match=r"no \w+")


def test_success_where_a_failure_was_expected():
    assert failure(charged().harness.assert_failed, charge, GatewayDown, match="x") == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to fail with GatewayDown matching 'x'
        but its state is SUCCESS
            states    t+0.000s  PENDING RECEIVED STARTED SUCCESS""")


def test_another_error():
    text = failure(charged(ending="fail").harness.assert_failed, charge, (ValueError, KeyError))

    assert text == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to fail with ValueError or KeyError
        but it failed with GatewayDown: no answer
            states    t+0.000s  PENDING RECEIVED STARTED FAILURE
            error     GatewayDown: no answer
                      File "/venv/celery/app/trace.py", line 453, in trace_task
                        R = retval = fun(*args, **kwargs)
                      File "/shop/tasks.py", line 31, in charge
                        gateway.charge(order_id, amount)""")


def test_the_traceback_is_shown_without_carets_and_without_the_error_again():
    qualified = TRACEBACK.replace("GatewayDown", "shop.errors.GatewayDown").replace(
        "amount)\n", "amount)\n    ^^^^~~~\n"
    )
    other = Scene().publish(report).fail(ValueError("short"), traceback="Traceback:\n  elsewhere\n")
    named = Scene().publish(charge, 42, 999).fail(GatewayDown("no answer"), traceback=qualified)

    text = failure(named.harness.assert_succeeded, charge)

    assert text.endswith("line 31, in charge\n                gateway.charge(order_id, amount)")
    assert failure(other.harness.assert_succeeded, report).endswith("Traceback:\n                elsewhere")


def test_another_message():
    scene = Scene().publish(report).fail(ValueError("cost (in EUR)"))

    assert failure(scene.harness.assert_failed, report, match="cost (in EUR)").splitlines()[:2] == [
        "expected shop.tasks.report() 1f3c9a7e to fail matching 'cost (in EUR)'",
        "but it failed with ValueError: cost (in EUR)",
    ]
    assert "hint: match is a regular expression; use re.escape()" in failure(
        scene.harness.assert_failed, report, match="cost (in EUR)"
    )
    assert "hint" not in failure(scene.harness.assert_failed, report, match="USD")


def test_a_failure_whose_error_is_not_known():
    scene = Scene().publish(report).begin().event("finish", state="FAILURE", outcome="FAILURE")

    scene.harness.assert_failed(report)
    assert "but it failed with an unknown error" in failure(scene.harness.assert_failed, report, ValueError)


def test_an_error_without_a_message_is_shown_by_its_type():
    scene = Scene().publish(report).fail(ValueError())

    assert "but it failed with ValueError\n" in failure(scene.harness.assert_failed, report, KeyError)


@pytest.mark.parametrize("exc", [ValueError("x"), "ValueError", int])
def test_exc_is_a_type(exc):
    with pytest.raises(TypeError, match="exc is an exception type or a tuple of them"):
        charged(ending="fail").harness.assert_failed(charge, exc)


# -- assert_retried


def test_retries_with_their_delays_and_causes():
    harness = charged(1, 2, 0).harness

    assert harness.assert_retried(charge).retry_delays == [1, 2, 0]
    harness.assert_retried(charge, times=3, delays=[1, ANY, 0], exc=GatewayDown)
    harness.assert_retried(charge, exc=(ValueError, GatewayDown))


def test_never_retried():
    assert failure(charged().harness.assert_retried, charge) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to be retried
        but it never was
            states    t+0.000s  PENDING RECEIVED STARTED SUCCESS""")
    charged().harness.assert_retried(charge, times=0)


def test_retried_more_or_less_often():
    assert failure(charged(1).harness.assert_retried, charge, times=2) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to be retried 2 times
        but it was retried once
            states    t+0.000s  PENDING RECEIVED STARTED RETRY
                      t+1.000s  RECEIVED STARTED SUCCESS
            attempts  1  t+0.000s  RETRY    GatewayDown('no answer')  again after 1 s  on w1
                      2  t+1.000s  SUCCESS                                             on w1""")
    assert "to be retried once\nbut it never was" in failure(charged().harness.assert_retried, charge, times=1)


def test_retried_after_other_delays():
    text = failure(charged(1, 2).harness.assert_retried, charge, delays=[1, 4])

    assert text.splitlines()[:2] == [
        "expected shop.tasks.charge(42, 999) 1f3c9a7e to be retried after [1, 4] s",
        "but the delays were [1, 2] s",
    ]


def test_retried_for_another_reason():
    scene = Scene().publish(charge, 42, 999)
    scene.retry(GatewayDown("no answer"), delay=1, number=1).retry(None, delay=1, number=2, after=1).succeed(after=2)

    assert failure(scene.harness.assert_retried, charge, exc=ValueError).splitlines()[:2] == [
        "expected shop.tasks.charge(42, 999) 1f3c9a7e to be retried only for ValueError",
        "but retry 1 was for GatewayDown('no answer')",
    ]
    assert "but retry 2 was for None" in failure(scene.harness.assert_retried, charge, exc=GatewayDown)


# -- assert_backoff


def test_exponential_backoff():
    harness = charged(1, 2, 4, 8, 10).harness

    assert harness.assert_backoff(charge, maximum=10).retry_delays == [1, 2, 4, 8, 10]
    harness.assert_backoff(charge, jitter=True)
    harness.assert_backoff(charge, jitter="full", factor=2)
    charged(3, 6, 12).harness.assert_backoff(charge, factor=3)


def test_another_backoff():
    assert failure(charged(1, 2, 5).harness.assert_backoff, charge) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to back off by min(600, 1 * 2**n), but
            retry  expected  found
            1      1 s       1 s
            2      2 s       2 s
            3      4 s       5 s    <--""")


def test_a_delay_beyond_the_envelope():
    assert failure(charged(0, 2, 5).harness.assert_backoff, charge, jitter=True) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to back off by 0 to min(600, 1 * 2**n), but
            retry  expected  found
            1      0 to 1 s  0 s
            2      0 to 2 s  2 s
            3      0 to 4 s  5 s    <--""")


def test_jitter_that_was_not_expected_is_named():
    assert failure(charged(1, 0, 3).harness.assert_backoff, charge).splitlines()[-1] == (
        "hint: all of them are within the bound, so the delay is jittered: pass jitter=True"
    )


def test_another_factor_is_named():
    assert failure(charged(3, 6).harness.assert_backoff, charge).splitlines()[-1] == "hint: they are those of factor=3"


def test_backoff_without_retries():
    assert failure(charged().harness.assert_backoff, charge) == dedent("""\
        expected shop.tasks.charge(42, 999) 1f3c9a7e to back off by min(600, 1 * 2**n)
        but it was never retried
            states    t+0.000s  PENDING RECEIVED STARTED SUCCESS""")


def test_only_the_jitter_that_celery_has():
    with pytest.raises(ValueError, match=r"jitter is False, True or 'full' .*, got 'equal'"):
        charged(1).harness.assert_backoff(charge, jitter="equal")


# -- assert_nothing_lost


def test_nothing_lost_gives_the_account():
    scene = charged().publish(report, id="waiting")

    assert scene.harness.assert_nothing_lost().lost == []


def test_lost_messages_are_shown_with_their_fate():
    scene = Scene()
    scene.publish(charge, 42, 999).event("deliver").event("ack", after=1).event("start", after=1)
    scene.publish(report, id="2b000000-2").event("expire", id="2b000000-2", after=600, worker=None)
    scene.publish(sync_crm, 7, id="3c000000-3").event("reject", id="3c000000-3", requeue=True)
    scene.event("reject", id="3c000000-3", after=2, requeue=False, worker="w2")

    assert failure(scene.harness.assert_nothing_lost) == dedent("""\
        expected nothing to be lost, but 3 messages were
            shop.tasks.charge(42, 999) 1f3c9a7e
                enqueued at shop/signup.py:31 in sign_up, t+0.000s
                acknowledged by w1, and yet it never ended; with acks_late=True the broker would still have it, t+1.000s
            shop.tasks.report() 2b000000
                enqueued at shop/signup.py:31 in sign_up, t+0.000s
                expired in its queue, t+600.000s
            shop.tasks.sync_crm(7) 3c000000
                enqueued at shop/signup.py:31 in sign_up, t+0.000s
                rejected by w2 without being requeued, so the broker dropped it, t+2.000s""")


def test_one_lost_message():
    scene = Scene().publish(report).event("expire", after=60, worker=None)

    assert failure(scene.harness.assert_nothing_lost).startswith("expected nothing to be lost, but 1 message was\n")
