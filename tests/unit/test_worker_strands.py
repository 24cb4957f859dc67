"""Bodies that run at once, by turns at the lines."""

from __future__ import annotations

import contextvars
import gc
import sqlite3
import threading
from datetime import datetime, timedelta, timezone

import pytest
from celery import _state
from celery.result import allow_join_result, denied_join_result

from pytest_taskharness.errors import Deadlock
from pytest_taskharness.faults.lines import LineWatch, codes_of
from pytest_taskharness.worker.bodies import strands as module
from pytest_taskharness.worker.bodies.strands import Strands

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Clock:
    def __init__(self):
        self.now = START
        self.moves = []

    def pass_until(self, moment):
        self.moves.append((moment - self.now).total_seconds())
        self.now = moment


class Life:
    killed = False

    def stay_dead(self):
        if self.killed:
            raise Dead


class Dead(BaseException):
    """Dead."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def watched(body, *args):
    """Run a body in a strand, which stops at its lines."""

    def run(strand):
        strand.life = strand.life or Life()
        with LineWatch(codes_of(body), strand.on_line):
            body(*args)

    return run


def weave(clock, schedule, *bodies):
    strands = Strands(schedule, now=lambda: clock.now, pass_until=clock.pass_until)
    for body, *args in bodies:
        strands.add(watched(body, *args))
    return strands


def note(log, name):
    log.append(f"{name}1")
    log.append(f"{name}2")
    log.append(f"{name}3")


@pytest.mark.parametrize(
    "schedule, order",
    [
        ((), "A1 A2 A3 B1 B2 B3"),
        ((0,), "B1 B2 B3 A1 A2 A3"),
        ((1,), "A1 B1 B2 B3 A2 A3"),
        ((1, 1), "A1 B1 A2 A3 B2 B3"),
        ((2, 1), "A1 A2 B1 A3 B2 B3"),
        ((1, 1, 1, 1), "A1 B1 A2 B2 A3 B3"),
        ((0, 0, 2), "A1 A2 B1 B2 B3 A3"),
        ((3, 1), "A1 A2 A3 B1 B2 B3"),
        ((9, 9), "A1 A2 A3 B1 B2 B3"),
    ],
)
def test_the_schedule_says_how_many_lines_each_runs_in_turn(clock, schedule, order):
    log = []
    weave(clock, schedule, (note, log, "A"), (note, log, "B")).go_on()

    assert " ".join(log) == order


def test_three_take_turns_in_a_ring(clock):
    log = []
    weave(clock, (1, 1, 1, 1), *((note, log, name) for name in "ABC")).go_on()

    assert " ".join(log) == "A1 B1 C1 A2 B2 B3 C2 C3 A3"


def test_the_steps_say_which_copy_ran_which_line(clock):
    strands = weave(clock, (1,), (note, [], "A"), (note, [], "B"))
    strands.go_on()
    first = note.__code__.co_firstlineno

    assert [f"{step.copy} line {step.line - first}" for step in strands.steps] == [
        "0 line 1", "1 line 1", "1 line 2", "1 line 3", "0 line 2", "0 line 3",
    ]  # fmt: skip
    assert strands.steps[0].source == 'log.append(f"{name}1")'
    assert strands.steps[0].file == note.__code__.co_filename


def test_the_same_schedule_gives_the_same_steps_each_time(clock):
    def steps():
        strands = weave(clock, (2, 1, 1), (note, [], "A"), (note, [], "B"))
        strands.go_on()
        return strands.steps

    assert [steps() for _ in range(20)] == [steps()] * 20


def test_an_error_ends_its_own_strand_and_is_raised_at_the_end(clock):
    log = []

    def fails(log):
        log.append("fails")
        raise ValueError("of A")

    strands = weave(clock, (1,), (fails, log), (note, log, "B"))
    with pytest.raises(ValueError, match="of A"):
        strands.go_on()

    assert log == ["fails", "B1", "B2", "B3"]


# -- what is real


def test_one_that_waits_for_a_lock_lets_the_other_go_on(clock):
    lock, log = threading.Lock(), []

    def guarded(name):
        with lock:
            log.append(f"{name}1")
            log.append(f"{name}2")
        log.append(f"{name}3")

    # A is stopped with the lock, B comes to it and waits, A goes on to its end, and B has it.
    weave(clock, (2, 5), (guarded, "A"), (guarded, "B")).go_on()

    assert " ".join(log) == "A1 A2 A3 B1 B2 B3"


def test_one_that_has_waited_stops_at_its_next_line(clock):
    lock, log = threading.Lock(), []

    def guarded(name):
        with lock:
            log.append(f"{name}1")
        log.append(f"{name}2")
        log.append(f"{name}3")

    orders = set()
    for _ in range(5):
        log.clear()
        # B waits for the lock at its first line; A leaves its `with` block (a line) and runs one more; B goes on.
        weave(clock, (2, 2, 2), (guarded, "A"), (guarded, "B")).go_on()
        orders.add(" ".join(log))

    assert orders == {"A1 A2 B1 B2 B3 A3"}


def test_sqlites_busy_handler_is_a_wait_for_something_real(clock, tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE account (balance INTEGER)")
        connection.execute("INSERT INTO account VALUES (0)")
    connection.close()

    def credit():
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        (balance,) = connection.execute("SELECT balance FROM account").fetchone()
        connection.execute("UPDATE account SET balance = ?", (balance + 10,))
        connection.execute("COMMIT")
        connection.close()

    weave(clock, (3, 9), (credit,), (credit,)).go_on()
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT balance FROM account").fetchone()
    connection.close()

    assert found == (20,)


def test_one_that_computes_is_not_taken_for_one_that_waits(clock):
    log = []

    def computes(name):
        log.append(f"{name} begins")
        sum(range(8_000_000))
        log.append(f"{name} ends")

    weave(clock, (3, 1), (computes, "A"), (note, log, "B")).go_on()

    assert log == ["A begins", "A ends", "B1", "B2", "B3"]


def test_two_that_wait_for_each_other_are_a_deadlock_that_names_the_lines(clock, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    first, second = threading.Lock(), threading.Lock()

    def one_way():
        with first:
            second.acquire()

    def other_way():
        with second:
            first.acquire()

    strands = weave(clock, (1, 1), (one_way,), (other_way,))
    with pytest.raises(Deadlock) as caught:
        strands.go_on()
    # Nobody else could end these threads; dead bodies do not let go of their locks.
    first.release()
    second.release()
    for strand in strands.strands:
        strand.thread.join(10)

    text = str(caught.value)
    assert f"test_worker_strands.py:{one_way.__code__.co_firstlineno + 2}  second.acquire()" in text
    assert f"test_worker_strands.py:{other_way.__code__.co_firstlineno + 2}  first.acquire()" in text
    assert text.startswith("bodies that run at once wait for one another")


# -- what is virtual


def test_one_that_sleeps_lets_the_other_go_on_and_time_passes_where_all_sleep(clock):
    log, strands = [], None

    def sleeper(name, seconds):
        log.append(f"{name}1 at {clock.now - START}")
        strands.strand_here().sleep(clock.now + timedelta(seconds=seconds))
        log.append(f"{name}2 at {clock.now - START}")

    strands = weave(clock, (), (sleeper, "A", 5), (sleeper, "B", 2))
    strands.go_on()

    assert log == ["A1 at 0:00:00", "B1 at 0:00:00", "B2 at 0:00:02", "A2 at 0:00:05"]
    assert clock.moves == [2, 3]


# -- what a thread needs


def test_a_strand_sees_the_context_of_whoever_has_made_it(clock):
    variable, seen = contextvars.ContextVar("variable"), []
    variable.set("mine")

    def body():
        seen.append(variable.get())
        variable.set("its own")

    weave(clock, (), (body,), (body,)).go_on()

    assert seen == ["mine", "mine"]
    assert variable.get() == "mine"


def test_whether_results_may_be_waited_for_is_each_strands_own(clock):
    seen = []

    def strict():
        with denied_join_result():
            seen.append(("strict", _state.task_join_will_block()))
            seen.append(("strict", _state.task_join_will_block()))
            seen.append(("strict", _state.task_join_will_block()))

    def lax():
        with allow_join_result():
            seen.append(("lax", _state.task_join_will_block()))
            seen.append(("lax", _state.task_join_will_block()))

    weave(clock, (2, 2, 1), (strict,), (lax,)).go_on()

    assert seen == [("strict", True), ("lax", False), ("strict", True), ("lax", False), ("strict", True)]
    assert _state.task_join_will_block() is False


# -- being held, and dying


def hold_and_note(strands, log, name):
    log.append(f"{name} begins")
    strands[0].strand_here().hold()
    log.append(f"{name} ends")


def test_one_that_is_held_stays_where_it_is_until_it_is_released(clock):
    log, mine = [], []
    strands = weave(clock, (), (hold_and_note, mine, log, "A"))
    mine.append(strands)
    strands.go_on()
    assert log == ["A begins"]
    assert not strands.can_go_on

    strands.go_on()
    assert log == ["A begins"]

    strands.release()
    assert strands.can_go_on
    strands.go_on()
    assert log == ["A begins", "A ends"]


def test_the_end_unwinds_whoever_is_held(clock):
    log, mine = [], []
    strands = weave(clock, (), (hold_and_note, mine, log, "A"), (hold_and_note, mine, log, "B"))
    mine.append(strands)
    strands.go_on()
    strands.end()

    assert log == ["A begins", "B begins"]
    assert not any(strand.thread.is_alive() for strand in strands.strands)


def test_one_that_is_dead_is_woken_to_die_before_its_sleep_is_over(clock):
    strands = None

    def sleeper():
        strands.strand_here().sleep(clock.now + timedelta(hours=1))

    def killer():
        strands.strands[0].life.killed = True

    strands = weave(clock, (), (sleeper,), (killer,))
    with pytest.raises(Dead):
        strands.go_on()

    assert clock.moves == []


def test_an_interrupt_of_whoever_waits_ends_them_all(clock):
    def interrupted(moment):
        raise KeyboardInterrupt

    clock.pass_until = interrupted
    strands = None

    def sleeper():
        strands.strand_here().sleep(clock.now + timedelta(hours=1))

    strands = Strands((), now=lambda: clock.now, pass_until=interrupted)
    strands.add(watched(sleeper))
    with pytest.raises(KeyboardInterrupt):
        strands.go_on()

    assert not any(strand.thread.is_alive() for strand in strands.strands)


def test_a_strand_that_was_never_started_needs_no_end(clock):
    strands = weave(clock, (), (note, [], "A"))
    strands.end()
    gc.collect()

    assert strands.steps == []
