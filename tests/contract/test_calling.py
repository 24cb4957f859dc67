"""Every way to call a task, and every way to wait for it."""

from __future__ import annotations

import time

import pytest
from celery import group
from celery.exceptions import NotRegistered
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult
from scenario import after, eager_only, memory_only, passed

from pytest_taskharness.errors import Deadlock


@pytest.mark.parametrize(
    "call",
    [
        lambda add: add.delay(1, 2),
        lambda add: add.delay(1, y=2),
        lambda add: add.apply_async((1, 2)),
        lambda add: add.apply_async(args=[1], kwargs={"y": 2}),
        lambda add: add.s(1, 2).delay(),
        lambda add: add.s(2).delay(1),
        lambda add: add.si(1, 2).apply_async(),
        lambda add: add.s(1, 2)(),
        lambda add: add.app.send_task("shop.add", (1, 2)),
        lambda add: add.app.send_task("shop.add", kwargs={"x": 1, "y": 2}),
        lambda add: add.app.signature("shop.add", (1, 2)).delay(),
        lambda add: add.s(1, 2).clone().delay(),
        lambda add: add.apply((1, 2)),
        lambda add: add.apply(args=(1,), kwargs={"y": 2}),
        lambda add: add.s(1, 2).apply(),
    ],
    ids=[
        "delay", "delay-kw", "apply_async", "apply_async-kw", "s.delay", "s.delay-partial", "si.apply_async", "s-call",
        "send_task", "send_task-kw", "signature", "clone", "apply", "apply-kw", "s.apply",
    ],
)  # fmt: skip
def test_every_way_to_call_a_task_gives_its_result(harness, tasks, call):
    result = call(tasks.add)
    value = result if isinstance(result, int) else result.get(timeout=10)
    assert value == 3


def test_calling_a_task_as_a_function_is_just_a_function_call(harness, tasks):
    assert tasks.add(1, 2) == 3
    assert len(harness.timeline) == 0


def test_get_without_timeout_drives_the_world(harness, tasks):
    result = tasks.add.delay(1, 2)
    assert result.get() == 3
    assert result.state == "SUCCESS"
    assert result.ready() and result.successful() and not result.failed()


@memory_only
def test_nothing_runs_before_somebody_drives(harness, tasks):
    result = tasks.add.delay(1, 2)
    assert result.state == "PENDING"
    assert not result.ready()
    harness.drain()
    assert result.state == "SUCCESS"


@eager_only
def test_in_eager_mode_the_body_runs_at_the_call(harness, tasks):
    assert tasks.add.delay(1, 2).state == "SUCCESS"


def test_get_raises_what_the_task_raised(harness, tasks):
    result = tasks.boom.delay()
    with pytest.raises(RuntimeError, match="boom"):
        result.get()
    assert result.failed()
    assert "RuntimeError: boom" in result.traceback


def test_get_without_propagate_returns_the_error(harness, tasks):
    error = tasks.boom.delay().get(propagate=False)
    assert isinstance(error, RuntimeError)


def test_result_attributes_come_from_the_backend(harness, tasks):
    result = tasks.add.delay(1, 2)
    assert result.get() == 3
    again = AsyncResult(result.id, app=tasks.add.app)
    assert (again.state, again.result, again.id) == ("SUCCESS", 3, result.id)


def test_forget_makes_a_result_unknown(harness, tasks):
    result = tasks.add.delay(1, 2)
    assert result.get() == 3
    result.forget()
    assert AsyncResult(result.id, app=tasks.add.app).state == "PENDING"


def test_a_task_id_of_the_callers_choice_is_kept(harness, tasks):
    result = tasks.add.apply_async((1, 2), task_id="invoice-7")
    assert result.id == "invoice-7"
    assert harness.settle().counts == {"SUCCESS": 1} or result.ready()
    assert harness.run_of("invoice-7").result == 3


@memory_only
def test_get_timeout_counts_virtual_seconds(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    with pytest.raises(CeleryTimeoutError, match="30 virtual seconds"):
        result.get(timeout=30)
    assert passed(harness) == 30
    assert result.get(timeout=30) == 3
    assert passed(harness) == 60


@memory_only
def test_get_timeout_on_a_lost_result_is_a_deadlock_and_a_timeout(harness, app):
    with pytest.raises(Deadlock) as caught:
        AsyncResult("nobody", app=app).get(timeout=5)
    assert isinstance(caught.value, CeleryTimeoutError)
    assert passed(harness) == 5


def test_ready_in_a_polling_loop_with_sleep_ends(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=10)
    polls = 0
    while not result.ready():
        time.sleep(0.5)
        polls += 1
    assert result.get() == 3
    assert polls == 20
    assert passed(harness) == 10


def test_ready_in_a_polling_loop_without_sleep_ends(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=10)
    polls = 0
    while not result.ready():
        polls += 1
        assert polls < 10_000
    assert result.get() == 3
    assert passed(harness) == 10


def test_state_in_a_polling_loop_without_sleep_ends(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=10)
    while result.state != "SUCCESS":
        pass
    assert passed(harness) == 10


def test_a_polling_loop_with_a_deadline_of_its_own_meets_it(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    deadline = time.time() + 30
    while not result.ready() and time.time() < deadline:
        time.sleep(1)
    assert not result.ready()
    assert passed(harness) == 30


def test_sleep_in_the_test_lets_the_world_move_on(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=10)
    time.sleep(9.999)
    assert not result.ready()
    time.sleep(0.001)
    assert result.ready()
    assert passed(harness) == 10


def test_sleep_zero_in_the_test_drains_what_is_due(harness, tasks):
    result = tasks.add.delay(1, 2)
    time.sleep(0)
    assert result.ready()
    assert passed(harness) == 0


def test_sleep_in_a_body_moves_the_clock(harness, app):
    @app.task
    def slow():
        time.sleep(10)
        return time.time()

    before = time.time()
    assert slow.delay().get(timeout=20) == before + 10
    assert harness.run_of(slow).elapsed.total_seconds() == 10


def test_an_unregistered_task_is_explained_by_the_nearest_name(harness, app, tasks):
    app.send_task("shop.ad", (1, 2))
    harness.settle()
    with pytest.raises(
        AssertionError, match="hint: no task 'shop.ad' is registered on app 'shop'; did you mean 'shop.add'?"
    ):
        harness.assert_succeeded("shop.ad")


def test_unregistered_task_by_send_task_fails_with_not_registered(harness, app):
    result = app.send_task("shop.nowhere", (1,))
    with pytest.raises(NotRegistered, match="nowhere"):
        result.get(timeout=5)


def test_arguments_that_do_not_fit_are_refused_at_the_call(harness, tasks):
    with pytest.raises(TypeError):
        tasks.add.delay(1)
    assert harness.outbox == []


def test_apply_checks_arguments_at_the_call_too(harness, tasks):
    with pytest.raises(TypeError):
        result = tasks.add.apply((1,))
        result.get()


def test_collect_walks_the_children(harness, app):
    @app.task
    def leaf(number):
        return number

    @app.task
    def tree():
        return [leaf.delay(number) for number in range(2)] and "root"

    result = tree.delay()
    assert result.get() == "root"
    harness.settle()
    assert [value for _, value in result.collect()] == ["root", 0, 1]


def test_children_of_a_result_are_those_that_its_body_called(harness, app, tasks):
    @app.task
    def parent():
        tasks.add.delay(1, 1)
        tasks.add.delay(2, 2)

    result = parent.delay()
    result.get()
    harness.settle()
    assert [child.get() for child in result.children] == [2, 4]
    run = harness.run_of(parent)
    assert [child.args for child in run.children] == [(1, 1), (2, 2)]
    assert all(child.parent == run for child in run.children)


def test_then_is_called_with_the_result(harness, tasks):
    seen = []
    result = tasks.add.delay(1, 2)
    result.get(callback=lambda task_id, value: seen.append((task_id, value)))
    assert seen == [(result.id, 3)]


def test_get_calls_on_interval_while_it_waits(harness, tasks):
    calls = []
    result = tasks.add.apply_async((1, 2), countdown=10)
    assert result.get(on_interval=lambda: calls.append(1)) == 3
    assert calls


@pytest.fixture
def halting(app):
    @app.task(bind=True, shared=False, max_retries=1)
    def halting(self):
        if not self.request.retries:
            raise self.retry(countdown=60)
        for number in range(2):
            self.update_state(state="HALFWAY", meta=number)
        return "done"

    return halting


@pytest.mark.not_in("eager")
def test_get_calls_on_message_with_each_state_at_its_instant(harness, halting):
    heard = []
    result = halting.delay()
    assert result.get(on_message=lambda meta: heard.append((meta["status"], meta["result"], passed(harness)))) == "done"

    assert (heard[0][0], heard[0][2]) == ("RETRY", 0)
    assert heard[1:] == [("HALFWAY", 0, 60), ("HALFWAY", 1, 60), ("SUCCESS", "done", 60)]


def test_on_message_of_what_is_there_already_hears_the_end(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    heard = []
    assert result.get(on_message=heard.append) == 3
    assert [(meta["task_id"], meta["result"]) for meta in heard] == [(result.id, 3)]


@pytest.mark.not_in("eager")
def test_on_message_of_a_group_hears_all_its_parts_and_nobody_else(harness, tasks, halting):
    heard = []
    tasks.add.delay(5, 5)
    assert group(halting.s(), tasks.add.s(1, 2))().get(on_message=heard.append) == ["done", 3]
    assert [meta["status"] for meta in heard] == ["RETRY", "SUCCESS", "HALFWAY", "HALFWAY", "SUCCESS"]


def test_on_message_hears_of_a_failure_before_it_is_raised(harness, tasks):
    heard = []
    with pytest.raises(RuntimeError, match="boom"):
        tasks.boom.delay().get(on_message=heard.append)
    assert [meta["status"] for meta in heard] == ["FAILURE"]
    assert isinstance(heard[0]["result"], RuntimeError)


@pytest.mark.not_in("eager")
def test_what_on_message_raises_reaches_the_test(harness, tasks):
    def refuse(meta):
        raise RuntimeError(meta["status"])

    result = tasks.add.delay(1, 2)
    with pytest.raises(RuntimeError, match="SUCCESS"):
        result.get(on_message=refuse)
    assert result.get() == 3


def test_with_a_result_in_hand_wait_is_get(harness, tasks):
    assert tasks.add.delay(1, 2).wait(timeout=10, interval=0.1) == 3


def test_advancing_runs_each_item_at_its_own_instant(harness, app):
    moments = []

    @app.task
    def note():
        moments.append(harness.clock.now)

    for delay in (30, 10, 20):
        note.apply_async(countdown=delay)
    harness.clock.advance(seconds=25)
    assert moments == [after(seconds=10), after(seconds=20)]
    harness.clock.advance(seconds=5)
    assert moments[2:] == [after(seconds=30)]


def test_step_takes_exactly_one_step(open_harness, tasks):
    harness = open_harness(mode="memory")
    first, second = tasks.add.delay(1, 1), tasks.add.delay(2, 2)
    assert harness.step().id == first.id
    assert not second.ready()
    assert harness.step().id == second.id
    assert harness.step() is None


def test_the_backend_keeps_every_transition(harness, app):
    @app.task(bind=True, shared=False)
    def steps(self):
        self.update_state(state="HALFWAY", meta={"done": 1})
        return 2

    result = steps.delay()
    result.get()

    stored = [event.detail for event in harness.timeline.of(result.id) if event.kind == "store"]
    assert [(each["state"], each.get("meta", each.get("result"))) for each in stored] == [
        ("HALFWAY", {"done": 1}),
        ("SUCCESS", 2),
    ]
