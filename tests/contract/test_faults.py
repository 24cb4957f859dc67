"""What goes wrong when a test asks for it: errors, deaths at every window, delays, losses."""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from billiard.exceptions import WorkerLostError
from celery import chain, signals
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError
from rabbit_scenes import not_on_rabbitmq
from scenario import after, eager_only, kinds, memory_only, passed

from pytest_taskharness import CrashWindow, crash_windows
from pytest_taskharness.errors import ConfigurationError, FaultNeverStruck, FidelityError, HarnessClosed
from pytest_taskharness.faults.lines import lines_of

workers_only = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
#: What comes before the worker that holds the message is dead.
PASSED = {
    "received": [],
    "started": [],
    "after_body": ["one", "two", "end"],
    "before_result": ["one", "two", "end"],
    "before_ack": ["one", "two", "end"],
    "after_ack": ["one", "two", "end"],
}


@pytest.fixture
def diary():
    return []


@pytest.fixture
def work(app, diary):
    """A late-acknowledging task that writes down how far it comes; its lines are `lines_of(work)`."""

    @app.task(name="shop.work", shared=False, acks_late=True)
    def work(amount=1):
        try:
            diary.append("one")
            diary.append("two")
        finally:
            diary.append("end")
        return amount

    return work


def line_of(task, text):
    """``in_body:N`` for the line of the body that has this text."""
    path = task.run.__code__.co_filename
    return next(f"in_body:{line}" for line in lines_of(task) if text in linecache.getline(path, line))


# -- deaths


@workers_only
@pytest.mark.parametrize("window", PASSED)
def test_a_late_task_runs_again_when_its_worker_has_died_before_the_acknowledgement(harness, work, diary, window):
    harness.faults.crash(work, at=window)
    result = work.delay(7)
    harness.settle()
    again = [] if window == "after_ack" else ["one", "two", "end"]
    assert diary == PASSED[window] + again
    assert result.get() == 7
    run = harness.run_of(work)
    assert run.redelivered == bool(again)
    assert run.acked
    assert not harness.tally.lost


@workers_only
@pytest.mark.parametrize("window", ["started", "after_body", "before_result", "after_ack"])
def test_an_early_task_is_lost_with_its_worker(harness, app, window):
    @app.task(name="shop.early")
    def early():
        pass

    harness.faults.crash(early, at=window)
    result = early.delay()
    harness.settle()
    run = harness.run_of(early)
    assert harness.tally.lost == [run]
    assert result.state == "PENDING"
    with pytest.raises(AssertionError, match=r"shop\.early"):
        harness.assert_nothing_lost()


@workers_only
@pytest.mark.parametrize("window", ["received", "before_ack"])
def test_an_early_task_survives_what_comes_before_its_acknowledgement(harness, app, window):
    @app.task(name="shop.early")
    def early():
        return "done"

    harness.faults.crash(early, at=window)
    result = early.delay()
    harness.settle()
    assert result.get() == "done"
    assert len(harness.run_of(early).attempts) == 1 and harness.run_of(early).redelivered


@workers_only
def test_a_worker_that_died_is_started_anew_under_its_name(harness, work):
    worker = harness.worker()
    harness.faults.crash(work, at="before_ack")
    work.delay()
    harness.settle()
    assert {attempt.worker for attempt in harness.run_of(work).attempts} == {"worker"}
    assert harness.worker().name == worker.name
    worker.pause()
    work.delay()
    assert harness.drain().counts == {}


@workers_only
def test_a_crash_strikes_as_often_as_it_is_asked_to(harness, work, diary):
    fault = harness.faults.crash(work, at="after_body", times=3)
    work.delay()
    harness.settle()
    assert diary == ["one", "two", "end"] * 4
    assert fault.struck == 3
    assert [attempt.outcome for attempt in harness.run_of(work).attempts] == [None, None, None, "SUCCESS"]


@workers_only
@pytest.mark.parametrize("death", ["node", "child"])
def test_a_dead_body_executes_nothing_more(harness, work, diary, death):
    harness.faults.crash(work, at=line_of(work, '"two"'), death=death)
    work.delay()
    harness.settle()
    assert diary[:1] == ["one"]
    assert "end" not in diary[:2]


@workers_only
def test_a_pool_process_that_dies_is_reported_by_its_worker(harness, work):
    harness.faults.crash(work, at="child@started")
    result = work.delay()
    harness.settle()
    run = harness.assert_failed(work, WorkerLostError, match=r"signal 9 \(SIGKILL\)")
    assert [attempt.outcome for attempt in run.attempts] == ["LOST"]
    assert result.state == "FAILURE" and run.acked


@workers_only
def test_a_task_that_is_rejected_when_its_process_is_lost_runs_again(harness, app, diary):
    @app.task(name="shop.safe", acks_late=True, reject_on_worker_lost=True)
    def safe():
        diary.append("safe")

    harness.faults.crash(safe, at="after_body", death="child")
    safe.delay()
    harness.settle()
    assert diary == ["safe", "safe"]
    assert [attempt.outcome for attempt in harness.run_of(safe).attempts] == ["LOST", "SUCCESS"]
    assert harness.run_of(safe).redelivered


@workers_only
def test_a_stored_success_outlives_the_process_that_stored_it(harness, work):
    harness.faults.crash(work, at="child@before_ack")
    result = work.delay(5)
    harness.settle()
    assert harness.run_of(work).acked
    assert len(harness.run_of(work).attempts) == 1
    states = {"SUCCESS", "FAILURE"}  # before Celery 5.7 the loss is stored over it where the backend lets it
    assert result.state in states


@workers_only
def test_a_line_in_a_loop_is_reached_once_each_time_round(harness, app, diary):
    @app.task(name="shop.loop", acks_late=True)
    def loop():
        for number in range(4):
            diary.append(number)

    harness.faults.crash(loop, at=line_of(loop, "append") + "#3")
    loop.delay()
    harness.settle()
    assert diary == [0, 1, 0, 1, 2, 3]


@workers_only
def test_a_death_between_two_callbacks(harness, work, app, diary):
    @app.task(name="shop.link")
    def link(amount):
        diary.append(f"link {amount}")

    harness.faults.crash(work, at="between_callbacks#1")
    work.apply_async((1,), link=[link.s(), link.s()])
    harness.settle()
    assert len([entry for entry in diary if entry == "link 1"]) == 3


@workers_only
def test_the_next_link_of_a_chain_is_a_callback(harness, work, tasks, app):
    harness.faults.crash(work, at="between_callbacks")
    chain(work.s(1), tasks.add.s(2)).delay()
    harness.settle()
    assert len(harness.run_of(tasks.add).attempts) == 2  # a link's id was given when the chain was called


@workers_only
def test_a_death_is_on_the_timeline(harness, work):
    harness.faults.crash(work, at="before_ack")
    work.delay()
    harness.settle()
    [fault] = [event for event in harness.timeline if event.kind == "fault"]
    assert (fault.task, fault.worker) == ("shop.work", "worker")
    assert fault.detail["note"] == "dies at node@before_ack: its connection is lost"


@memory_only
def test_every_window_can_be_crashed_at(harness, work, tasks):
    for window in crash_windows(work):
        harness.faults.crash(work, at=window)
        result = work.apply_async((2,), link=tasks.echo.s())
        harness.settle()
        if window.death == "node":
            assert result.get() == 2, str(window)
    assert not harness.tally.lost


@memory_only
def test_a_task_whose_class_is_called_can_be_crashed_too(harness, app, diary):
    class Counted(app.Task):
        def __call__(self, *args, **kwargs):
            diary.append("call")
            return super().__call__(*args, **kwargs)

    @app.task(base=Counted, acks_late=True)
    def counted():
        diary.append("body")

    harness.faults.crash(counted, at="after_body")
    counted.delay()
    harness.settle()
    assert diary == ["call", "body"] * 2
    assert "run" not in counted.__dict__


@memory_only
def test_a_dead_process_sends_no_signal(harness, work, diary):
    def ended(**_):
        diary.append("postrun")

    signals.task_postrun.connect(ended)
    try:
        harness.faults.crash(work, at="before_result")
        work.delay()
        harness.step()
        assert "postrun" not in diary
        harness.settle()
        assert diary.count("postrun") == 1
    finally:
        signals.task_postrun.disconnect(ended)


@memory_only
def test_a_body_that_waits_dies_with_the_worker_it_has_waited_in(harness, app, diary):
    @app.task(name="shop.inner", acks_late=True)
    def inner():
        return 1

    @app.task(name="shop.outer", acks_late=True)
    def outer():
        diary.append("waits")
        got = inner.delay().get(disable_sync_subtasks=False)
        diary.append("got")
        return got

    harness.faults.crash(inner, at="before_ack")
    result = outer.delay()
    harness.settle()
    assert diary[:3] == ["waits", "waits", "got"]
    assert result.get() == 1


@memory_only
def test_perform_dies_too(harness, work, diary):
    harness.faults.crash(work, at="after_body", death="child")
    run = harness.perform(work.s())
    assert run.attempts[0].outcome == "LOST"
    harness.faults.crash(work, at="after_body")
    harness.perform(work.s())
    assert harness.worker().name == "worker"
    assert work.delay(3).get() == 3


# -- errors, delays, losses


def test_fail_raises_in_the_place_of_the_body(harness, tasks, mode):
    fault = harness.faults.fail(tasks.add, ConnectionError("refused"), times=2)
    for _ in range(3):
        tasks.add.delay(1, 2)
    harness.settle()
    assert [run.state for run in harness.runs(tasks.add)] == ["FAILURE", "FAILURE", "SUCCESS"]
    assert fault.struck == 2
    harness.assert_failed(harness.runs(tasks.add)[0], ConnectionError, match="refused")


@workers_only
def test_a_task_that_fails_now_and_then_is_retried(harness, app):
    @app.task(autoretry_for=(ConnectionError,), retry_backoff=2, retry_jitter=False)
    def fetch():
        return "page"

    harness.faults.fail(fetch, ConnectionError, times=2)
    assert fetch.delay().get() == "page"
    assert harness.run_of(fetch).retry_delays == [2, 4]


def test_without_times_it_fails_until_it_is_cancelled(harness, tasks):
    fault = harness.faults.fail(tasks.add, ValueError("no"))
    tasks.add.delay(1, 2)
    tasks.add.delay(1, 2)
    harness.settle()
    fault.cancel()
    assert tasks.add.delay(1, 2).get() == 3


def test_slow_takes_virtual_time(harness, tasks):
    harness.faults.slow(tasks.add, seconds=90)
    result = tasks.add.delay(1, 2)
    assert result.get() == 3
    assert passed(harness) == 90
    assert harness.run_of(tasks.add).elapsed.total_seconds() == 90


@workers_only
def test_a_slow_body_meets_its_time_limit(harness, app):
    @app.task(soft_time_limit=10)
    def limited():
        return "in time"

    harness.faults.slow(limited, seconds=60)
    limited.delay()
    harness.settle()
    harness.assert_failed(limited, SoftTimeLimitExceeded)
    assert passed(harness) == 10


@workers_only
def test_a_result_that_is_lost(harness, tasks):
    harness.faults.lose_result(tasks.add)
    result = tasks.add.delay(1, 2)
    harness.settle()
    assert result.state == "PENDING"
    assert harness.run_of(tasks.add).states[-1] == "SUCCESS"
    assert harness.run_of(tasks.add).result is None
    assert tasks.add.delay(1, 2).get() == 3


@workers_only
def test_a_publish_whose_confirmation_is_lost(harness, tasks):
    harness.faults.publish_unknown(tasks.add)
    with pytest.raises(OperationalError, match="after the message had been sent"):
        tasks.add.delay(1, 2)
    [run] = harness.runs(tasks.add)
    assert harness.tally.unknown == [run]
    harness.settle()
    assert run.state == "SUCCESS"


# -- what is refused


@workers_only
@pytest.mark.parametrize(
    "at, text",
    [
        ("before_akc", r"'before_akc' is no window\. Did you mean 'before_ack'\?"),
        ("in_body", r"'in_body' needs a line, as in 'in_body:24'"),
        ("before_ack:12", r"'before_ack' has no lines; 'in_body' has"),
        ("child@received", r"the pool process cannot die at 'received': no pool process has the task yet"),
        ("child@after_ack", r"use 'before_ack', or 'started'"),
        ("nobody@started", r"'nobody' is no death\. Did you mean 'node'\?"),
        ("line 24", r"'line 24' is no crash window\. It is written as"),
        ("started#0", r"is reached for the first time as #1"),
    ],
)
def test_a_window_that_cannot_be_is_refused(harness, work, at, text):
    with pytest.raises(ConfigurationError, match=text):
        harness.faults.crash(work, at=at)


@memory_only
def test_an_early_acknowledgement_is_not_the_pool_processs(harness, tasks):
    with pytest.raises(ConfigurationError, match=r"shop\.add acknowledges early.*'child@started', or acks_late=True"):
        harness.faults.crash(tasks.add, at="child@before_ack")


def test_a_task_that_is_none_is_refused(harness, tasks):
    with pytest.raises(ConfigurationError, match=r"given: 'shop\.ad'\. Did you mean 'shop\.add'\?"):
        harness.faults.fail("shop.ad", ValueError("no"))
    with pytest.raises(ConfigurationError, match="given: 7"):
        harness.faults.slow(7, seconds=1)


@pytest.mark.parametrize(
    "ask, text",
    [
        (lambda faults, task: faults.fail(task, "an error"), r"fail\(\) takes an exception.*given: 'an error'"),
        (lambda faults, task: faults.slow(task, seconds=0), r"slow\(\) takes seconds, more than 0; given: 0"),
        (lambda faults, task: faults.fail(task, ValueError("no"), times=0), r"times= is a number from 1 on"),
        (
            lambda faults, task: (faults.fail(task, ValueError("no")), faults.fail(task, KeyError("key"))),
            r"KeyError\('key'\), times=None\) contradicts fail\('shop.add', ValueError\('no'\).*strikes each time",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(harness, tasks, ask, text):
    with pytest.raises(ConfigurationError, match=text):
        ask(harness.faults, tasks.add)
    for fault in harness._world.script.faults:
        fault.cancel()


@memory_only
def test_faults_that_contradict_one_another_are_refused(harness, work):
    crash = harness.faults.crash(work, at="node@started")
    with pytest.raises(ConfigurationError, match="two things cannot die at one instant"):
        harness.faults.crash(work, at="child@started")
    crash.cancel()
    fail = harness.faults.fail(work, ValueError("no"))
    with pytest.raises(ConfigurationError, match=r"never comes to 'after_body'\. Give fail\(\) times="):
        harness.faults.crash(work, at="after_body")
    fail.cancel()


@eager_only
def test_without_a_worker_nothing_dies(harness, tasks):
    with pytest.raises(FidelityError, match=r"crash\(\) needs a broker and a worker.*mode='memory'"):
        harness.faults.crash(tasks.add, at="started")
    with pytest.raises(FidelityError, match=r"publish_unknown\(\) needs"):
        harness.faults.publish_unknown(tasks.add)


@memory_only
def test_a_fault_that_never_strikes_is_a_mistake(open_harness, tasks):
    harness = open_harness()
    harness.faults.crash(tasks.add, at="before_ack")
    tasks.total.delay([1])
    harness.settle()
    with pytest.raises(FaultNeverStruck) as caught:
        harness.close()
    assert str(caught.value).splitlines()[:2] == [
        "expected 1 fault to strike; no run has come to what was asked for:",
        f"  faults.crash('shop.add', at='node@before_ack')  (test_faults.py:{line_above(caught)})",
    ]


def line_above(caught):
    """The line of the crash() in the test that ended so."""
    frame = caught.traceback[0]
    return frame.frame.code.firstlineno + 4


@memory_only
@pytest.mark.parametrize("how", ["cancelled", "of crash_windows", "forgiven"])
def test_a_fault_need_not_strike_where(open_harness, work, how):
    harness = open_harness()
    window = CrashWindow("in_body", line=1) if how == "of crash_windows" else "before_ack"
    fault = harness.faults.crash(work, at=window)
    if how == "cancelled":
        fault.cancel()
    if how == "forgiven":
        harness.forgive()
    harness.close()
    assert fault.struck == 0


@memory_only
def test_two_faults_of_one_task_strike_one_after_the_other(harness, work, diary):
    harness.faults.crash(work, at="started")
    harness.faults.crash(work, at="after_body")
    harness.faults.fail(work, ValueError("no"), times=1)
    work.delay()
    harness.settle()
    # The third delivery would fail, but the second one has: it came first.
    assert [attempt.outcome for attempt in harness.run_of(work).attempts] == [None, "FAILURE"]
    assert diary == []
    assert work.delay(1).get() == 1


def test_a_harness_without_faults_leaves_tasks_as_they_were(open_harness, tasks):
    before = SimpleNamespace(run=tasks.add.run, keys=set(tasks.add.__dict__))
    harness = open_harness()
    assert tasks.add.delay(1, 2).get() == 3
    assert tasks.add.run == before.run
    harness.close()
    assert set(tasks.add.__dict__) <= before.keys | {"__trace__", "_exec_options"}
    gc.collect()


@not_on_rabbitmq("lost")
@workers_only
def test_redis_takes_a_dead_workers_message_back_after_the_visibility_timeout(harness, work):
    harness.faults.crash(work, at="after_body")
    work.delay()
    harness.settle()
    assert harness.clock.now == after(hours=1)
    assert "restore" in kinds(harness.run_of(work))


# -- deaths for real

forking = pytest.mark.parametrize("mode", ["memory", "redis", "rabbitmq"], indirect=True)


@pytest.fixture
def locked(app, tasks):
    """A task that writes to a file under a lock file, and publishes before and after."""

    @app.task(name="shop.locked", acks_late=True)
    def locked(folder):
        lock = Path(folder, "lock")
        lock.touch(exist_ok=False)
        tasks.echo.delay("before")
        try:
            with Path(folder, "file").open("a") as file:
                file.write("written, and not yet flushed")
                tasks.echo.delay("after")
        finally:
            lock.unlink()
        return "done"

    return locked


@forking
@pytest.mark.parametrize("death", ["node", "child"])
def test_a_forked_body_leaves_outside_of_the_process_what_a_dead_one_leaves(harness, locked, tasks, tmp_path, death):
    harness.faults.crash(locked, at=line_of(locked, '"after"'), death=death, forked=True)
    locked.delay(str(tmp_path))
    harness.settle()
    assert (tmp_path / "lock").exists() and (tmp_path / "file").read_text() == ""
    assert [run.args for run in harness.runs(tasks.echo)] == [("before",)]
    error = FileExistsError if death == "node" else WorkerLostError
    harness.assert_failed(locked, error)


@forking
def test_a_forked_body_that_comes_to_no_window_has_its_result(harness, locked, tasks, tmp_path):
    fault = harness.faults.crash(locked, at="between_callbacks", forked=True)
    result = locked.delay(str(tmp_path))
    assert result.get() == "done"
    assert (tmp_path / "file").read_text() == "written, and not yet flushed"
    harness.settle()
    assert [run.args for run in harness.runs(tasks.echo)] == [("before",), ("after",)]
    assert len({run.id for run in harness.runs()}) == 3
    fault.cancel()


@forking
def test_what_a_forked_body_changes_in_memory_is_lost_with_it(harness, work, diary):
    harness.faults.crash(work, at="after_body", forked=True)
    assert work.delay(3).get() == 3
    assert diary == ["one", "two", "end"]


@forking
def test_a_forked_body_moves_the_clock(harness, app):
    @app.task(acks_late=True)
    def nap():
        time.sleep(60)

    harness.faults.crash(nap, at="after_body", death="child", forked=True)
    nap.delay()
    harness.settle()
    assert passed(harness) == 60


@forking
def test_a_forked_body_hides_what_it_hides(harness, app, tasks):
    @app.task(acks_late=True)
    def publish():
        tasks.echo.apply_async(("secret",), argsrepr="***")

    harness.faults.crash(publish, at="after_body", death="child", forked=True)
    publish.delay()
    harness.settle()
    assert "secret" not in str(harness.timeline)


@forking
def test_a_forked_body_that_ends_its_process_by_itself_is_lost(harness, app):
    @app.task(acks_late=True)
    def suicide():
        os._exit(3)

    fault = harness.faults.crash(suicide, at="after_body", forked=True)
    suicide.delay()
    harness.settle()
    harness.assert_failed(suicide, WorkerLostError, match="exitcode 3")
    fault.cancel()


@forking
def test_a_forked_body_cannot_wait_for_another_task(harness, app, tasks):
    @app.task(acks_late=True)
    def waits():
        return tasks.add.delay(1, 2).get(disable_sync_subtasks=False)

    fault = harness.faults.crash(waits, at="after_body", forked=True)
    waits.delay()
    with pytest.raises(FidelityError, match=r"waits for another task.*Leave out forked=True"):
        harness.settle()
    fault.cancel()


@pytest.mark.parametrize("mode", ["fakeredis"], indirect=True)
def test_a_server_inside_the_process_cannot_be_forked(harness, work):
    with pytest.raises(FidelityError, match=r"forked=True.*mode='memory' or mode='redis'"):
        harness.faults.crash(work, at="after_body", forked=True)


# -- by chance


@workers_only
def test_with_bad_luck_everything_ends_all_the_same(harness, work, tasks):
    harness.faults.buggify(duplicate=0.3, crash=0.3, delay=0.3)
    results = [work.delay(number) for number in range(20)]
    harness.settle()
    assert [result.get() for result in results] == list(range(20))
    notes = [event.detail["note"] for event in harness.timeline if event.kind == "fault"]
    for what in ("dies at", "duplicated by chance", "by chance"):
        assert any(what in note for note in notes), what
    assert not harness.tally.lost


@memory_only
def test_luck_follows_from_the_seed(open_harness, work, tasks):
    def told(seed):
        with open_harness(seed=seed) as harness:
            harness.faults.buggify(duplicate=0.3, crash=0.3, delay=0.3)
            for number in range(10):
                work.delay(number)
            harness.settle()
            return [(event.kind, event.detail.get("note")) for event in harness.timeline]

    assert told(1) == told(1)
    assert told(1) != told(2)


@pytest.mark.parametrize("mode", ["memory"], indirect=True)
@pytest.mark.parametrize("given", [{"crash": 1}, {"delay": -0.1}, {"duplicate": "often"}, {"crash": True}])
def test_what_is_no_probability_is_refused(harness, given):
    with pytest.raises(ConfigurationError, match=r"takes a probability, 0 or more and less than 1"):
        harness.faults.buggify(**given)


@eager_only
def test_eager_mode_has_no_luck(harness):
    with pytest.raises(FidelityError, match=r"faults\.buggify\(\) needs a broker and a worker"):
        harness.faults.buggify(crash=0.1)


# -- blocks that are left


class Managed:
    """A context manager of somebody's library: written in Python, and its code is not the body's."""

    def __init__(self, diary):
        self.diary = diary

    def __enter__(self):
        self.diary.append("enter")

    def __exit__(self, error, *_):
        self.diary.append("left" if error is None else "rolled back")


@workers_only
def test_a_dead_body_leaves_its_with_blocks_as_a_dying_process_does(harness, app, diary):
    lock = threading.Lock()

    @app.task(acks_late=True)
    def transfer():
        try:
            with lock, Managed(diary):
                diary.append("debit")
                diary.append("credit")
        finally:
            diary.append("finally")

    harness.faults.crash(transfer, at=line_of(transfer, '"credit"'))
    transfer.delay()
    harness.settle()
    assert diary == ["enter", "debit", "rolled back", "enter", "debit", "credit", "left", "finally"]
    assert not lock.locked()


@memory_only
def test_a_dead_body_rolls_a_transaction_back(harness, app, tmp_path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE payments (amount INTEGER)")

    @app.task(acks_late=True)
    def pay():
        with closing(sqlite3.connect(path, timeout=0)) as database, database:
            database.execute("INSERT INTO payments VALUES (10)")
            database.execute("INSERT INTO payments VALUES (20)")

    for line in ["(10)", "(20)"]:
        harness.faults.crash(pay, at=line_of(pay, line))
        pay.delay()
        harness.settle()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT sum(amount) FROM payments").fetchone() == (60,)


@memory_only
def test_a_body_that_dies_before_it_commits_rolls_back(harness, app):
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE payments (amount INTEGER)")

    @app.task(acks_late=True)
    def pay():
        with database:
            database.execute("INSERT INTO payments VALUES (10)")

    harness.faults.crash(pay, at=line_of(pay, "with database") + "#2")
    pay.delay()
    harness.settle()
    assert database.execute("SELECT sum(amount) FROM payments").fetchone() == (10,)
    database.close()


@workers_only
def test_a_body_that_dies_where_an_error_leaves_its_with_block_rolls_back(harness, app, diary):
    @app.task(acks_late=True)
    def transfer():
        try:
            with Managed(diary):
                diary.append("debit")
                raise ValueError
        except ValueError:
            diary.append("refused")

    harness.faults.crash(transfer, at=line_of(transfer, "with Managed") + "#2")
    transfer.delay()
    harness.settle()
    assert diary == ["enter", "debit", "rolled back", "enter", "debit", "rolled back", "refused"]
    assert sys.exc_info() == (None, None, None)


@workers_only
def test_a_coroutine_that_dies_where_an_error_leaves_its_with_block_rolls_back(harness, app, diary):
    class AsyncManaged(Managed):
        async def __aenter__(self):
            self.__enter__()

        async def __aexit__(self, *error):
            await asyncio.sleep(0)
            self.__exit__(*error)

    @app.task(acks_late=True)
    def transfer():
        async def body():
            async with AsyncManaged(diary):
                diary.append("debit")
                raise ValueError

        asyncio.run(body())

    harness.faults.crash(transfer, at=line_of(transfer, "async with") + "#2")
    transfer.delay()
    harness.settle()
    assert diary == ["enter", "debit", "rolled back"] * 2
    assert sys.exc_info() == (None, None, None)


@workers_only
def test_a_lambda_on_a_line_of_the_body_is_a_second_time_of_this_line(harness, app, diary):
    @app.task(acks_late=True)
    def later():
        diary.append("begin")
        hook = lambda: diary.append("hook")  # noqa: E731
        diary.append("middle")
        hook()

    harness.faults.crash(later, at=line_of(later, "lambda") + "#2")
    later.delay()
    harness.settle()
    assert diary == ["begin", "middle", "begin", "middle", "hook"]


@workers_only
@pytest.mark.parametrize("at", ["child@in_body", "child@after_body", "child@before_result", "child@before_ack"])
def test_who_listens_to_task_postrun_goes_on_listening_after_a_death(harness, app, at):
    heard = []

    def listen(task_id, **_):
        heard.append(task_id)

    @app.task(name="work.late", shared=False, acks_late=True)
    def late():
        return 1

    signals.task_postrun.connect(listen)
    try:
        harness.faults.crash(late, at=f"{at}:{lines_of(late)[0]}" if at.endswith("in_body") else at)
        late.delay()
        harness.drain()
        heard.clear()
        second = late.delay()
        harness.drain()
        assert heard == [second.id]
    finally:
        signals.task_postrun.disconnect(listen)


@memory_only
@pytest.mark.filterwarnings("error")
def test_a_generator_that_a_dead_body_leaves_is_closed_in_silence(harness, app):
    @app.task(name="work.generate", shared=False, acks_late=True)
    def generate():
        for number in (each for each in range(2)):
            str(number)

    harness.faults.crash(generate, at=f"in_body:{lines_of(generate)[-1]}")
    generate.delay()
    harness.settle()
    harness.assert_succeeded(generate)


@memory_only
@pytest.mark.parametrize(
    "script, text",
    [
        (lambda faults, task: faults.crash(task, at=24), "24 is no crash window"),
        (lambda faults, task: faults.crash(task, at="in_body:0"), "numbers from 1 on; given: 0"),
        (lambda faults, task: faults.crash(task, at="in_body:1"), r"instead: 'in_body:1'. Nearest: 'in_body:\d+'"),
        (lambda faults, task: faults.crash(task, at="started", times="2"), "or None for each time; given: '2'"),
        (lambda faults, task: faults.fail(task, ValueError, times=1.5), "or None for each time; given: 1.5"),
        (lambda faults, task: faults.fail(task, UnicodeDecodeError), r"give it one: UnicodeDecodeError\(…\)"),
        (lambda faults, task: faults.slow(task, float("inf")), "more than 0; given: inf"),
        (lambda faults, task: faults.slow(task, float("nan")), "more than 0; given: nan"),
        (lambda _, task: crash_windows(task.name), "takes a task, such as"),
        (lambda _, task: CrashWindow("in_body", line="3"), "numbers from 1 on; given: '3'"),
    ],
)
def test_what_cannot_be_understood_is_refused(harness, tasks, script, text):
    with pytest.raises(ConfigurationError, match=text):
        script(harness.faults, tasks.add)


@memory_only
def test_a_harness_that_is_closed_takes_no_faults(harness, tasks):
    harness.close()
    with pytest.raises(HarnessClosed):
        harness.faults.fail(tasks.add, ValueError)
