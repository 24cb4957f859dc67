"""One run, driven to one moment: in its queue, held for its eta, or with its body begun."""

from __future__ import annotations

import time

import celery
import pytest
from celery import chain, group, signals
from celery.exceptions import TaskRevokedError
from scenario import after, eager_only, kinds, passed

from pytest_taskharness.errors import ConfigurationError, Deadlock, FidelityError, MomentMissed

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
#: What is revoked, before its body is terminated and that is stored, too; see docs/celery-versions.md.
STORES_AT_THE_COMMAND = (5, 6, 2) <= celery.VERSION[:3] < (5, 7)


@pytest.fixture
def captured():
    return []


@pytest.fixture
def charge(app, captured):
    @app.task(name="shop.charge", shared=False)
    def charge(order, amount=0):
        captured.append(order)
        return amount

    return charge


@pytest.fixture
def harness(charge, tasks, open_harness):
    return open_harness()


# -- revoked there


@STEPPED
@pytest.mark.parametrize("moment", ["queued", "held_for_eta", "running"])
def test_cancel_order_stops_the_charge(harness, charge, captured, moment):
    result = charge.apply_async((42, 999), countdown=60 if moment == "held_for_eta" else None)
    harness.bring_to(result, moment)

    result.revoke(terminate=moment == "running")
    harness.clock.advance(minutes=5)

    assert harness.run_of(result).state == "REVOKED"
    assert captured == []


@STEPPED
def test_a_body_that_is_terminated_ends_as_in_prefork(harness, charge, captured):
    told = []

    def on_revoked(request, terminated, signum, expired, **_):
        told.append((request.id, terminated, expired))

    signals.task_revoked.connect(on_revoked)
    result = charge.delay(42)
    run = harness.bring_to(result, "running")
    result.revoke(terminate=True)
    harness.drain()

    assert captured == []
    assert told == [(result.id, True, False)]
    stores = ["store", "store"] if STORES_AT_THE_COMMAND else ["store"]
    assert kinds(run) == ["publish", "deliver", "receive", "ack", "start", "fault", *stores, "revoke"]
    assert [event.detail["note"] for event in run.timeline if event.kind == "revoke"] == ["terminated"]
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get()


@STEPPED
def test_without_terminate_a_body_that_runs_goes_on(harness, charge, captured):
    result = charge.delay(42)
    harness.bring_to(result, "running")
    result.revoke()
    harness.drain()

    assert captured == [42]
    assert result.state == "SUCCESS"


# -- the moments


@STEPPED
def test_queued_is_before_anything_has_taken_it(harness, charge, captured):
    result = charge.delay(42)
    run = harness.bring_to(result, "queued")

    assert run.id == result.id
    assert (harness.broker.depth("celery"), captured) == (1, [])
    assert harness.bring_to(run, "queued").state == "PENDING"


@STEPPED
def test_the_rest_of_the_queue_is_left_alone(harness, charge, tasks):
    first, second, third = charge.delay(1), charge.delay(2), charge.delay(3)
    harness.bring_to(second, "running")

    assert [harness.run_of(result).state for result in (first, second, third)] == ["SUCCESS", "STARTED", "PENDING"]


@pytest.mark.parametrize("mode", ["memory", "eager", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_held_for_eta_is_before_time_passes(harness, charge, captured):
    result = charge.apply_async((42,), countdown=60)
    run = harness.bring_to(result, "held_for_eta")

    assert (run.state, run.eta, passed(harness), captured) == ("RECEIVED", after(seconds=60), 0, [])
    harness.settle()
    assert (captured, passed(harness)) == ([42], 60)


@STEPPED
def test_a_retry_is_held_for_its_eta_too(harness, app):
    @app.task(name="shop.flaky", shared=False, bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=90)
        return "done"

    result = flaky.delay()
    run = harness.bring_to(result, "held_for_eta")

    assert (run.states[-2:], passed(harness)) == (["RETRY", "RECEIVED"], 0)
    assert result.get() == "done"


@STEPPED
def test_running_passes_the_time_until_then(harness, charge):
    result = charge.apply_async((42,), countdown=60)
    assert harness.bring_to(result, "running").started_at == after(seconds=60)


@STEPPED
def test_the_end_of_a_chain_can_be_brought_to_a_moment(harness, charge, captured):
    result = chain(charge.si(1), charge.si(2)).delay()
    harness.bring_to(result, "queued")
    assert captured == [1]

    harness.bring_to(result, "running")
    assert captured == [1]
    harness.drain()
    assert captured == [1, 2]


@STEPPED
def test_a_body_that_runs_goes_on_with_the_next_step(harness, charge, captured):
    result = charge.delay(42)
    harness.bring_to(result, "running")
    assert captured == []
    assert harness.step().state == "SUCCESS"
    assert captured == [42]


@STEPPED
def test_what_runs_already_is_there(harness, charge, captured):
    with harness.worker().hold_in(charge):
        result = charge.delay(42)
        harness.drain()
        assert harness.bring_to(result, "running").state == "STARTED"


@STEPPED
def test_inspect_does_not_drive_it_on(harness, app, charge, captured):
    result = charge.delay(42)
    harness.bring_to(result, "running")
    [active] = app.control.inspect().active()["worker@taskharness"]
    assert (active["id"], active["args"], captured) == (result.id, [42], [])


@STEPPED
def test_the_worker_can_be_killed_there(open_harness, app):
    harness, started = open_harness(workers=2), []

    @app.task(name="shop.late", shared=False, acks_late=True)
    def late():
        started.append(late.request.hostname)

    result = late.delay()
    worker = harness.bring_to(result, "running").worker
    harness.worker(worker).kill()
    harness.settle()

    [survivor] = {"a", "b"} - {worker}
    assert started == [f"{survivor}@taskharness"]
    assert [attempt.redelivered for attempt in harness.run_of(result).attempts] == [False, True]


@STEPPED
def test_a_warm_shutdown_lets_it_end(harness, charge, captured):
    result = charge.delay(42)
    harness.bring_to(result, "running")
    harness.worker().shutdown()
    assert (captured, harness.run_of(result).state) == ([42], "SUCCESS")


@STEPPED
def test_a_cold_shutdown_does_not(harness, charge, captured):
    result = charge.delay(42)
    harness.bring_to(result, "running")
    harness.worker().shutdown(warm=False)
    assert captured == []
    assert not harness.run_of(result).finished


@STEPPED
def test_a_body_meets_its_limit_after_that(harness, app):
    @app.task(name="shop.slow", shared=False, time_limit=30)
    def slow():
        time.sleep(60)

    result = slow.delay()
    harness.bring_to(result, "running")
    harness.settle()
    assert harness.run_of(result).state == "FAILURE"
    assert passed(harness) == 30


# -- in vain


@STEPPED
def test_a_run_that_is_past_the_moment_is_an_error(harness, charge):
    result = charge.delay(42)
    harness.settle()
    with pytest.raises(MomentMissed) as caught:
        harness.bring_to(result, "running")
    assert str(caught.value).startswith(f"expected shop.charge {result.id[:8]}")
    assert "to come to 'running' (its body has begun); it is SUCCESS since t+0.000s on worker." in str(caught.value)
    assert "call bring_to() before anything drives" in str(caught.value)


@STEPPED
def test_queued_is_past_when_a_worker_has_it(harness, charge, captured):
    result = charge.apply_async((42,), countdown=60)
    harness.drain()
    with pytest.raises(MomentMissed, match="it is RECEIVED since"):
        harness.bring_to(result, "queued")
    assert captured == []


@STEPPED
def test_without_an_eta_it_is_never_held(harness, charge):
    result = charge.delay(42)
    with pytest.raises(MomentMissed, match=r"publish it with countdown= or eta="):
        harness.bring_to(result, "held_for_eta")


@STEPPED
def test_where_nobody_consumes_its_queue(open_harness, charge):
    harness = open_harness()
    harness.worker("other", queues=["other"])
    result = charge.delay(42)
    with pytest.raises(MomentMissed, match="no worker consumes 'celery'"):
        harness.bring_to(result, "running")


@STEPPED
def test_a_revoked_run_never_runs(harness, charge):
    result = charge.delay(42)
    result.revoke()
    with pytest.raises(MomentMissed, match="it is REVOKED"):
        harness.bring_to(result, "running")


@STEPPED
def test_what_was_never_published(harness, app):
    with pytest.raises(MomentMissed, match="nothing was published under this id"):
        harness.bring_to(app.AsyncResult("no such id"), "queued")


def test_a_moment_that_does_not_exist(harness, charge):
    with pytest.raises(ConfigurationError, match="Did you mean 'running'"):
        harness.bring_to("some id", "runing")


def test_a_group_has_many_runs(harness, charge):
    result = group(charge.s(1), charge.s(2)).delay()
    with pytest.raises(ConfigurationError, match=r"a group of 2\. Say which one: result.results\[0\]"):
        harness.bring_to(result, "running")


@eager_only
@pytest.mark.parametrize("moment", ["queued", "running"])
def test_in_eager_mode_the_body_has_run_when_the_call_returns(harness, charge, moment):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.bring_to(charge.delay(42), moment)


@STEPPED
def test_a_body_that_was_brought_there_is_no_deadlock(harness, charge):
    result = charge.delay(42, amount=7)
    harness.bring_to(result, "running")
    assert result.get(timeout=5) == 7


@STEPPED
def test_a_hold_stays_a_hold(harness, charge, tasks):
    with harness.worker().hold_in(charge):
        result = charge.delay(42)
        harness.bring_to(tasks.noop.delay(), "running")
        with pytest.raises(Deadlock, match="held in the beginning"):
            result.get()
