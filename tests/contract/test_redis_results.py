"""Results and chords live as long as the configuration says, by the virtual clock, on a real server too."""

from __future__ import annotations

import time
from datetime import timedelta

import celery
import pytest
from celery import chord, group
from redis_scenes import on_redis
from scenario import both_clocks

from pytest_taskharness.errors import Deadlock

DAY = 86_400
with_a_broker = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis"], indirect=True)
since_5_7 = pytest.mark.skipif(celery.VERSION < (5, 7), reason="Celery has the setting since 5.7")


@with_a_broker
@both_clocks
def test_a_result_is_gone_at_the_exact_instant(open_harness, tasks):
    harness = open_harness(config={"result_expires": 60})
    result = tasks.add.delay(1, 2)
    harness.settle()
    harness.clock.advance(seconds=60, microseconds=-1)
    assert result.state == "SUCCESS"
    result = tasks.add.AsyncResult(result.id)
    harness.clock.advance(microseconds=1)
    assert (result.state, result.result) == ("PENDING", None)


@with_a_broker
def test_waiting_for_a_result_that_is_gone_says_so(open_harness, tasks):
    harness = open_harness(config={"result_expires": timedelta(minutes=1)})
    result = tasks.add.delay(1, 2)
    harness.clock.advance(minutes=2)
    with pytest.raises(Deadlock, match=r"but its result expired at t\+60\.000s \(result_expires is 0:01:00\)"):
        result.get()


@with_a_broker
def test_what_the_run_knows_stays(open_harness, tasks):
    harness = open_harness(config={"result_expires": 60})
    tasks.add.delay(1, 2)
    harness.clock.advance(days=2)
    assert (harness.run_of(tasks.add).state, harness.run_of(tasks.add).result) == ("SUCCESS", 3)


@with_a_broker
@pytest.mark.parametrize("never", [None, 0])
def test_where_nothing_expires_a_result_stays(open_harness, tasks, never):
    harness = open_harness(config={"result_expires": never})
    result = tasks.add.delay(1, 2)
    harness.clock.advance(days=1000)
    assert result.get() == 3


@with_a_broker
def test_by_default_a_result_stays_for_a_day(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.clock.advance(hours=23)
    assert result.state == "SUCCESS"
    harness.clock.advance(hours=1)
    assert tasks.add.AsyncResult(result.id).state == "PENDING"


@with_a_broker
def test_each_state_that_is_stored_counts_anew(open_harness, app):
    harness = open_harness(config={"result_expires": 60})

    @app.task(bind=True, shared=False)
    def stepwise(self):
        self.update_state(state="HALFWAY")
        time.sleep(50)
        self.update_state(state="ALMOST")
        time.sleep(50)

    result = stepwise.delay()
    harness.settle()
    harness.clock.advance(seconds=59)
    assert result.state == "SUCCESS"


@with_a_broker
def test_a_custom_state_expires_too(open_harness, app):
    harness = open_harness(config={"result_expires": 60})

    @app.task(bind=True, ignore_result=True, shared=False)
    def stepwise(self):
        self.update_state(state="HALFWAY")

    result = stepwise.delay()
    harness.settle()
    assert app.AsyncResult(result.id).state == "HALFWAY"
    harness.clock.advance(seconds=60)
    assert app.AsyncResult(result.id).state == "PENDING"


@with_a_broker
def test_a_result_that_is_forgotten_may_come_again(open_harness, tasks):
    harness = open_harness(config={"result_expires": 60})
    result = tasks.add.apply_async((1, 2), task_id="one")
    assert result.get() == 3
    result.forget()
    assert tasks.add.AsyncResult("one").state == "PENDING"
    harness.clock.advance(seconds=30)
    tasks.add.apply_async((3, 4), task_id="one")
    harness.clock.advance(seconds=59)
    assert tasks.add.AsyncResult("one").get() == 7


@with_a_broker
@since_5_7
def test_a_failure_may_expire_sooner(open_harness, tasks):
    harness = open_harness(config={"result_expires": 60, "result_failure_expires": 10})
    good, bad = tasks.add.delay(1, 2), tasks.boom.delay()
    harness.settle()
    harness.clock.advance(seconds=10)
    assert (tasks.add.AsyncResult(good.id).state, tasks.add.AsyncResult(bad.id).state) == ("SUCCESS", "PENDING")


@with_a_broker
def test_a_saved_group_expires(open_harness, app, tasks):
    harness = open_harness(config={"result_expires": 60})
    result = group(tasks.add.s(number, number) for number in range(3)).delay()
    result.save()
    harness.clock.advance(seconds=59)
    assert app.GroupResult.restore(result.id).get() == [0, 2, 4]
    harness.clock.advance(seconds=1)
    assert app.GroupResult.restore(result.id) is None


@with_a_broker
def test_a_chord_whose_parts_are_further_apart_than_results_live_never_ends(open_harness, tasks):
    # In production too; nothing says so there.
    harness = open_harness(config={"result_expires": DAY})
    header = [tasks.add.s(1, 1), tasks.add.s(2, 2).set(countdown=2 * DAY)]
    result = chord(header)(tasks.total.s())
    harness.settle()
    assert len(harness.runs(tasks.add)) == 2
    assert harness.runs(tasks.total) == []
    with pytest.raises(Deadlock, match=r"body of a chord\? The parts of \w{8} expired at t\+86400\.000s"):
        result.get()


@with_a_broker
def test_a_chord_lives_on_as_long_as_parts_come_in(open_harness, tasks):
    harness = open_harness(config={"result_expires": DAY})
    header = [tasks.add.s(1, 1).set(countdown=number * DAY * 0.75) for number in range(4)]
    result = chord(header)(tasks.total.s())
    harness.settle()
    assert result.get() == 8


@with_a_broker
def test_a_chord_that_is_complete_is_not_taken_for_lost(open_harness, tasks):
    harness = open_harness(config={"result_expires": DAY})
    assert chord([tasks.add.s(1, 1)] * 2)(tasks.total.s()).get() == 4
    harness.clock.advance(days=10)
    with pytest.raises(Deadlock, match="a result of another app"):
        tasks.add.AsyncResult("no such task").get()


@with_a_broker
def test_a_chord_of_chords_ends_within_the_time(open_harness, tasks):
    harness = open_harness(config={"result_expires": DAY})
    inner = chord([tasks.add.s(1, 1), tasks.add.s(2, 2).set(countdown=DAY / 2)], tasks.total.s())
    assert chord([inner, tasks.add.s(3, 3).set(countdown=DAY / 4)])(tasks.total.s()).get() == 12
    assert harness.clock.now - harness.timeline.start == timedelta(days=0.5)


@on_redis
def test_the_server_counts_no_seconds(open_harness, app, tasks):
    # Its seconds are real: it would delete what virtual time has not come to yet.
    harness = open_harness(config={"result_expires": 1})
    tasks.add.delay(1, 2)
    chord([tasks.add.s(1, 1), tasks.add.s(1, 1).set(countdown=1)])(tasks.total.s())
    group(tasks.add.s(1, 1)).delay().save()
    harness.drain()
    client = harness._world.broker.access.client
    assert client.dbsize() > 0
    assert [key for key in client.keys("*") if client.ttl(key) != -1] == []
