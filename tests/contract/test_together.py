"""Two copies of a task at once, and a body that is held while everything else goes on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from scenario import after, eager_only, kinds, passed

from pytest_taskharness.errors import ConfigurationError, Deadlock, FaultNeverStruck, FidelityError
from pytest_taskharness.harness.handle import Worker
from pytest_taskharness.worker.bodies import strands

with_workers = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


@pytest.fixture
def mode(request, served):
    return served(getattr(request, "param", "memory"))


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in threading.enumerate() if thread not in before and "strand" in thread.name]


def at_once(harness, task, schedule, *args):
    """Publish a task, let a copy of its message come, and let the two run on a schedule."""
    result = task.delay(*args)
    together = harness._world.together(result.id, schedule)
    harness.broker.duplicate(result)
    harness.settle()
    return result, together


@pytest.fixture
def account(app):
    """A task that reads, and then writes what it has read plus ten."""
    state = {"balance": 0}

    @app.task(name="shop.credit", shared=False, acks_late=True)
    def credit():
        balance = state["balance"]
        state["balance"] = balance + 10
        return balance

    return state, credit


# -- two copies at once


@with_workers
@pytest.mark.parametrize("schedule, balance", [((), 20), ((0,), 20), ((1,), 10), ((2, 1), 20), (None, 10)])
def test_a_lost_update_is_found_by_the_schedules_that_make_one(harness, account, schedule, balance):
    state, credit = account
    result, together = at_once(harness, credit, schedule)

    assert state["balance"] == balance
    assert together.ran
    assert len(together.steps) == 6
    notes = [event.detail["note"] for event in harness.timeline.of(result.id) if event.kind == "fault"]
    assert notes[-1] == f"two copies at once, {together}"
    run = harness.run_of(result)
    assert [attempt.outcome for attempt in run.attempts] == ["SUCCESS", "SUCCESS"]
    assert kinds(run).count("ack") == 2
    assert harness.broker.unacked == []


def test_the_steps_show_the_interleaving(harness, account):
    _, together = at_once(harness, account[1], (1, 2))

    assert [("AB"[step.copy], step.source) for step in together.steps] == [
        ("A", 'balance = state["balance"]'),
        ("B", 'balance = state["balance"]'),
        ("B", 'state["balance"] = balance + 10'),
        ("A", 'state["balance"] = balance + 10'),
        ("A", "return balance"),
        ("B", "return balance"),
    ]


def test_lines_of_what_the_body_calls_can_be_places_to_switch_at(harness, app):
    state = {"balance": 0}

    def credit():
        balance = state["balance"]
        state["balance"] = balance + 10

    @app.task(name="shop.indirect", shared=False)
    def indirect():
        credit()

    result = indirect.delay()
    codes = {indirect.run.__code__, credit.__code__}
    together = harness._world.together(result.id, (2,), lines=lambda code: code in codes)
    harness.broker.duplicate(result)
    harness.settle()

    assert state["balance"] == 10
    assert [step.source for step in together.steps][:2] == ["credit()", 'balance = state["balance"]']


def test_a_schedule_gives_the_same_timeline_each_time(open_harness, account):
    def timeline():
        account[0]["balance"] = 0
        with open_harness() as harness:
            at_once(harness, account[1], (1, 1))
            return harness.timeline.to_json()

    assert timeline() == timeline()


def test_two_workers_run_one_copy_each(harness, account):
    state, credit = account
    harness.worker("a", concurrency=1)
    harness.worker("b", concurrency=1)
    result, together = at_once(harness, credit, (1,))

    assert together.ran
    assert state["balance"] == 10
    assert sorted(attempt.worker for attempt in harness.run_of(result).attempts) == ["a", "b"]


def test_a_worker_with_one_slot_runs_one_after_the_other(harness, account):
    state, credit = account
    harness.worker("a", concurrency=1)
    _, together = at_once(harness, credit, (1,))

    assert not together.ran
    assert together.steps == []
    assert state["balance"] == 20


def test_where_the_copy_never_comes_the_first_runs_alone(harness, account):
    state, credit = account
    result = credit.delay()
    together = harness._world.together(result.id, (1,))
    harness.settle()

    assert not together.ran
    assert state["balance"] == 10
    assert result.get() == 0


def test_a_copy_that_fails_does_not_stop_the_other(harness, app):
    seen = []

    @app.task(name="shop.picky", shared=False)
    def picky():
        seen.append(len(seen))
        if seen == [0, 1]:
            raise RuntimeError("the second")
        seen.append("done")

    result, _ = at_once(harness, picky, (1, 2))

    assert sorted(attempt.outcome for attempt in harness.run_of(result).attempts) == ["FAILURE", "FAILURE"]


def test_bodies_publish_and_store_as_ever(harness, app, tasks):
    @app.task(name="shop.parent", shared=False, bind=True)
    def parent(self):
        self.update_state(state="HALF")
        child = tasks.noop.delay()
        return child.id

    result, _ = at_once(harness, parent, (1, 1))

    children = [message for message in harness.outbox if message.task == "shop.noop"]
    assert len(children) == 2
    assert {run.parent.id for run in harness.runs(tasks.noop)} == {result.id}
    assert kinds(harness.run_of(result)).count("store") >= 4


def test_each_sleep_gives_the_turn_away_and_both_sleep_at_once(harness, app):
    log = []

    @app.task(name="shop.nap", shared=False)
    def nap():
        log.append(("begins", passed(harness)))
        time.sleep(10)
        log.append(("ends", passed(harness)))

    at_once(harness, nap, ())

    assert log == [("begins", 0), ("begins", 0), ("ends", 10), ("ends", 10)]
    assert harness.clock.now == after(seconds=10)


def test_time_limits_strike_in_a_copy_that_sleeps(harness, app):
    seen = []

    @app.task(name="shop.nap", shared=False, soft_time_limit=5)
    def nap():
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            seen.append(passed(harness))

    at_once(harness, nap, ())

    assert seen == [5, 5]


@with_workers
def test_the_death_of_a_worker_takes_both_bodies_and_they_come_again(harness, account):
    state, credit = account
    harness.faults.crash(credit, f"in_body:{credit.run.__code__.co_firstlineno + 3}")
    result, together = at_once(harness, credit, (1, 1))

    assert together.ran
    if harness.mode == "memory":
        assert state["balance"] == 20
    assert harness.run_of(result).state == "SUCCESS"


def test_the_death_of_one_pool_process_leaves_the_other_one_alone(harness, account):
    state, credit = account
    harness.faults.crash(credit, f"in_body:{credit.run.__code__.co_firstlineno + 3}", death="child")
    result, _ = at_once(harness, credit, (1, 1))

    assert state["balance"] == 10
    assert sorted(str(attempt.outcome) for attempt in harness.run_of(result).attempts) == ["LOST", "SUCCESS"]


def test_the_end_of_the_body_is_a_place_to_stop_too(harness, account):
    result, _ = at_once(harness, account[1], (3,))

    # All lines of the first have run, and nothing of what Celery does afterwards, when the second one begins.
    assert kinds(harness.run_of(result))[-8:] == ["start", "start", "store", "finish", "ack", "store", "finish", "ack"]


def test_a_task_that_retries_by_itself_can_run_beside_its_copy(harness, app):
    seen = []

    @app.task(name="shop.flaky", shared=False, autoretry_for=(OSError,), retry_kwargs={"countdown": 1})
    def flaky():
        seen.append(flaky.request.retries)
        if len(seen) <= 2:
            raise OSError("not yet")

    before = dict(vars(flaky))
    result, together = at_once(harness, flaky, (1, 1, 1, 1))

    assert together.ran
    assert seen == [0, 0, 1, 1]
    assert [attempt.outcome for attempt in harness.run_of(result).attempts].count("SUCCESS") == 2
    assert vars(flaky)["_orig_run"] == before["_orig_run"]


def test_a_database_row_that_is_locked_makes_the_other_one_wait(harness, app, tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE account (balance INTEGER)")
        connection.execute("INSERT INTO account VALUES (0)")
    connection.close()

    @app.task(name="shop.deposit", shared=False)
    def deposit():
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        (balance,) = connection.execute("SELECT balance FROM account").fetchone()
        connection.execute("UPDATE account SET balance = ?", (balance + 10,))
        connection.execute("COMMIT")
        connection.close()
        return balance

    for schedule in [(2,), (3, 1), (4, 2)]:
        at_once(harness, deposit, schedule)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT balance FROM account").fetchone() == (60,)
    connection.close()


def test_two_locks_in_the_wrong_order_are_a_deadlock(harness, app, monkeypatch):
    monkeypatch.setattr(strands, "PATIENCE", 0.3)
    locks = [threading.Lock(), threading.Lock()]
    orders = [locks, locks[::-1]]

    @app.task(name="shop.transfer", shared=False)
    def transfer():
        first, second = orders.pop()
        first.acquire()
        second.acquire()

    with pytest.raises(Deadlock) as caught:
        at_once(harness, transfer, (2, 2))
    for lock in locks:
        lock.release()
    for thread in threading.enumerate():
        if "strand" in thread.name:
            thread.join(10)

    assert str(caught.value).count("second.acquire()") == 2
    assert "take the locks in one order, or with a timeout" in str(caught.value)


def test_a_lock_that_the_first_one_leaves_locked_is_a_deadlock(harness, app, monkeypatch):
    monkeypatch.setattr(strands, "LONE_PATIENCE", 0.3)
    lock = threading.Lock()

    @app.task(name="shop.leaky", shared=False)
    def leaky():
        lock.acquire()

    with pytest.raises(Deadlock, match=r"B at .*test_together.py:\d+  lock.acquire\(\)"):
        at_once(harness, leaky, (1,))
    lock.release()
    for thread in threading.enumerate():
        if "strand" in thread.name:
            thread.join(10)


def test_a_lock_makes_the_other_one_wait(harness, app):
    lock, log = threading.Lock(), []

    @app.task(name="shop.guarded", shared=False)
    def guarded():
        with lock:
            log.append("in")
            log.append("out")

    at_once(harness, guarded, (2, 5))

    assert log == ["in", "out", "in", "out"]


def test_a_connection_of_the_tests_thread_is_no_accusation(harness, app):
    connection = sqlite3.connect(":memory:")

    @app.task(name="shop.select", shared=False)
    def select():
        connection.execute("SELECT 1")

    with pytest.raises(FidelityError) as caught:
        at_once(harness, select, (1,))
    connection.close()

    assert "shop.select uses a connection that was opened in the test's thread" in str(caught.value)
    assert "check_same_thread=False" in str(caught.value)


def test_a_body_that_may_not_wait_for_results_still_may_not(harness, app, tasks):
    errors = []

    @app.task(name="shop.waits", shared=False)
    def waits():
        try:
            tasks.noop.delay().get()
        except RuntimeError as error:
            errors.append(str(error))

    at_once(harness, waits, (1, 1))

    assert len(errors) == 2
    assert tasks.noop.delay().get() is None


def test_a_body_may_drive_the_world_where_it_may_wait(harness, app, tasks):
    @app.task(name="shop.waits", shared=False)
    def waits():
        first = tasks.add.delay(1, 2)
        return first.get(disable_sync_subtasks=False)

    result, _ = at_once(harness, waits, (1, 1))

    assert result.get() == 3
    assert len(harness.runs(tasks.add)) == 2


@pytest.mark.parametrize("schedule", [(-1,), ("2",), 3, "12"])
def test_what_is_no_schedule_is_refused(harness, account, schedule):
    with pytest.raises(ConfigurationError, match="a schedule is a tuple of line counts"):
        harness._world.together("some id", schedule)


@eager_only
def test_eager_mode_has_no_two_messages(harness):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness._world.together("some id", (1,))


# -- bodies that are held


@with_workers
def test_a_held_body_has_begun_and_everything_else_goes_on(harness, app, tasks):
    log = []

    @app.task(name="shop.slow", shared=False, acks_late=True, track_started=True)
    def slow():
        log.append("slow")

    with harness.worker().hold_in(slow):
        result = slow.delay()
        tasks.noop.delay().get()
        harness.drain()  # on a Redis, settle() would go on to the visibility timeout

        assert log == []
        assert result.state == "STARTED"
        assert len(harness.broker.unacked) == 1
        assert not harness.run_of(result).finished
    assert result.get() is None
    assert log == ["slow"]
    assert harness.run_of(result).finished


def test_a_hold_can_be_released_by_hand(harness, tasks):
    held = harness.worker().hold_in(tasks.noop)
    assert repr(held) == "<Held shop.noop on worker>"
    result = tasks.noop.delay()
    harness.settle()
    assert not harness.run_of(result).finished

    held.release()
    held.release()
    harness.settle()
    assert harness.run_of(result).finished


def test_only_the_next_run_is_held(harness, tasks):
    with harness.worker().hold_in("shop.noop"):
        first, second = tasks.noop.delay(), tasks.noop.delay()
        harness.settle()

        assert not harness.run_of(first).finished
        assert harness.run_of(second).finished


def test_a_hold_that_nothing_has_met_ends_with_its_block_and_is_told(harness, tasks):
    never = pytest.raises(FaultNeverStruck, match=r"none has begun:\n  shop.noop on worker\n.* before its block ends")
    with never, harness.worker().hold_in(tasks.noop):
        pass

    assert tasks.noop.delay().get() is None


def test_a_hold_that_nothing_has_met_is_not_told_where_it_was_released_or_the_block_failed(harness, tasks):
    with harness.worker().hold_in(tasks.noop) as held:
        held.release()
    with pytest.raises(ZeroDivisionError), harness.worker().hold_in(tasks.noop):
        raise ZeroDivisionError
    with harness.background(), harness.worker().hold_in(tasks.noop):
        tasks.noop.delay()


def test_a_held_body_occupies_a_slot(harness, tasks):
    worker = harness.worker("a", concurrency=1)
    with worker.hold_in(tasks.noop):
        tasks.noop.delay()
        other = tasks.add.delay(1, 2)
        harness.settle()
        assert other.state == "PENDING"
    assert other.get() == 3


def test_a_deadlock_names_the_body_that_is_held(harness, tasks):
    with harness.worker().hold_in(tasks.noop):
        result = tasks.noop.delay()
        with pytest.raises(Deadlock) as caught:
            result.get()

    assert "shop.noop" in str(caught.value)
    assert "held in the beginning of its body by hold_in(): call release()" in str(caught.value)


@with_workers
def test_the_death_of_the_worker_takes_the_held_body(harness, app):
    log = []

    @app.task(name="shop.slow", shared=False, acks_late=True)
    def slow():
        log.append(slow.request.hostname)

    a, _ = harness.worker("a"), harness.worker("b").pause()
    with a.hold_in(slow):
        result = slow.delay()
        harness.drain()
        harness.worker("b").resume()
        a.kill()
        assert log == []
    harness.settle()

    assert log == ["b@taskharness"]
    assert harness.run_of(result).state == "SUCCESS"


def test_a_held_body_with_an_early_ack_dies_for_good(harness, tasks):
    worker = harness.worker()
    with worker.hold_in(tasks.noop):
        result = tasks.noop.delay()
        harness.settle()
        worker.kill()

    assert not harness.run_of(result).finished
    assert harness.tally.lost


@pytest.mark.parametrize("mode", ["fakeredis", "redis"], indirect=True)
def test_a_held_body_is_delivered_again_when_the_visibility_timeout_has_passed(open_harness, app):
    log = []

    @app.task(name="shop.slow", shared=False, acks_late=True)
    def slow():
        log.append("slow")

    harness = open_harness(visibility_timeout=60)
    with harness.worker().hold_in(slow):
        result = slow.delay()
        harness.drain()
        harness.clock.advance(minutes=2)
        assert log == ["slow"]
    harness.settle()

    assert log == ["slow", "slow"]
    assert [attempt.redelivered for attempt in harness.run_of(result).attempts] == [False, True]


def test_a_held_body_has_its_time_limits(harness, app):
    seen = []

    @app.task(name="shop.slow", shared=False, time_limit=30, soft_time_limit=10)
    def slow():
        seen.append("body")

    with harness.worker().hold_in(slow):
        result = slow.delay()
        harness.clock.advance(seconds=60)

    run = harness.run_of(result)
    assert seen == []
    assert run.state == "FAILURE"
    assert isinstance(run.error, SoftTimeLimitExceeded)
    assert run.elapsed.total_seconds() == 10


def test_a_held_body_can_be_terminated(harness, app):
    log = []

    @app.task(name="shop.slow", shared=False, acks_late=True)
    def slow():
        try:
            log.append("slow")
        finally:
            log.append("finally")

    with harness.worker().hold_in(slow):
        result = slow.delay()
        other = harness.worker().hold_in(slow), slow.delay()
        harness.drain()
        app.control.revoke(result.id, terminate=True)
        harness.drain()
        other[0].release()
        harness.settle()

    assert result.state == "REVOKED"
    assert harness.run_of(other[1]).state == "SUCCESS"
    assert log == ["slow", "finally"]


def test_a_warm_shutdown_does_not_wait_for_what_is_held(harness, tasks):
    worker = harness.worker()
    with worker.hold_in(tasks.noop):
        tasks.noop.delay()
        harness.settle()
        with pytest.raises(Deadlock, match="waits for the bodies that run there, and shop.noop"):
            worker.shutdown()
        worker.shutdown(warm=False)


def test_a_harness_that_is_closed_ends_what_is_held(open_harness, app):
    log = []

    @app.task(name="shop.slow", shared=False)
    def slow():
        log.append("slow")

    with open_harness() as harness:
        harness.worker().hold_in(slow)
        slow.delay()
        harness.settle()

    assert log == []


def test_a_worker_that_is_a_process_cannot_be_held():
    node = SimpleNamespace(name="worker")
    with pytest.raises(FidelityError, match="mode='redis'"):
        Worker(SimpleNamespace(nodes=[node]), node).hold_in("shop.noop")


@eager_only
def test_eager_mode_has_no_worker_to_hold_in(harness, tasks):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.worker().hold_in(tasks.noop)


def test_a_task_that_does_not_exist_is_refused(harness, tasks):
    with pytest.raises(ConfigurationError, match="did you mean 'shop.noop'"):
        harness.worker().hold_in("shop.nop")


def test_a_coroutine_in_a_copy_sleeps_as_ever(harness, app):
    log = []

    @app.task(name="shop.waits", shared=False)
    def waits():
        async def inner():
            log.append("begins")
            await asyncio.sleep(5)
            log.append("ends")

        asyncio.run(inner())

    at_once(harness, waits, (1, 1))

    assert log == ["begins", "begins", "ends", "ends"]
    assert passed(harness) == 5


def test_a_worker_that_is_killed_by_one_copy_takes_the_other_along(harness, account, app):
    log = []

    @app.task(name="shop.suicidal", shared=False, acks_late=True)
    def suicidal():
        log.append("begins")
        if len(log) == 2:
            harness.worker("a").kill()
        log.append("ends")

    harness.worker("a")
    harness.worker("b").pause()
    result, together = at_once(harness, suicidal, (1, 2))

    assert together.ran
    assert log == ["begins", "begins"]
    harness.worker("b").resume()
    harness.settle()
    assert log == ["begins", "begins", "begins", "ends", "begins", "ends"]
    assert harness.run_of(result).state == "SUCCESS"
