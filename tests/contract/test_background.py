"""``harness.background()``: a thread drives while the test waits for something of its own."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from billiard.exceptions import WorkerLostError
from scenario import passed

from pytest_taskharness.errors import ConfigurationError, Deadlock, HarnessClosed, RunBudgetExceeded

#: Real seconds that a test waits for what comes at once.
PATIENCE = 20

workers_only = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


@pytest.fixture
def told(app):
    """A queue that a task of the same name puts things into."""
    told = queue.Queue()

    @app.task(name="shop.tell", shared=False)
    def tell(what):
        told.put(what)
        return what

    told.tell = tell
    return told


@contextmanager
def nothing_left_behind():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


# -- what the block is for


def test_a_queue_that_a_task_fills(harness, told):
    with nothing_left_behind(), harness.background():
        told.tell.delay("now")
        assert told.get(timeout=PATIENCE) == "now"


def test_a_socket_that_a_task_writes_to(harness, app):
    ours, theirs = socket.socketpair()

    @app.task(shared=False)
    def answer():
        theirs.sendall(b"done")

    with ours, theirs, harness.background():
        ours.settimeout(PATIENCE)
        answer.delay()
        assert ours.recv(4) == b"done"


def test_a_countdown_of_an_hour_costs_nothing(harness, told):
    with harness.background():
        told.tell.apply_async(("later",), countdown=3600)
        assert told.get(timeout=PATIENCE) == "later"
    assert passed(harness) == 3600


def test_retries_run_after_their_delays(harness, app, told):
    @app.task(bind=True, shared=False, max_retries=None)
    def insist(self):
        if self.request.retries < 3:
            raise self.retry(countdown=10 * 2**self.request.retries)
        told.put("at last")

    with harness.background():
        insist.delay()
        assert told.get(timeout=PATIENCE) == "at last"
    assert harness.run_of(insist).retry_delays == [10, 20, 40]
    assert passed(harness) == 70


def test_an_event_loop_goes_on_while_tasks_run(harness, app, told):
    loops = []

    @app.task(shared=False)
    def call_back():
        loops[0].call_soon_threadsafe(called.set_result, "called")

    async def scenario():
        nonlocal called
        loops.append(asyncio.get_running_loop())
        called = loops[0].create_future()
        async with harness.background():
            call_back.delay()
            return await called

    called = None
    assert asyncio.run(scenario()) == "called"


def test_a_body_may_wait_for_the_loop_of_the_test_until_the_end_of_the_block(harness, app):
    async def answer():
        await asyncio.sleep(0)
        return 42

    @app.task(shared=False)
    def ask(loop_id):
        return asyncio.run_coroutine_threadsafe(answer(), loops[loop_id]).result(timeout=PATIENCE)

    loops = {}

    async def scenario():
        loops["here"] = asyncio.get_running_loop()
        async with harness.background():
            return await asyncio.to_thread(ask.delay, "here")

    assert asyncio.run(scenario()).get() == 42


@workers_only
def test_a_body_that_waits_for_what_the_test_does_next(harness, app):
    go_on = threading.Event()

    @app.task(shared=False)
    def wait():
        return go_on.wait(PATIENCE)

    with harness.background():
        result = wait.delay()
        go_on.set()
        assert result.get() is True


# -- what the test may do inside


def test_results_and_runs_inside_the_block(harness, tasks):
    with harness.background():
        result = tasks.add.delay(1, 2)
        assert result.get(timeout=10) == 3
        assert result.ready()
        assert harness.assert_succeeded(result, returns=3).attempts
        assert harness.assert_enqueued(tasks.add.s(1, 2))


def test_polling_inside_the_block(harness, tasks):
    with harness.background():
        result = tasks.add.apply_async((1, 2), countdown=60)
        while not result.ready():
            time.sleep(0.5)
        assert result.result == 3


def test_verbs_inside_the_block_take_their_turn(harness, tasks):
    with harness.background():
        tasks.add.apply_async((1, 2), countdown=60)
        harness.settle()
        harness.drain()
        harness.clock.advance(hours=1)
        assert harness.perform(tasks.add.s(3, 4)).result == 7
    assert harness.run_of(tasks.add.s(1, 2)).state == "SUCCESS"


def test_the_clock_stays_where_the_block_says_so(harness, tasks):
    with harness.background(jumps=False):
        late = tasks.add.apply_async((1, 2), countdown=60)
        assert tasks.add.delay(3, 4).get() == 7
        assert passed(harness) == 0
        harness.clock.advance(seconds=60)
        assert late.ready()
        tasks.add.apply_async((5, 6), countdown=60)
    assert passed(harness) == 60
    assert harness.run_of(tasks.add.s(5, 6)).state in {"PENDING", "RECEIVED"}


def test_several_threads_publish_and_wait_at_once(harness, tasks):
    got = []

    def work(number):
        got.append(tasks.add.apply_async((number, 1), countdown=number % 3).get(timeout=1000))

    with nothing_left_behind(), harness.background():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(got) == list(range(1, 9))
    assert harness.tally.lost == harness.tally.duplicated == []
    assert [event.seq for event in harness.timeline] == list(range(len(harness.timeline)))


@workers_only
def test_remote_control_from_inside_the_block(harness, app, tasks):
    with harness.background(jumps=False):
        assert app.control.ping() == [{"worker@taskharness": {"ok": "pong"}}]
        result = tasks.add.apply_async((1, 2), countdown=60)
        app.control.revoke(result.id)
        harness.clock.advance(seconds=60)
    assert harness.run_of(result).state == "REVOKED"


@workers_only
def test_what_was_held_back_goes_on_by_itself_when_it_is_released(harness, app, told):
    with harness.background():
        harness.worker().pause()
        told.tell.delay("paused")
        harness.worker().resume()
        assert told.get(timeout=PATIENCE) == "paused"
        with harness.broker.hold("celery"):
            told.tell.delay("held")
        assert told.get(timeout=PATIENCE) == "held"


@workers_only
def test_a_body_that_is_held_and_released(harness, told):
    with harness.background():
        held = harness.worker().hold_in(told.tell)
        told.tell.delay("in its body")
        held.release()
        assert told.get(timeout=PATIENCE) == "in its body"


def test_what_opens_worlds_of_its_own_is_alone(harness, app, tasks):
    app.conf.beat_schedule = {"every minute": {"task": "shop.noop", "schedule": 60}}
    with harness.background():
        tasks.noop.apply_async(countdown=30)
        assert harness.beat.simulate(hours=1).counts == {"every minute": 60}
        if harness.mode == "memory":
            assert harness.assert_idempotent(tasks.add.s(1, 2), observe=list)
            assert harness.assert_delivery(tasks.add.s(1, 2), "at_most_once")


# -- the thread


@workers_only
def test_bodies_run_in_a_thread_of_their_own(harness, app):
    @app.task(shared=False)
    def where():
        return threading.current_thread().name

    with harness.background():
        result = where.delay()
    assert result.get() == "taskharness background"


def test_bodies_see_the_app_and_the_clock_that_they_see_without(harness, app):
    from celery import current_app

    @app.task(bind=True, shared=False)
    def look(self):
        before = time.monotonic()
        time.sleep(90)
        return current_app.main, self.request.called_directly, time.monotonic() - before

    with harness.background():
        result = look.delay()
    assert result.get() == ["shop", False, 90]
    assert harness.run_of(look).elapsed.total_seconds() == 90


@workers_only
def test_get_is_allowed_to_the_test_while_a_body_runs_and_forbidden_to_the_body(harness, app, tasks):
    begun, go_on = threading.Event(), threading.Event()

    @app.task(shared=False)
    def ask():
        begun.set()
        go_on.wait(PATIENCE)
        tasks.add.delay(1, 2).get()

    with harness.background():
        asking = ask.delay()
        assert begun.wait(PATIENCE)
        other = tasks.add.delay(3, 4)
        threading.Timer(0.05, go_on.set).start()
        assert other.get() == 7
    harness.assert_failed(asking, RuntimeError, match="Never call result.get")


def test_a_body_cannot_open_the_block(harness, app):
    @app.task(shared=False)
    def opens():
        with harness.background():
            pass

    with pytest.raises(ConfigurationError, match=r"opens opens background\(\) in its body"):
        opens.delay()
        harness.settle()


def test_blocks_inside_one_another(harness, told):
    with nothing_left_behind(), harness.background():
        with harness.background():
            told.tell.delay("inner")
            assert told.get(timeout=PATIENCE) == "inner"
        told.tell.delay("outer")
        assert told.get(timeout=PATIENCE) == "outer"


def test_one_block_after_the_other(harness, told):
    block = harness.background()
    for number in range(3):
        with nothing_left_behind(), block:
            told.tell.delay(number)
            assert told.get(timeout=PATIENCE) == number
    assert repr(block) == "<Background>"


def test_two_harnesses_with_a_thread_each(open_harness, tasks, told):
    from celery import Celery

    other = Celery("depot", broker="redis://localhost:1/0", set_as_current=False)

    @other.task(name="depot.tell", shared=False)
    def tell(what):
        told.put(what)

    with nothing_left_behind(), open_harness() as first, open_harness(other) as second:
        blocks = first.background(), second.background()
        with blocks[0], blocks[1]:
            for number in range(10):
                (tell if number % 2 else told.tell).apply_async((number,), countdown=number)
            assert sorted(told.get(timeout=PATIENCE) for _ in range(10)) == list(range(10))


# -- the end


def test_what_is_left_is_done_when_the_block_ends(harness, tasks):
    with harness.background():
        for number in range(20):
            tasks.add.apply_async((number, 1), countdown=60)
    assert len(harness.runs(tasks.add)) == 20
    assert all(run.state == "SUCCESS" for run in harness.runs(tasks.add))


@workers_only
def test_endless_work_ends_with_an_error_at_the_end_of_the_block(harness, app):
    @app.task(shared=False)
    def again():
        again.apply_async(countdown=60)

    with nothing_left_behind(), pytest.raises(RunBudgetExceeded) as caught, harness.background(max_runs=20):
        again.delay()
    assert "again" in str(caught.value)


@workers_only
def test_a_limit_on_virtual_time(harness, tasks):
    with pytest.raises(RunBudgetExceeded), harness.background(max_time=60):
        tasks.noop.apply_async(countdown=3600)
    assert passed(harness) == 0


@workers_only
def test_what_a_body_does_to_the_test_comes_out_at_the_end(harness, app):
    @app.task(shared=False)
    def failing():
        pytest.fail("from the body")

    failed = pytest.raises(pytest.fail.Exception, match="from the body")
    with nothing_left_behind(), failed, harness.background():
        failing.delay()


@workers_only
def test_an_error_of_ours_in_a_body_comes_out_at_the_end(harness, app):
    @app.task(shared=False)
    def opens():
        harness.background().__enter__()

    with pytest.raises(ConfigurationError, match="opens"), harness.background():
        opens.delay()


def test_the_error_of_the_block_itself_wins(harness, app):
    @app.task(shared=False)
    def interrupted():
        raise KeyboardInterrupt

    with nothing_left_behind(), pytest.raises(ZeroDivisionError) as caught, harness.background():
        if harness.mode != "eager":
            interrupted.delay()
        raise ZeroDivisionError
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, KeyboardInterrupt)


@workers_only
def test_a_body_that_waits_for_what_never_comes_is_named(harness, app):
    begun, never = threading.Event(), threading.Event()

    @app.task(shared=False)
    def wait():
        begun.set()
        never.wait(PATIENCE)

    block = harness.background()
    with pytest.raises(Deadlock) as caught, block:
        block._attendants[-1].patience = 0.1
        wait.delay()
        assert begun.wait(PATIENCE)
    never.set()
    text = str(caught.value)
    assert "has not come any further in 0.1 real seconds" in text
    assert "test_background.py" in text
    assert "in the body of" in text and ".wait" in text


@workers_only
def test_after_a_body_that_was_given_up_another_harness_works(open_harness, app, tasks):
    begun, never = threading.Event(), threading.Event()

    @app.task(shared=False)
    def wait():
        begun.set()
        never.wait(PATIENCE)
        tasks.add.delay(1, 2)

    harness = open_harness()
    block = harness.background()
    with pytest.raises(ZeroDivisionError), block:
        block._attendants[-1].patience = 0.1
        wait.delay()
        assert begun.wait(PATIENCE)
        raise ZeroDivisionError
    thread = next(each for each in threading.enumerate() if each.name == "taskharness background")
    harness.forgive()
    harness.close()
    with open_harness() as fresh:
        assert tasks.add.delay(3, 4).get() == 7
        never.set()
        thread.join(PATIENCE)
        assert len(fresh.runs()) == 1  # what was given up publishes nothing


def test_a_harness_that_is_closed_inside_the_block_ends_its_thread(open_harness, tasks):
    with nothing_left_behind():
        harness = open_harness()
        harness.background().__enter__()
        tasks.noop.delay()
        harness.close()


def test_a_closed_harness_has_no_background(open_harness):
    harness = open_harness()
    harness.close()
    with pytest.raises(HarnessClosed), harness.background():
        pass


def test_a_block_that_was_not_entered_is_not_left(harness):
    block = harness.background()
    with pytest.raises(ConfigurationError, match=r"entered before it is left; found instead: it was not entered"):
        block.__exit__(None, None, None)
    with block:
        pass
    with pytest.raises(ConfigurationError, match=r"or was left already"):
        block.__exit__(None, None, None)
    with pytest.raises(ConfigurationError):
        asyncio.run(block.__aexit__(None, None, None))


@workers_only
@pytest.mark.parametrize("raised, note", [(KeyboardInterrupt, "KeyboardInterrupt"), (SystemExit(3), "exitcode 3")])
def test_a_body_that_ends_its_process_is_lost_and_the_thread_goes_on(harness, app, told, raised, note):
    @app.task(shared=False)
    def leave():
        raise raised

    with harness.background():
        lost = leave.delay()
        told.tell.delay("after")
        assert told.get(timeout=PATIENCE) == "after"
    error = harness.assert_failed(lost, WorkerLostError).error
    assert str(error) == f"Worker exited prematurely: {note}."
