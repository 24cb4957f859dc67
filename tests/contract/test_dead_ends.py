"""What cannot go on says why."""

from __future__ import annotations

import threading
import warnings

import pytest
from celery import chord
from celery.exceptions import Ignore
from kombu.exceptions import EncodeError
from scenario import eager_only, memory_only, passed

from pytest_taskharness.errors import (
    Deadlock,
    FidelityError,
    HarnessClosed,
    LeftoverWork,
    LossyRoundTrip,
    RunBudgetExceeded,
    TimeTravelError,
    UnserializableValue,
)
from pytest_taskharness.worker import descent
from pytest_taskharness.worker.waiting import attended


@memory_only
def test_deadlock_names_the_queue_that_nobody_consumes(harness, tasks):
    harness.worker("mailer", queues=["mail"])
    result = tasks.noop.delay()
    with pytest.raises(Deadlock) as caught:
        result.get()
    text = str(caught.value)
    assert "no worker consumes 'celery' (mailer: mail)" in text
    assert "shop.noop" in text and result.id[:8] in text and "PENDING" in text


def test_deadlock_of_a_result_that_was_never_published(harness, app):
    with pytest.raises(Deadlock, match="nothing was published under this id"):
        app.AsyncResult("nobody").get()


@memory_only
def test_deadlock_of_what_comes_after_names_what_it_comes_after(harness, tasks):
    harness.worker("mailer", queues=["mail"])
    parts = [tasks.noop.s() for _ in range(12)]
    result = chord(parts)(tasks.noop.si())
    with pytest.raises(Deadlock) as caught:
        result.get()
    text = str(caught.value)
    assert f"shop.noop {result.id[:8]}  PENDING, not published yet: a part of the chord before it" in text
    assert text.count("(PENDING)") == 10 and "and 2 more" in text
    assert "of an earlier test" not in text


def test_deadlock_of_a_task_that_ended_by_ignore(harness, app):
    @app.task
    def skipped():
        raise Ignore

    result = skipped.delay()
    with pytest.raises(Deadlock, match="ended by Ignore: no result will ever be stored"):
        result.get()


@memory_only
def test_deadlock_of_a_paused_worker_says_how_to_go_on(harness, tasks):
    harness.worker().pause()
    result = tasks.noop.delay()
    with pytest.raises(Deadlock, match=r"paused: call resume\(\)"):
        result.get()


@memory_only
def test_a_polling_loop_for_what_never_comes_is_a_deadlock(harness, app):
    result = app.AsyncResult("nobody")
    with pytest.raises(Deadlock, match="nothing was published"):
        while not result.ready():
            pass


def test_get_inside_a_body_is_forbidden_as_ever(harness, app, tasks):
    @app.task
    def outer():
        return tasks.add.delay(1, 2).get()

    with pytest.raises(RuntimeError, match=r"Never call result.get\(\) within a task"):
        outer.delay().get()


def test_get_inside_a_body_is_allowed_on_request(harness, app, tasks):
    @app.task
    def outer():
        return tasks.add.delay(1, 2).get(disable_sync_subtasks=False)

    assert outer.delay().get() == 3


@memory_only
def test_bodies_that_wait_inside_one_another_run_out_of_slots(open_harness, app):
    harness = open_harness(config={"worker_concurrency": 2})

    @app.task(name="shop.nested")
    def nested(depth):
        if depth:
            return nested.delay(depth - 1).get(disable_sync_subtasks=False)
        return "bottom"

    assert nested.delay(1).get() == "bottom"
    result = nested.delay(2)
    with pytest.raises(Deadlock, match=r"all its 2 slots are taken|blocked in\s+result.get\(\)"):
        result.get()
    assert harness.runs(nested)


@pytest.fixture
def impatient(monkeypatch):
    """Endless work is given up sooner: what matters is that it is."""
    monkeypatch.setattr(descent, "MAX_GENERATIONS", 100)


def test_endless_retry_in_settle_is_over_budget(impatient, harness, app):
    @app.task(bind=True, max_retries=None)
    def endless(self):
        raise self.retry(exc=ValueError("still down"), countdown=60)

    with pytest.raises(RunBudgetExceeded) as caught:
        endless.delay()
        harness.settle(max_runs=50)
    text = str(caught.value)
    assert "endless" in text and "still down" in text


@memory_only
def test_run_budget_text_shows_the_chain_and_how_to_mend_it(harness, app):
    @app.task(bind=True, max_retries=None)
    def endless(self):
        raise self.retry(exc=ValueError("still down"), countdown=60)

    endless.delay()
    with pytest.raises(RunBudgetExceeded) as caught:
        harness.settle(max_runs=50)
    text = str(caught.value)
    assert "settle() started 50 task bodies (max_runs)" in text
    assert "retry delays: [60, 60" in text
    assert "max_retries" in text and "settle(max_runs=…)" in text


def test_endless_retry_without_delay_in_drain_ends(impatient, harness, app):
    @app.task(bind=True, max_retries=None)
    def endless(self):
        raise self.retry(countdown=0)

    with pytest.raises(RunBudgetExceeded, match="no virtual time has passed"):
        endless.delay()
        harness.drain()


def test_endless_recursion_ends(impatient, harness, app):
    @app.task
    def endless():
        endless.delay()

    with pytest.raises((RunBudgetExceeded, RecursionError)):
        endless.delay()
        harness.drain()


@memory_only
def test_settle_within_a_time_says_what_is_due_later(harness, tasks):
    tasks.noop.apply_async(countdown=3600)
    with pytest.raises(RunBudgetExceeded, match=r"due at t\+3600"):
        harness.settle(max_time=60)
    assert passed(harness) <= 60


@memory_only
def test_settle_within_a_time_that_a_rate_limit_is_longer_than(harness, tasks):
    harness.app.control.rate_limit("shop.noop", "1/m")
    tasks.noop.delay(), tasks.noop.delay()
    with pytest.raises(RunBudgetExceeded, match=r"(?s)1 attempt, 2 runs in all.*To fix this, give it more time"):
        harness.settle(max_time=3)


def test_settle_within_a_time_that_is_enough(harness, tasks):
    tasks.noop.apply_async(countdown=30)
    assert harness.settle(max_time=60).counts == {"SUCCESS": 1}


class Model:
    def __repr__(self):
        return "<Model 7>"


@pytest.mark.parametrize("call", ["delay", "send_task", "group"])
def test_unserializable_argument_is_named_with_its_path(harness, app, tasks, call):
    from celery import group

    argument = {"orders": [1, {"owner": Model()}]}
    calls = {
        "delay": lambda: tasks.echo.delay(1, argument),
        "send_task": lambda: app.send_task("shop.echo", (1, argument)),
        "group": lambda: group([tasks.echo.s(1, argument)]).delay(),
    }
    with pytest.raises(UnserializableValue) as caught:
        calls[call]()
    assert isinstance(caught.value, EncodeError)
    text = str(caught.value)
    assert "shop.echo()" in text
    assert "args[1]['orders'][1]['owner'] is <Model 7> (type Model)" in text


@eager_only
def test_unserializable_argument_of_apply_is_named_in_eager_mode(harness, tasks):
    with pytest.raises(UnserializableValue, match=r"args\[0\] is <Model 7>"):
        tasks.echo.apply((Model(),))


def test_unserializable_keyword_argument_is_named(harness, tasks):
    with pytest.raises(UnserializableValue, match=r"kwargs\['owner'\] is <Model 7>"):
        tasks.echo.delay(owner=Model())


def test_unserializable_argument_publishes_nothing(harness, tasks):
    with pytest.raises(UnserializableValue):
        tasks.echo.delay(Model())
    assert harness.outbox == []
    assert tasks.add.delay(1, 2).get() == 3


def test_unserializable_result_fails_the_task_and_is_named(harness, app):
    @app.task
    def leak():
        return {"owner": Model()}

    result = leak.delay()
    result.get(propagate=False)
    assert result.state == "FAILURE"
    assert f"The SUCCESS result of {leak.name} {result.id} cannot be sent" in str(harness.run_of(leak).error)
    assert "result['owner'] is <Model 7>" in str(harness.run_of(leak).error)


@eager_only
def test_lossy_arguments_are_warned_of_with_their_path(harness, tasks):
    with pytest.warns(LossyRoundTrip, match=r"args\[0\]\['size'\]: tuple → list"):
        tasks.echo.delay({"size": (1, 2)})


@eager_only
def test_lossy_keys_are_warned_of(harness, tasks):
    with pytest.warns(LossyRoundTrip, match=r"key 1 \(int\) → '1' \(str\)"):
        tasks.echo.delay({1: "one"})


@eager_only
def test_lossy_result_is_warned_of(harness, app):
    @app.task
    def pair():
        return (1, 2)

    with pytest.warns(LossyRoundTrip, match=rf"the result of {pair.name} changed .*: tuple → list") as caught:
        pair.delay()
    assert caught[0].filename == __file__


def test_body_gets_what_the_serializer_made_of_the_arguments(harness, app):
    @app.task
    def kind(value):
        return type(value).__name__

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossyRoundTrip)
        assert kind.delay((1, 2)).get() == "list"


@eager_only
def test_apply_goes_through_the_serializer_in_eager_mode(harness, app):
    @app.task
    def kind(value):
        return type(value).__name__

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossyRoundTrip)
        assert kind.apply(((1, 2),)).get() == "list"


@eager_only
def test_step_is_a_fidelity_error_in_eager_mode(harness):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.step()


@eager_only
def test_task_eager_propagates_raises_at_the_call(open_harness, tasks):
    open_harness(config={"task_eager_propagates": True})
    with pytest.raises(RuntimeError, match="boom"):
        tasks.boom.delay()


@eager_only
def test_task_eager_propagates_only_after_the_last_retry(open_harness, app):
    harness = open_harness(config={"task_eager_propagates": True})

    @app.task(bind=True, max_retries=2)
    def flaky(self):
        raise self.retry(exc=ValueError("still"), countdown=10)

    with pytest.raises(ValueError, match="still"):
        flaky.delay()
    assert len(harness.run_of(flaky).attempts) == 3
    assert passed(harness) == 20


@eager_only
def test_task_eager_propagates_lets_a_retry_that_helps_succeed(open_harness, app):
    open_harness(config={"task_eager_propagates": True})

    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(exc=ValueError("once"), countdown=10)
        return "ok"

    assert flaky.delay().get() == "ok"


@memory_only
def test_task_always_eager_of_the_configuration_has_no_say(open_harness, app, tasks):
    app.conf.task_always_eager = True
    open_harness()
    result = tasks.add.delay(1, 2)
    assert result.state == "PENDING"
    assert result.get() == 3


@pytest.mark.parametrize("verb", ["settle", "drain", "step"])
def test_a_closed_harness_says_so(open_harness, tasks, verb):
    harness = open_harness(mode="memory")
    harness.close()
    with pytest.raises(HarnessClosed):
        getattr(harness, verb)()


def test_time_does_not_go_back(harness):
    with pytest.raises(TimeTravelError, match=r"only moves\s+forward"):
        harness.clock.advance(seconds=-1)


@memory_only
def test_leftovers_are_complained_about_on_request(open_harness, tasks):
    harness = open_harness(strict_leftovers=True)
    tasks.noop.delay()
    with pytest.raises(LeftoverWork, match=r"in queue 'celery': shop\.noop"):
        harness.close()


@memory_only
def test_held_leftovers_are_complained_about_on_request(open_harness, tasks):
    harness = open_harness(strict_leftovers=True)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    with pytest.raises(LeftoverWork, match=r"shop\.noop"):
        harness.close()


def test_no_leftovers_no_complaint(open_harness, tasks):
    harness = open_harness(strict_leftovers=True)
    tasks.noop.delay()
    harness.settle()
    harness.close()


def test_a_body_that_waits_for_a_thread_that_waits_for_the_worker_is_told_so(open_harness, app, monkeypatch):
    monkeypatch.setattr(attended, "DRIVING_SECONDS", 0.05)
    harness = open_harness()
    found = []

    @app.task(shared=False)
    def inner():
        pass

    @app.task(shared=False)
    def outer():
        def wait():
            with pytest.raises(Deadlock, match="which another thread is driving \\(running: .*outer\\)") as info:
                inner.delay().get(disable_sync_subtasks=False)
            found.append(info)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()

    outer.delay()
    harness.settle()
    assert found
