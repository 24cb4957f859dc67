"""``harness.driven_waits()``: waits of the standard library in the test's thread drive the world."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FuturesTimeoutError

import pytest
from scenario import passed

from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import Deadlock

PATIENCE = 20
REAL_WAIT = threading.Condition.wait

workers_only = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


@pytest.fixture
def told(app):
    """What a task sets, fills and answers."""

    class Told:
        event = threading.Event()
        queue = queue.Queue()
        future = Future()
        condition = threading.Condition()

    @app.task(name="shop.tell", shared=False)
    def tell():
        Told.event.set()
        Told.queue.put("told")
        Told.future.set_result("told")
        with Told.condition:
            Told.condition.notify()

    Told.tell = tell
    return Told


@pytest.fixture
def driven(open_harness, told):
    harness = open_harness()
    with harness.driven_waits():
        yield harness


def test_an_event_that_a_task_sets_an_hour_later(driven, told):
    told.tell.apply_async(countdown=3600)
    assert told.event.wait(timeout=7200)
    assert passed(driven) == 3600


def test_without_a_timeout(driven, told):
    told.tell.apply_async(countdown=3600)
    assert told.queue.get() == "told"
    assert told.event.wait()
    assert told.future.result() == "told"
    assert passed(driven) == 3600


def test_a_condition_that_is_waited_for(driven, told):
    told.tell.apply_async(countdown=60)
    with told.condition:
        assert told.condition.wait_for(told.event.is_set, timeout=100)
    assert passed(driven) == 60


def test_a_timeout_counts_virtual_seconds(driven, told):
    told.tell.apply_async(countdown=3600)
    began = Real.perf_counter()
    assert not told.event.wait(timeout=1800)
    with pytest.raises(queue.Empty):
        told.queue.get(timeout=900)
    with pytest.raises(FuturesTimeoutError):
        told.future.result(timeout=600)
    assert Real.perf_counter() - began < PATIENCE
    assert 3299 < passed(driven) <= 3300
    assert told.event.wait(timeout=301)


def test_a_loop_that_polls_an_event(driven, told):
    told.tell.apply_async(countdown=10)
    polls = 0
    while not told.event.wait(timeout=1):
        polls += 1
    assert polls in {9, 10}


def test_the_lock_of_a_condition_is_not_held_while_a_body_runs(driven, app):
    condition = threading.Condition(threading.Lock())

    @app.task(shared=False)
    def takes_it():
        with condition:
            condition.notify_all()

    with condition:
        takes_it.apply_async(countdown=1)
        assert condition.wait()
        assert not condition.acquire(blocking=False)  # it is the test's again


def test_what_nobody_will_end_is_told(driven, tasks):
    tasks.boom.delay()
    with pytest.raises(Deadlock) as caught:
        queue.Queue().get()
    assert "neither a task nor another thread is there to end that" in str(caught.value)
    assert "shop.boom" in str(caught.value)
    assert "FAILURE: RuntimeError('boom')" in str(caught.value)


def test_a_thread_that_waits_for_a_task_is_joined(driven, told):
    def work():
        told.tell.apply_async(countdown=60)
        assert told.event.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert told.event.is_set()


def test_another_thread_may_end_the_wait(driven):
    event = threading.Event()
    timer = threading.Timer(0.02, event.set)
    timer.start()
    assert event.wait(PATIENCE)
    timer.join()


def test_a_pool_of_threads(driven, tasks):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(lambda number=number: tasks.add.delay(number, 1).get()) for number in range(4)]
        assert sorted(future.result() for future in as_completed(futures, timeout=PATIENCE)) == [1, 2, 3, 4]


def test_what_does_not_have_to_wait_drives_nothing(driven, told):
    done = threading.Event()
    done.set()
    full = queue.Queue()
    full.put(1)
    told.tell.apply_async(countdown=1)
    assert done.wait()
    assert full.get() == 1
    assert not told.event.is_set()


def test_a_body_that_waits_waits_for_real(driven, app):
    @app.task(shared=False)
    def wait():
        return threading.Event().wait(0.01)

    assert wait.delay().get() is False
    assert passed(driven) == 0


def test_another_thread_waits_for_real(driven):
    took = []

    def work():
        began = Real.perf_counter()
        threading.Event().wait(0.02)
        took.append(Real.perf_counter() - began)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert took[0] >= 0.019


def test_everything_is_put_back(open_harness):
    before = (threading.Condition.wait, threading.Thread.join, threading._time, queue.time)
    with open_harness() as harness, harness.driven_waits(), harness.driven_waits():
        assert threading.Condition.wait is not before[0]
    assert (threading.Condition.wait, threading.Thread.join, threading._time, queue.time) == before


def test_without_the_block_a_wait_drives_nothing(harness, told):
    told.tell.apply_async(countdown=1)
    assert not told.event.wait(0.01)
    assert passed(harness) == 0


def test_after_the_harness_waits_are_real(open_harness):
    harness = open_harness()
    block = harness.driven_waits()
    block.__enter__()
    assert threading.Condition.wait is not REAL_WAIT
    harness.close()
    assert threading.Condition.wait is REAL_WAIT
    began = time.perf_counter()
    assert not threading.Event().wait(0.02)
    assert time.perf_counter() - began >= 0.019
    block.__exit__(None, None, None)


# -- threads of the user's own


def test_a_thread_that_listens_does_not_move_the_clock(open_harness, app):
    harness = open_harness()
    began, seen = harness.clock.now, []

    def listen():
        with app.connection_for_read() as connection, connection.SimpleQueue("own") as own:
            for _ in range(3):
                with pytest.raises(own.Empty):
                    own.get(timeout=0.01)
            seen.append(harness.clock.now)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join(PATIENCE)
    assert seen == [began]


def test_a_thread_that_listens_hears_what_the_worker_does(open_harness, app, tasks):
    harness = open_harness(config={"worker_send_task_events": True})
    heard = []
    listens = threading.Event()

    def listen():
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection)

            def hear(event):
                heard.append(event["type"])
                receiver.should_stop = event["type"] == "task-succeeded"

            receiver.handlers["*"] = hear
            receiver.on_consume_ready = lambda *args, **kwargs: listens.set()
            receiver.capture(limit=None, timeout=PATIENCE, wakeup=False)

    thread = threading.Thread(target=listen)
    thread.start()
    assert listens.wait(PATIENCE)
    tasks.add.delay(1, 2)
    began = harness.clock.now
    thread.join(PATIENCE)
    assert heard[-1] == "task-succeeded"
    assert harness.clock.now == began


# -- beside a thread of background()


def test_beside_a_thread_that_drives_a_task_ends_the_wait(driven, told):
    with driven.background():
        told.tell.apply_async(countdown=3600)
        assert told.queue.get() == "told"
    assert passed(driven) == 3600


def test_beside_a_thread_that_drives_what_nobody_will_end_is_told(driven, tasks):
    block = driven.background()
    with pytest.raises(Deadlock) as caught, block:
        tasks.boom.apply_async(countdown=3600)
        queue.Queue().get()
    assert "neither a task nor another thread is there to end that" in str(caught.value)
    assert "FAILURE: RuntimeError('boom')" in str(caught.value)
    assert passed(driven) == 3600


def test_beside_a_thread_that_is_at_rest_already(driven):
    with pytest.raises(Deadlock), driven.background():
        threading.Semaphore(0).acquire()
    with driven.background(), pytest.raises(Deadlock):
        threading.Barrier(2).wait()


def test_beside_a_thread_that_leaves_the_clock_alone(driven, told):
    with driven.background(jumps=False):
        told.tell.apply_async(countdown=60)
        with pytest.raises(Deadlock, match=r"due at t\+60.000s, and background\(jumps=False\) leaves the clock to the"):
            queue.Queue().get()
        driven.clock.advance(seconds=60)
        assert told.queue.get() == "told"


@workers_only
def test_beside_a_thread_that_has_ended_of_an_error(driven, app):
    @app.task(shared=False)
    def failing():
        pytest.fail("from the body")

    with pytest.raises(Deadlock) as caught, driven.background():
        failing.delay()
        queue.Queue().get()
    assert isinstance(caught.value.__context__, pytest.fail.Exception)


@workers_only
def test_a_thread_that_has_ended_and_is_about_to_be_gone_ends_no_wait(driven, app):
    @app.task(shared=False)
    def failing():
        pytest.fail("from the body")

    ended, gone = threading.Lock(), threading.Lock()
    ended.acquire(), gone.acquire()

    def linger():
        ended.release()
        gone.acquire(timeout=PATIENCE)

    block = driven.background()
    with pytest.raises(pytest.fail.Exception), block:
        block._attendants[-1].on_end = linger
        failing.delay()
        assert ended.acquire(timeout=PATIENCE)
        with pytest.raises(Deadlock):
            queue.Queue().get()
        gone.release()


def test_beside_a_thread_that_drives_another_thread_may_end_the_wait(driven):
    event = threading.Event()
    timer = threading.Timer(0.02, event.set)
    with driven.background():
        timer.start()
        assert event.wait()
    timer.join()
