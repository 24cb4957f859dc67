"""`assert_ran_at`, `assert_not_before`, `assert_ran_in_order`."""

from __future__ import annotations

from datetime import datetime, timedelta
from textwrap import dedent

import pytest
from asserting_scenes import Scene, alert, at, charge, failure, report, send_email, sync_crm

from pytest_taskharness.errors import TimeTravelError


def test_ran_at_takes_an_instant_or_the_time_since_the_start():
    scene = Scene().publish(report, eta=at(60)).succeed(after=60)

    assert scene.harness.assert_ran_at(report, at(60)).task == "shop.tasks.report"
    scene.harness.assert_ran_at(report, timedelta(minutes=1))


def test_ran_at_means_the_last_attempt():
    scene = Scene().publish(charge, 42, 999).retry(ValueError(), delay=5, number=1).succeed(after=5)

    scene.harness.assert_ran_at(charge, at(5))


def test_ran_too_late_or_too_early():
    scene = Scene().publish(report).succeed(after=61.5)

    assert failure(scene.harness.assert_ran_at, report, at(60)) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to run at t+60.000s (2030-01-01T00:01:00+00:00)
        but it started at t+61.500s (2030-01-01T00:01:01.500000+00:00), 1.5 s too late
            states    t+0.000s   PENDING
                      t+61.500s  RECEIVED STARTED SUCCESS""")
    assert "38.5 s too early" in failure(scene.harness.assert_ran_at, report, at(100))


def test_never_ran():
    scene = Scene().publish(report, eta=at(60))

    assert failure(scene.harness.assert_ran_at, report, at(60)) == dedent("""\
        expected shop.tasks.report() 1f3c9a7e to run at t+60.000s (2030-01-01T00:01:00+00:00)
        but it never started
            states    t+0.000s  PENDING
        hint: it is due at t+60.000s and it is t+0.000s now: call harness.clock.advance(), or harness.settle()""")


def test_not_before_looks_at_the_first_attempt():
    scene = Scene().publish(charge, 42, 999).retry(ValueError(), delay=5, number=1, after=10).succeed(after=15)

    assert scene.harness.assert_not_before(charge, at(10)).started_at == at(15)
    assert failure(scene.harness.assert_not_before, charge, at(15)).splitlines()[:2] == [
        "expected shop.tasks.charge(42, 999) 1f3c9a7e to not run before t+15.000s (2030-01-01T00:00:15+00:00)",
        "but it started at t+10.000s (2030-01-01T00:00:10+00:00), 5 s too early",
    ]


def test_not_before_of_a_run_that_never_started_holds_once_the_clock_has_come_so_far():
    scene = Scene().publish(report, eta=at(60))

    assert failure(scene.harness.assert_not_before, report, at(60)).splitlines()[:2] == [
        "expected shop.tasks.report() 1f3c9a7e to not run before t+60.000s (2030-01-01T00:01:00+00:00)",
        "but it has not started yet and it is only t+0.000s",
    ]
    scene.world.now = at(60)
    scene.harness.assert_not_before(report, at(60))


def test_not_before_of_a_revoked_run_holds():
    scene = Scene().publish(report).event("revoke", state="REVOKED")

    scene.harness.assert_not_before(report, at(60))


def test_times_have_a_timezone():
    harness = Scene().publish(report).harness

    with pytest.raises(TimeTravelError, match="has no timezone"):
        harness.assert_ran_at(report, datetime(2030, 1, 1))
    with pytest.raises(TypeError, match="expected an aware datetime or a timedelta, got 60"):
        harness.assert_not_before(report, 60)


# -- assert_ran_in_order


def several():
    scene = Scene()
    scene.publish(charge, 42, 999, id="a").publish(send_email, 7, "hi", id="b").publish(charge, 43, 1, id="c")
    return scene.succeed(id="a").succeed(id="b", after=1).succeed(id="c", after=2)


def test_order_of_starts_with_others_in_between():
    harness = several().harness

    assert [run.id for run in harness.assert_ran_in_order(charge, send_email, "shop.tasks.charge")] == ["a", "b", "c"]
    assert [run.id for run in harness.assert_ran_in_order(charge, charge.s(43))] == ["a", "c"]
    assert [run.id for run in harness.assert_ran_in_order("b", harness.run_of("c"))] == ["b", "c"]


def test_an_errback_that_was_called_inline_has_its_place():
    scene = several().event("callback", id="d", task=alert, state="SUCCESS", outcome="SUCCESS", parent_id="c", after=3)

    assert [run.inline for run in scene.harness.assert_ran_in_order("c", alert)] == [False, True]


def test_wrong_order():
    assert failure(several().harness.assert_ran_in_order, charge.s(43), send_email) == dedent("""\
        expected these to run, in this order
            1. shop.tasks.charge(order_id=43)
            2. shop.tasks.send_email
        but shop.tasks.send_email did not start after shop.tasks.charge(order_id=43); what started:
                t+0.000s  shop.tasks.charge(42, 999) a
                t+1.000s  shop.tasks.send_email(7, 'hi') b
            1.  t+2.000s  shop.tasks.charge(43, 1) c""")


def test_one_never_started():
    assert failure(several().harness.assert_ran_in_order, charge, sync_crm).splitlines()[3] == (
        "but shop.tasks.sync_crm never started; what started:"
    )


def test_nothing_has_started():
    scene = Scene().publish(report)

    assert failure(scene.harness.assert_ran_in_order, report, "nope") == dedent("""\
        expected these to run, in this order
            1. shop.tasks.report
            2. nope
        but shop.tasks.report never started; nothing has started at all""")


def test_order_of_nothing_is_refused():
    with pytest.raises(TypeError, match="needs at least one task"):
        several().harness.assert_ran_in_order()
