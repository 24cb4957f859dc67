"""Tasks on a real worker: what the test sees of them is what it sees of a stepped worker."""

from __future__ import annotations

import os
from datetime import timedelta

import process_app as plant
import pytest
from celery import chain, chord
from celery.exceptions import NotRegistered
from celery.exceptions import TimeoutError as CeleryTimeoutError
from process_worlds import kinds, opened, started

from pytest_taskharness import Harness
from pytest_taskharness.errors import ConfigurationError, Deadlock, FidelityError, RunBudgetExceeded
from pytest_taskharness.process.outside import hiring

pytestmark = pytest.mark.usefixtures("redis_server")

POOLS = ["prefork", "threads", "solo"]


@pytest.fixture(params=POOLS)
def pool(request):
    return request.param


@pytest.fixture
def world():
    with opened() as world:
        yield world


def test_a_task_runs_in_another_process(pool):
    with opened(pool=pool) as world:
        pid = plant.where.delay().get(timeout=20)
        [node] = world.nodes
        assert (pid == node.pid) == (pool != "prefork")
        assert pid != os.getpid()


def test_the_history_of_states_is_that_of_a_stepped_worker(pool):
    with opened(pool=pool) as world:
        result = plant.flaky.delay(1)
        world.settle()
        run = world.timeline.run(result.id)
        assert run.states == ["PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS"]
        assert [attempt.outcome for attempt in run.attempts] == ["RETRY", "SUCCESS"]
        assert (run.result, run.worker, run.acked) == ("at last", "worker", True)


def test_a_result_that_is_ready_is_one_of_a_task_that_has_ended():
    with opened(clock="real") as world:
        result = plant.tidy.delay()
        while not result.ready():
            world.hear()
        assert world.timeline.run(result.id).finished


def test_causes_come_before_their_effects(world):
    result = plant.flaky.delay(1)
    world.settle()
    attempt = ["publish", "deliver", "receive", "ack", "start"]
    # The retry is published by the attempt before.
    assert kinds(world, result.id) == [*attempt, "publish", "store", "retry", *attempt[1:], "store", "finish"]


def test_with_a_solo_pool_the_acknowledgement_comes_when_the_loop_is_free_again():
    with opened(pool="solo") as world:
        result = plant.add.delay(1, 2)
        world.settle()
        assert kinds(world, result.id)[-2:] == ["finish", "ack"]


def test_the_delay_of_a_retry_is_the_one_that_was_asked_for(world):
    result = plant.flaky.delay(2, countdown=0.05)
    world.settle()
    run = world.timeline.run(result.id)
    assert run.retry_delays == [0.05, 0.05]
    assert run.attempts[1].started_at - run.attempts[0].started_at >= timedelta(seconds=0.05)


def test_drain_does_not_wait_for_what_is_due_later(world):
    plant.add.apply_async((1, 2), countdown=3600)
    assert world.drain().counts == {}


def test_settle_waits_for_what_is_due_soon(world):
    result = plant.add.apply_async((1, 2), countdown=1.5)
    assert world.settle().counts == {"SUCCESS": 1}
    run = world.timeline.run(result.id)
    assert run.started_at >= run.eta


def test_settle_waits_for_everything_that_tasks_publish(world):
    plant.spread.delay(30)
    assert world.settle().counts == {"SUCCESS": 31}


def test_what_happened_between_two_verbs_belongs_to_the_second(world):
    plant.add.delay(1, 2).get(timeout=20)
    assert world.settle().counts == {"SUCCESS": 1}
    assert world.settle().counts == {}


def test_canvases(world):
    chained = chain(plant.add.s(1, 2), plant.add.s(3)).delay()
    together = chord([plant.add.s(each, each) for each in range(4)], plant.total.s()).delay()
    world.settle()
    assert (chained.get(timeout=20), together.get(timeout=20)) == (6, 12)


def test_the_next_link_of_a_chain_has_no_call_site_of_the_user(world):
    chain(plant.add.s(1, 2), plant.add.s(3)).delay()
    plant.spread.delay(1)
    world.settle()
    sites = [message.call_site and message.call_site.function for message in world.timeline.messages()]
    here = "test_the_next_link_of_a_chain_has_no_call_site_of_the_user"
    assert sorted(sites, key=str) == [None, "spread", here, here]


def test_custom_states_keep_their_meta(world):
    result = plant.progress.delay()
    world.settle()
    [halfway] = [state for state in world.timeline.run(result.id).states if state == "HALFWAY"]
    assert halfway.meta == {"done": 1}


@pytest.mark.parametrize("task", [plant.refuse, plant.get_stuck, plant.raise_something_local])
def test_an_error_that_is_hard_to_pickle_arrives_as_a_stepped_worker_tells_it(task):
    """Celery itself replaces it on its way from the pool process to the main process."""
    told = []
    with opened() as world:
        result = task.delay()
        world.settle()
        told.append(world.timeline.run(result.id).error)
    with Harness.open(plant.app) as harness:
        result = task.delay()
        harness.settle()
        told.append(harness.run_of(result).error)
    process, stepped = ((type(error), str(error), repr(error)) for error in told)
    assert process == stepped


def test_an_errback_that_is_called_inline_is_a_run(world):
    result = plant.refuse.apply_async(link_error=plant.remember.s())
    world.settle()
    [errback] = world.timeline.runs(plant.remember.name)
    assert (errback.inline, errback.parent.id, errback.state) == (True, result.id, "SUCCESS")


def test_hidden_arguments_stay_hidden_in_the_retries_that_a_worker_publishes(world):
    result = plant.flaky.apply_async((1,), argsrepr="(secret)")
    world.settle()
    assert "secret" in str(world.timeline)
    assert all(message.hidden for message in world.timeline.run(result.id).messages)
    assert "(1)" not in str(world.timeline.only(result.id))


def test_queues_that_publishing_creates_are_consumed_whoever_publishes(world):
    plant.add.apply_async((1, 2), queue="created.here")
    plant.send_elsewhere.delay("created.there")
    assert world.settle().counts == {"SUCCESS": 3}
    assert set(world.nodes[0].queues()) == {"celery", "created.here", "created.there"}


def test_a_message_that_no_worker_consumes_does_not_keep_settle_waiting():
    with opened(workers=()) as world:
        world.add_node("mail", queues=["mail"], concurrency=1)
        result = plant.add.delay(1, 2)
        plant.add.apply_async((3, 4), queue="mail")
        assert world.settle().counts == {"SUCCESS": 1}
        with pytest.raises(Deadlock, match=r"in queue 'celery'\n    no worker consumes 'celery' \(mail: mail\)"):
            result.get()


def test_a_purged_message_does_not_keep_settle_waiting():
    with opened(workers=()) as world:
        world.add_node("mail", queues=["mail"], concurrency=1)
        plant.add.delay(1, 2)
        assert plant.app.control.purge() == 1
        world.add_node("worker", concurrency=1)
        assert world.settle().counts == {}


def test_a_rate_limit_is_something_to_wait_for():
    with opened() as world:
        plant.app.control.rate_limit(plant.add.name, "5/s", reply=True, limit=1)
        results = [plant.add.delay(1, number) for number in range(4)]
        world.settle()
        runs = [world.timeline.run(result.id) for result in results]
        began = world.timeline.of(results[0].id)[0].at
        # A bucket of an older kombu counts from when it was made: the second task may go with the first.
        assert all(run.started_at - began >= timedelta(seconds=0.2 * number) for number, run in enumerate(runs[1:]))


def test_the_result_is_waited_for_as_long_as_it_says(world):
    result = plant.nap.delay(60)
    started(world, result)
    with pytest.raises(CeleryTimeoutError, match=r"timed out after 0\.1 seconds") as caught:
        result.get(timeout=0.1)
    assert "running on worker for " in str(caught.value)


def test_a_result_that_can_never_come_is_a_deadlock_at_once(world):
    with pytest.raises(Deadlock, match="nothing was published under this id"):
        plant.add.AsyncResult("no-such-id").get()
    with pytest.raises(CeleryTimeoutError, match="would wait for nothing"):
        plant.add.AsyncResult("no-such-id").get(timeout=3600)


def test_what_is_due_too_late_is_refused_at_once(world):
    result = plant.add.apply_async((1, 2), countdown=3600)
    for wait in (world.settle, result.get):
        with pytest.raises(FidelityError, match="needs virtual time") as caught:
            wait()
        assert f"{plant.add.name} {result.id}" in str(caught.value)


def test_settle_says_what_it_has_waited_for(world):
    started(world, plant.nap.delay(60))
    plant.add.apply_async((1, 2), countdown=0.2).get(timeout=20)
    with pytest.raises(RunBudgetExceeded) as caught:
        world.settle(max_time=timedelta(seconds=1))
    text = str(caught.value)
    assert "settle() has waited for 1 real seconds" in text
    assert "counted: published 2, delivered 2, started 2, finished 1" in text
    assert "process_app.nap" in text and "running on worker for" in text
    assert "The end of its log:" in text and "ready." in text


def test_endless_retries_use_up_the_budget(world):
    plant.flaky.delay(5)
    with pytest.raises(RunBudgetExceeded, match=r"settle\(\) started 3 task bodies"):
        world.settle(max_runs=3)


def test_steps_and_virtual_time_are_refused(world):
    with pytest.raises(FidelityError, match="mode='memory'"):
        world.step()
    with pytest.raises(FidelityError, match="needs virtual time"):
        world.run_until(world.time.now)


def test_perform_runs_one_attempt_on_the_worker(pool):
    with opened(pool=pool) as world:
        run = world.perform(plant.flaky.s(3), attempt=3)
        assert (run.state, run.result, run.worker) == ("SUCCESS", "at last", "worker")
        assert not run.messages
        assert not world.timeline.tally.unexpected


def test_a_task_that_only_the_test_process_has_is_refused_with_a_reason(world):
    @plant.app.task(name="plant.local", shared=False)
    def local():
        pass

    result = local.delay()
    with pytest.raises(NotRegistered):
        result.get(timeout=20)
    [poison] = [event for event in world.timeline.of(result.id) if event.kind == "poison"]
    assert "it is defined inside a function" in poison.detail["note"]


def test_remote_control_answers(world):
    replies = plant.app.control.ping(limit=1)
    assert replies == [{"worker@taskharness": {"ok": "pong"}}]


def test_a_worker_may_stop_consuming_its_only_queue_and_start_again(world):
    plant.app.control.cancel_consumer("celery", reply=True)
    result = plant.add.delay(1, 2)
    assert world.settle().counts == {}
    plant.app.control.add_consumer("celery")
    world.settle()
    assert result.get(timeout=20) == 3


def test_a_queue_that_was_taken_away_before_the_worker_had_it_can_be_given_to_it(world):
    plant.app.control.cancel_consumer("new", reply=True, limit=1)
    result = plant.add.apply_async((1, 2), queue="new")
    plant.app.control.add_consumer("new", reply=True, limit=1)
    assert world.settle().counts == {"SUCCESS": 1}
    assert result.get(timeout=20) == 3


def test_a_revoked_task_does_not_run(world):
    plant.app.control.cancel_consumer("celery", reply=True, limit=1)
    result = plant.add.delay(1, 2)
    result.revoke()
    plant.app.control.add_consumer("celery")
    assert world.settle().counts == {"REVOKED": 1}


def test_a_paused_worker_takes_nothing(world):
    [node] = world.nodes
    node.pause()
    result = plant.add.delay(1, 2)
    assert world.settle().counts == {}
    node.resume()
    assert result.get(timeout=20) == 3


def test_settings_that_the_test_process_has_changed_hold_in_the_worker():
    before = plant.app.conf.task_acks_late
    plant.app.conf.task_acks_late = True
    try:
        with opened() as world:
            result = plant.add.delay(1, 2)
            world.settle()
            assert kinds(world, result.id)[-2:] == ["finish", "ack"]
    finally:
        plant.app.conf.task_acks_late = before


def test_the_configuration_of_the_test_holds_in_the_worker_also_for_tasks():
    with opened(config={"task_acks_late": True}) as world:
        result = plant.add.delay(1, 2)
        world.settle()
        assert kinds(world, result.id)[-2:] == ["finish", "ack"]


def test_an_environment_that_names_another_broker_does_not_lead_a_worker_away(monkeypatch):
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "BROKER_URL", "RESULT_BACKEND"):
        monkeypatch.setenv(name, "redis://elsewhere.invalid:1/0")
    with opened():
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_pools_that_cannot_be_listened_to_are_refused():
    with (
        pytest.raises(ConfigurationError, match="pool= takes one of prefork, threads, solo; given: 'gevent'"),
        opened(pool="gevent"),
    ):
        pass


def test_nothing_is_left_on_the_server():
    with opened() as world:
        plant.add.delay(1, 2).get(timeout=20)
        client, pattern = world.broker.client, f"{world.broker.own_prefix}*"
        assert client.keys(pattern)
    assert client.keys(pattern) == []


def test_the_command_line_takes_any_argument_of_a_worker():
    with opened(arguments=["--prefetch-multiplier=1", "-E"]) as world:
        assert "task events: ON" in world.nodes[0].process.log_tail(100)


def test_the_default_is_what_celery_has():
    assert hiring.POOLS[0] == "prefork"
