"""Limits on how often, how long and until when a task runs, whoever sets them; exact, on the virtual clock."""

from __future__ import annotations

import time
from datetime import timedelta

import celery
import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from rabbit_scenes import not_on_rabbitmq
from scenario import START, after, passed

VERSION = tuple(map(int, celery.__version__.split(".")[:2]))
STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
EVERYWHERE = pytest.mark.parametrize("mode", ["memory", "eager", "fakeredis", "redis", "rabbitmq"], indirect=True)


def begun(harness, task):
    """When each run began, in virtual seconds."""
    return [(run.started_at - START).total_seconds() for run in harness.runs(task)]


def rated(app, rate, name="shop.rated"):
    @app.task(name=name, rate_limit=rate, shared=False)
    def rated():
        return None

    return rated


@pytest.fixture
def naps(app):
    @app.task(name="shop.naps", shared=False)
    def naps(seconds=60):
        time.sleep(seconds)
        return "slept"

    return naps


# -- how often


@STEPPED
@pytest.mark.parametrize(
    "rate, instants",
    [
        ("10/m", [0, 6, 12, 18]),
        ("1/s", [0, 1, 2, 3]),
        ("2/s", [0, 0.5, 1, 1.5]),
        ("100/h", [0, 36, 72, 108]),
        (5, [0, 0.2, 0.4, 0.6]),
        (0, [0, 0, 0, 0]),
        (None, [0, 0, 0, 0]),
    ],
)
def test_a_rate_of_the_task(harness, app, rate, instants):
    task = rated(app, rate)
    for _ in range(4):
        task.delay()
    harness.settle()
    assert begun(harness, task) == pytest.approx(instants, abs=5e-6)


@STEPPED
def test_ten_a_minute_without_waiting(harness, app):
    geocode = rated(app, "10/m")
    for _ in range(25):
        geocode.delay()
    harness.clock.advance(minutes=5)

    starts = begun(harness, geocode)
    assert len(starts) == 25
    assert all(later - earlier >= 59.9 for earlier, later in zip(starts, starts[10:], strict=False))


@STEPPED
def test_each_worker_has_its_own_bucket(open_harness, app):
    task = rated(app, "1/m")
    harness = open_harness(workers=2)
    for _ in range(4):
        task.delay()
    harness.settle()

    found = {name: [] for name in "ab"}
    for run in harness.runs(task):
        found[run.worker].append((run.started_at - START).total_seconds())
    assert found == {"a": [0, 60], "b": [0, 60]}


@STEPPED
def test_a_rate_for_all_tasks(open_harness, app, tasks):
    quick = rated(app, "1/s")
    harness = open_harness(config={"task_default_rate_limit": "1/m"})
    for _ in range(2):
        tasks.noop.delay()
        quick.delay()
    harness.settle()
    assert (begun(harness, tasks.noop), begun(harness, quick)) == ([0, 60], [0, 1])


@STEPPED
def test_no_rates_at_all(open_harness, app):
    task = rated(app, "1/m")
    harness = open_harness(config={"worker_disable_rate_limits": True})
    for _ in range(3):
        task.delay()
    harness.settle()
    assert begun(harness, task) == [0, 0, 0]


@STEPPED
def test_what_waits_for_a_token_is_there_for_remote_control(harness, app):
    task = rated(app, "1/m")
    results = [task.delay() for _ in range(2)]
    harness.drain()
    results[1].revoke()
    harness.settle()
    assert [harness.run_of(result).state for result in results] == ["SUCCESS", "REVOKED"]


@STEPPED
def test_it_may_expire_while_it_waits_for_a_token(harness, app):
    task = rated(app, "1/m")
    results = [task.apply_async(expires=30) for _ in range(2)]
    harness.settle()
    assert [harness.run_of(result).state for result in results] == ["SUCCESS", "REVOKED"]


# -- how long


@EVERYWHERE
@pytest.mark.parametrize("soft, error", [(True, SoftTimeLimitExceeded), (False, TimeLimitExceeded)])
@pytest.mark.parametrize("whose", ["task", "call", "worker"])
def test_a_limit_strikes_at_its_second(open_harness, app, naps, soft, error, whose):
    name = "soft_time_limit" if soft else "time_limit"
    if whose == "task":
        setattr(naps, name, 10)
    harness = open_harness(config={f"task_{name}": 10} if whose == "worker" else {})
    result = naps.apply_async(**({name: 10} if whose == "call" else {}))
    harness.settle()

    run = harness.run_of(result)
    assert (run.state, type(run.error), run.elapsed) == ("FAILURE", error, timedelta(seconds=10))


@EVERYWHERE
def test_the_nearest_to_the_call_counts(open_harness, naps):
    naps.soft_time_limit = 20
    harness = open_harness(config={"task_soft_time_limit": 10})
    first, second = naps.delay(), naps.apply_async(soft_time_limit=30)
    harness.settle()
    assert [harness.run_of(result).elapsed.total_seconds() for result in (first, second)] == [20, 30]


@EVERYWHERE
def test_a_soft_limit_is_caught_and_cleaned_up_after(harness, app):
    files = []

    @app.task(name="shop.render", shared=False, soft_time_limit=30, time_limit=40)
    def render():
        files.append("temporary")
        try:
            time.sleep(35)
        except SoftTimeLimitExceeded:
            files.clear()
            return "given up"

    run = harness.run_of(render.delay()) if harness.mode == "eager" else harness.perform(render.s())
    assert (run.result, files, passed(harness)) == ("given up", [], 30)


@STEPPED
def test_the_hard_limit_comes_where_the_soft_one_was_ignored(harness, app):
    @app.task(name="shop.stubborn", shared=False, soft_time_limit=30, time_limit=40)
    def stubborn():
        try:
            time.sleep(120)
        except SoftTimeLimitExceeded:
            time.sleep(120)

    run = harness.perform(stubborn.s())
    assert isinstance(run.error, TimeLimitExceeded)
    assert run.elapsed == timedelta(seconds=40)


@STEPPED
def test_acks_on_failure_or_timeout_says_whether_it_comes_again(harness, app):
    @app.task(
        name="shop.again", shared=False, time_limit=10, acks_late=True, acks_on_failure_or_timeout=False, bind=True
    )
    def again(self):
        if not self.request.delivery_info["redelivered"]:
            time.sleep(20)
        return "second time"

    result = again.delay()
    harness.settle()
    # Before Celery 5.5 such a message was rejected for good.
    expected = [False, True] if VERSION >= (5, 5) else [False]
    assert [attempt.redelivered for attempt in harness.run_of(result).attempts] == expected


# -- until when


@not_on_rabbitmq("expires")
@STEPPED
@pytest.mark.parametrize("expires", [30, timedelta(seconds=30), after(seconds=30), after(seconds=30).isoformat()])
@pytest.mark.parametrize("pause, state", [(29, "SUCCESS"), (31, "REVOKED")])
def test_expires(harness, tasks, expires, pause, state):
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    harness.worker().pause()
    result = tasks.noop.apply_async(expires=expires)
    harness.clock.advance(seconds=pause)
    harness.worker().resume()
    harness.drain()
    run = harness.run_of(result)
    lost = [event.kind for event in run.timeline if event.kind in {"expire", "revoke"}]
    assert (run.state, bool(lost)) == (state, state == "REVOKED")


@EVERYWHERE
def test_what_is_published_too_late_never_runs(harness, tasks):
    result = tasks.noop.apply_async(expires=after(seconds=-1))
    harness.settle()
    assert not harness.run_of(result).attempts


@STEPPED
def test_a_retry_expires_as_it_says(harness, app):
    @app.task(name="shop.retries", shared=False, bind=True, max_retries=None)
    def retries(self):
        raise self.retry(countdown=20, expires=10 if self.request.retries else 60)

    result = retries.delay()
    harness.settle()
    run = harness.run_of(result)
    assert (run.state, len(run.attempts), passed(harness)) == ("REVOKED", 2, 40)


@STEPPED
def test_a_retry_keeps_the_expiry_of_its_call(harness, app):
    @app.task(name="shop.retries", shared=False, bind=True, max_retries=None)
    def retries(self):
        raise self.retry(countdown=20)

    result = retries.apply_async(expires=50)
    harness.settle()
    run = harness.run_of(result)
    assert (run.state, len(run.attempts)) == ("REVOKED", 3)


# -- annotations


@STEPPED
@pytest.mark.parametrize(
    "annotations",
    [
        {"shop.annotated": {"rate_limit": "1/m"}},
        {"*": {"rate_limit": "1/m"}},
        [{"shop.annotated": {"rate_limit": "1/m"}}, {"*": {"max_retries": 5}}],
    ],
)
def test_annotations_of_the_configuration(open_harness, app, annotations):
    app.conf.task_annotations = annotations

    @app.task(name="shop.annotated", shared=False)
    def annotated():
        return None

    harness = open_harness()
    for _ in range(2):
        annotated.delay()
    harness.settle()
    assert begun(harness, annotated) == [0, 60]


class Slowly:
    """Annotates one task."""

    def annotate(self, task):
        return {"rate_limit": "1/m"} if task.name == "shop.annotated" else None


@STEPPED
def test_an_annotation_class(open_harness, app, tasks):
    app.conf.task_annotations = [Slowly()]

    @app.task(name="shop.annotated", shared=False)
    def annotated():
        return None

    harness = open_harness()
    for _ in range(2):
        annotated.delay()
        tasks.noop.delay()
    harness.settle()
    assert (begun(harness, annotated), begun(harness, tasks.noop)) == ([0, 60], [0, 0])


@STEPPED
def test_an_annotation_may_be_a_method(open_harness, app):
    told = []

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        told.append((self.name, type(exc).__name__))

    app.conf.task_annotations = {"*": {"on_failure": on_failure}}

    @app.task(name="shop.annotated", shared=False)
    def annotated():
        raise KeyError("x")

    harness = open_harness()
    annotated.delay()
    harness.settle()
    assert told == [("shop.annotated", "KeyError")]


@STEPPED
def test_annotations_of_a_test_reach_tasks_that_were_bound_before_and_leave_them(open_harness, tasks):
    named = {"shop.noop": {"rate_limit": "1/m"}, "*": {"priority": 3}}
    with open_harness(config={"task_annotations": named, "task_default_rate_limit": "1/s"}) as harness:
        for _ in range(2):
            tasks.noop.delay(), tasks.add.delay(1, 2)
        harness.settle()
        assert (begun(harness, tasks.noop), begun(harness, tasks.add)) == ([0, 60], [0, 1])
        assert {message.priority for message in harness.outbox} == {3}
    assert (tasks.noop.rate_limit, tasks.noop.priority, tasks.add.rate_limit) == (None, None, None)
    with open_harness() as harness:
        tasks.noop.delay()
        assert harness.outbox[0].priority is None


@STEPPED
def test_annotations_of_a_test_may_replace_a_method_and_wrap_one(open_harness, tasks):
    told = []

    def on_success(self, retval, task_id, args, kwargs):
        told.append((self.name, retval))

    def around(call):
        return lambda self, *args, **kwargs: -call(self, *args, **kwargs)

    method = tasks.add.on_success
    annotations = {"shop.add": {"on_success": on_success, "@__call__": around}}
    with open_harness(config={"task_annotations": annotations}) as harness:
        assert tasks.add.delay(1, 2).get() == -3
        harness.settle()
    assert told == [("shop.add", -3)]
    assert (tasks.add.on_success, tasks.add(1, 2)) == (method, 3)


# -- results


@EVERYWHERE
@pytest.mark.parametrize("expires", [60, timedelta(minutes=1)])
def test_a_result_is_gone_at_its_instant(open_harness, app, tasks, expires):
    harness = open_harness(config={"result_expires": expires})
    result = tasks.add.delay(1, 2)
    harness.drain()
    harness.clock.advance(seconds=59)
    assert (app.AsyncResult(result.id).state, app.AsyncResult(result.id).result) == ("SUCCESS", 3)
    harness.clock.advance(seconds=1)
    assert app.AsyncResult(result.id).state == "PENDING"


@EVERYWHERE
def test_a_result_that_never_expires(open_harness, app, tasks):
    harness = open_harness(config={"result_expires": None})
    result = tasks.add.delay(1, 2)
    harness.drain()
    harness.clock.advance(days=365)
    assert app.AsyncResult(result.id).result == 3


@EVERYWHERE
def test_backend_cleanup_runs_as_any_task(harness, app):
    result = app.tasks["celery.backend_cleanup"].delay()
    harness.drain()
    assert harness.run_of(result).state == "SUCCESS"
