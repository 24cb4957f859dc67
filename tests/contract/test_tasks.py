"""Every kind of task, and what a body can do."""

from __future__ import annotations

import collections
import logging
import time

import pytest
from billiard.exceptions import WorkerLostError
from celery import Task, shared_task, signals
from celery.exceptions import Ignore, Reject, TaskRevokedError
from celery.utils.log import get_task_logger
from scenario import after, eager_only, kinds, memory_only, passed

from pytest_taskharness.errors import FidelityError, NoSuchRun


def test_bound_task_knows_its_request(harness, app):
    @app.task(bind=True)
    def who(self, x):
        request = self.request
        return [self.name, request.id, request.retries, request.args, request.hostname, request.is_eager]

    result = who.delay(7)
    assert result.get() == [who.name, result.id, 0, [7], "worker@taskharness", False]


def test_request_knows_where_the_message_came_from(harness, app):
    @app.task(bind=True)
    def who(self):
        return dict(self.request.delivery_info)

    info = who.apply_async(queue="celery", priority=3).get()
    assert (info["routing_key"], info["priority"], info["redelivered"]) == ("celery", 3, False)


def test_class_based_task(harness, app):
    class Adder(Task):
        name = "shop.adder"

        def run(self, x, y):
            return x + y

    adder = app.register_task(Adder())
    assert adder.delay(1, 2).get() == 3


def test_custom_base_class_keeps_its_state_between_calls(harness, app):
    class Counting(Task):
        abstract = True
        count = 0

        def __call__(self, *args, **kwargs):
            self.count += 1
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting, bind=True)
    def counted(self):
        return self.count

    assert [counted.delay().get() for _ in range(3)] == [1, 2, 3]


def test_shared_task_belongs_to_the_app_under_test(harness, app):
    @shared_task
    def shared(x):
        return x * 2

    result = shared.delay(4)
    assert shared.app is app
    assert result.get() == 8


@pytest.mark.parametrize("round_", [1, 2])
def test_a_task_of_the_same_name_in_two_tests_is_two_tasks(harness, app, round_):
    @app.task(name="shop.same")
    def same():
        return round_

    assert same.delay().get() == round_


@pytest.mark.parametrize("round_", [1, 2])
def test_a_shared_task_of_the_same_name_in_two_tests_is_two_tasks(harness, app, round_):
    @shared_task(name="shop.same_shared")
    def same():
        return round_

    assert same.delay().get() == round_


def test_a_task_that_a_test_defines_vanishes_afterwards(open_harness, app):
    with open_harness():

        @app.task(name="shop.passing")
        def passing():
            return 1

        assert passing.delay().get() == 1
    assert "shop.passing" not in app.tasks


def test_a_task_can_be_redefined_on_one_app_in_two_harnesses(open_harness, app):
    for value in (1, 2):
        with open_harness():

            @app.task(name="shop.redefined")
            def redefined(value=value):
                return value

            assert redefined.delay().get() == value


def test_custom_states_are_kept_with_their_meta(harness, app):
    @app.task(bind=True)
    def long(self):
        self.update_state(state="PROGRESS", meta={"done": 50})
        self.update_state(state="PROGRESS", meta={"done": 90})

    long.delay().get()
    states = harness.run_of(long).states
    assert states == ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert [state.meta for state in states if state == "PROGRESS"] == [{"done": 50}, {"done": 90}]


def test_a_custom_state_can_be_read_from_the_result(harness, app):
    seen = []

    @app.task(bind=True)
    def long(self):
        self.update_state(state="PROGRESS", meta={"done": 50})
        result = app.AsyncResult(self.request.id)
        seen.append((result.state, result.info))

    long.delay().get()
    assert seen == [("PROGRESS", {"done": 50})]


def test_ignore_result_keeps_no_result(harness, app):
    @app.task(ignore_result=True)
    def quiet():
        return 1

    result = quiet.delay()
    harness.settle()
    assert result.get() is None
    assert harness.run_of(quiet).states == ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]
    assert harness.run_of(quiet).result is None


def test_ignore_result_of_one_call_keeps_no_result(harness, tasks):
    result = tasks.add.apply_async((1, 2), ignore_result=True)
    harness.settle()
    assert result.get() is None
    assert harness.run_of(result).result is None


def test_ignore_leaves_the_state_alone(harness, app):
    @app.task
    def skipped():
        raise Ignore

    result = skipped.delay()
    harness.settle()
    assert result.state == "PENDING"
    run = harness.run_of(skipped)
    assert [attempt.outcome for attempt in run.attempts] == ["IGNORED"]
    assert run.finished and run.acked


def test_ignore_after_update_state_keeps_the_custom_state(harness, app):
    @app.task(bind=True)
    def skipped(self):
        self.update_state(state="SKIPPED", meta={"why": "duplicate"})
        raise Ignore

    result = skipped.delay()
    harness.settle()
    assert (result.state, result.info) == ("SKIPPED", {"why": "duplicate"})


def test_reject_without_requeue_drops_the_message(harness, app):
    @app.task(acks_late=True)
    def refused():
        raise Reject("no", requeue=False)

    refused.delay()
    harness.settle()
    run = harness.run_of(refused)
    assert [attempt.outcome for attempt in run.attempts] == ["REJECTED"]
    assert not run.acked
    assert kinds(run).count("reject") == 1


@memory_only
def test_reject_with_requeue_is_delivered_again_as_redelivered(harness, app):
    @app.task(bind=True, acks_late=True)
    def picky(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)
        return "taken"

    assert picky.delay().get() == "taken"
    run = harness.run_of(picky)
    assert [(attempt.outcome, attempt.redelivered) for attempt in run.attempts] == [
        ("REJECTED", False), ("SUCCESS", True)
    ]  # fmt: skip


@eager_only
def test_reject_with_requeue_is_a_fidelity_error_in_eager_mode(harness, app):
    @app.task(acks_late=True)
    def picky():
        raise Reject("later", requeue=True)

    with pytest.raises(FidelityError, match=r"requeue=True.*mode='memory'"):
        picky.delay()


def hooked(app, log, body):
    class Hooked(Task):
        abstract = True

        def before_start(self, task_id, args, kwargs):
            log.append("before_start")

        def on_success(self, retval, task_id, args, kwargs):
            log.append("on_success")

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            log.append("on_failure")

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            log.append("on_retry")

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            log.append(f"after_return {status}")

    return app.task(base=Hooked, bind=True, name="shop.hooked")(body)


def test_hooks_of_a_success(harness, app):
    log = []

    def body(self):
        log.append("body")

    hooked(app, log, body).delay().get()
    assert log == ["before_start", "body", "on_success", "after_return SUCCESS"]


def test_hooks_of_a_failure(harness, app):
    log = []

    def body(self):
        raise ValueError("no")

    hooked(app, log, body).delay().get(propagate=False)
    assert log == ["before_start", "on_failure", "after_return FAILURE"]


def test_hooks_of_a_retry(harness, app):
    log = []

    def body(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    hooked(app, log, body).delay().get()
    assert log == [
        "before_start", "on_retry", "before_start", "on_success", "after_return SUCCESS"
    ]  # fmt: skip


SIGNALS = (
    "before_task_publish", "after_task_publish", "task_received", "task_prerun", "task_postrun", "task_success",
    "task_failure", "task_retry", "task_revoked", "task_rejected", "task_unknown", "task_internal_error",
)  # fmt: skip


@pytest.fixture
def signal_log():
    log, receivers = [], []
    for name in SIGNALS:

        def note(*args, _name=name, **kwargs):
            log.append(_name)

        getattr(signals, name).connect(note)
        receivers.append((name, note))
    yield log
    for name, note in receivers:
        getattr(signals, name).disconnect(note)


def test_signals_of_a_success(signal_log, harness, tasks):
    tasks.add.delay(1, 2).get()
    assert signal_log == [
        "before_task_publish", "after_task_publish", "task_received", "task_prerun", "task_success", "task_postrun"
    ]  # fmt: skip


def test_signals_of_a_failure(signal_log, harness, tasks):
    tasks.boom.delay().get(propagate=False)
    assert signal_log[-3:] == ["task_prerun", "task_failure", "task_postrun"]
    assert "task_internal_error" not in signal_log


def test_signals_of_a_retry(signal_log, harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    flaky.delay().get()
    assert collections.Counter(signal_log) == {
        "before_task_publish": 2, "after_task_publish": 2, "task_received": 2, "task_prerun": 2, "task_retry": 1,
        "task_success": 1, "task_postrun": 2,
    }  # fmt: skip


def test_signals_of_an_expiry(signal_log, harness, tasks):
    tasks.noop.apply_async(expires=after(seconds=-1))
    harness.settle()
    assert signal_log.count("task_revoked") == 1
    assert "task_prerun" not in signal_log


def test_signals_of_an_unknown_task(signal_log, harness, app):
    app.send_task("shop.nowhere")
    harness.settle()
    assert signal_log.count("task_unknown") == 1


def test_signals_of_a_time_limit(signal_log, harness, app):
    @app.task(time_limit=5)
    def slow():
        time.sleep(60)

    slow.delay().get(propagate=False)
    # Celery 5.7 sends it twice on prefork: once for the failure and once for the timeout.
    assert signal_log.count("task_failure") in {1, 2}
    assert "task_success" not in signal_log


@memory_only
def test_revoke_before_the_run_prevents_it(harness, tasks):
    result = tasks.noop.apply_async(countdown=60)
    result.revoke()
    harness.settle()
    assert result.state == "REVOKED"
    assert harness.run_of(result).attempts == []
    with pytest.raises(TaskRevokedError):
        result.get()


@memory_only
def test_revoke_by_the_control_api_prevents_the_run(harness, app, tasks):
    first, second = tasks.noop.delay(), tasks.noop.delay()
    app.control.revoke(first.id)
    harness.settle()
    assert (first.state, second.state) == ("REVOKED", "SUCCESS")


@memory_only
def test_revoke_after_receipt_prevents_the_run(harness, tasks):
    result = tasks.noop.apply_async(countdown=60)
    harness.clock.advance(seconds=30)
    result.revoke()
    harness.settle()
    assert (result.state, passed(harness)) == ("REVOKED", 60)


@memory_only
def test_a_revoked_id_is_forgotten_by_the_next_harness(open_harness, tasks):
    with open_harness():
        tasks.noop.apply_async(task_id="one").revoke()
    with open_harness() as harness:
        result = tasks.noop.apply_async(task_id="one")
        harness.settle()
        assert result.state == "SUCCESS"


def test_pickle_carries_what_json_cannot(app, tasks, open_harness):
    open_harness(config={
        "task_serializer": "pickle", "result_serializer": "pickle", "accept_content": ["pickle"],
        "result_accept_content": ["pickle"],
    })  # fmt: skip
    assert tasks.echo.delay({1, 2}, at=(1,)).get() == [[{1, 2}], {"at": (1,)}]


@pytest.mark.parametrize(
    "setting, attribute, value",
    [
        ("task_serializer", "serializer", "pickle"),
        ("task_acks_late", "acks_late", True),
        ("task_ignore_result", "ignore_result", True),
        ("task_default_rate_limit", "rate_limit", "1/s"),
    ],
)
def test_settings_of_open_reach_tasks_that_were_bound_before(open_harness, tasks, setting, attribute, value):
    before = getattr(tasks.noop, attribute)
    with open_harness(config={setting: value}):
        assert getattr(tasks.noop, attribute) == value
    assert getattr(tasks.noop, attribute) == before


def test_time_limit_of_open_strikes(open_harness, app):
    @app.task(shared=False)
    def slow():
        time.sleep(60)

    harness = open_harness(config={"task_time_limit": 5})
    result = slow.delay()
    result.get(propagate=False)
    assert (result.state, passed(harness)) == ("FAILURE", 5)


def test_settings_of_open_leave_what_a_task_says_itself(open_harness, app):
    @app.task(serializer="yaml", acks_late=False, shared=False)
    def own():
        pass

    with open_harness(config={"task_serializer": "pickle", "task_acks_late": True}):
        assert (own.serializer, own.acks_late) == ("yaml", False)


def test_content_that_is_not_accepted_is_refused(open_harness, tasks):
    harness = open_harness(config={"accept_content": ["json"]})
    tasks.noop.apply_async(serializer="pickle")
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert run.attempts == []
    assert "poison" in kinds(run)


def test_custom_headers_reach_the_body(harness, app):
    @app.task(bind=True)
    def tenant(self):
        return [self.request.headers["tenant"], self.request.tenant]

    assert tenant.apply_async(headers={"tenant": "acme"}).get() == ["acme", "acme"]
    assert harness.outbox[0].headers["tenant"] == "acme"


def test_shadow_name_is_seen(harness, app, tasks):
    tasks.noop.apply_async(shadow="another name")
    assert harness.outbox[0].options["shadow"] == "another name"
    harness.settle()


def test_system_exit_in_a_body_is_the_death_of_the_pool_child(harness, app):
    @app.task
    def leave():
        raise SystemExit(3)

    result = leave.delay()
    with pytest.raises(WorkerLostError, match="exitcode 3"):
        result.get()
    assert result.state == "FAILURE"


@memory_only
def test_system_exit_with_reject_on_worker_lost_is_redelivered(harness, app):
    @app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
    def leave(self):
        if not self.request.delivery_info["redelivered"]:
            raise SystemExit(1)
        return "second time"

    assert leave.delay().get() == "second time"
    assert [attempt.redelivered for attempt in harness.run_of(leave).attempts] == [False, True]


def test_assertion_in_a_body_is_the_tasks_failure(harness, app):
    @app.task
    def checked():
        assert not 1, "they differ"

    with pytest.raises(AssertionError, match="they differ"):
        checked.delay().get()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, lambda: pytest.fail.Exception("from the body")])
def test_what_ends_a_test_is_not_swallowed_in_a_body(harness, app, raised):
    @app.task
    def interrupted():
        raise raised()

    with pytest.raises((KeyboardInterrupt, pytest.fail.Exception)):
        interrupted.delay()
        harness.drain()


def test_the_world_goes_on_after_an_interrupted_body(harness, app, tasks):
    @app.task
    def interrupted():
        pytest.fail("from the body")

    with pytest.raises(pytest.fail.Exception, match="from the body"):
        interrupted.delay()
        harness.drain()
    assert tasks.add.delay(1, 2).get() == 3


def test_task_logger_reaches_caplog(harness, app, caplog):
    logger = get_task_logger("shop")

    @app.task
    def chatty():
        logger.warning("hello from the body")

    with caplog.at_level(logging.WARNING):
        chatty.delay().get()
    assert "hello from the body" in caplog.text


def test_printing_in_a_body_reaches_capsys(harness, app, capsys):
    @app.task
    def chatty():
        print("hello")  # noqa: T201

    chatty.delay().get()
    assert capsys.readouterr().out == "hello\n"


def test_perform_runs_one_attempt_without_a_broker(harness, app):
    @app.task(bind=True)
    def attempt(self):
        return self.request.retries

    assert harness.perform(attempt.s(), attempt=2).result == 2
    assert harness.outbox == []


def test_task_without_a_name_gets_one_from_its_module(harness, app):
    @app.task
    def unnamed():
        return 1

    assert unnamed.name == f"{__name__}.unnamed"
    assert unnamed.delay().get() == 1


def test_a_run_that_was_replaced_is_found_by_either_task(harness, app, tasks):
    @app.task(bind=True, shared=False, name="shop.outer")
    def outer(self):
        raise self.replace(tasks.add.s(1, 2))

    result = outer.delay()
    harness.settle()

    run = harness.run_of(result)
    assert harness.run_of(outer) == harness.run_of(tasks.add) == run
    assert (run.task, run.tasks, run.result) == ("shop.add", ["shop.outer", "shop.add"], 3)


def test_a_performed_run_knows_its_arguments(harness, tasks):
    run = harness.perform(tasks.add.s(1, y=2))

    assert (run.args, run.kwargs) == ((1,), {"y": 2})
    with pytest.raises(AssertionError, match=r"shop\.add\(1, y=2\) "):
        harness.assert_failed(run)


@memory_only
def test_a_run_that_is_not_there_before_anything_was_driven(harness, tasks):
    tasks.noop.delay()

    with pytest.raises(NoSuchRun, match=r"nothing has been driven yet: call harness\.drain\(\) or harness\.settle\(\)"):
        harness.run_of(tasks.add)
    harness.settle()
    with pytest.raises(NoSuchRun) as caught:
        harness.run_of(tasks.add)
    assert "driven" not in str(caught.value)


def test_performing_a_canvas_is_refused(harness, tasks):
    with pytest.raises(TypeError, match=r"perform\(\) runs one task; given: a chain"):
        harness.perform(tasks.add.s(1, 2) | tasks.add.s(3))
