"""Two apps, two harnesses, one process, one clock."""

from __future__ import annotations

import time

import pytest
from celery import Celery, current_app, shared_task
from scenario import after, both_clocks, memory_only, passed

pytestmark = both_clocks


@pytest.fixture
def other():
    return Celery("warehouse", broker="amqp://localhost:1//", set_as_current=False)


@pytest.mark.parametrize("first", [0, 1])
def test_what_one_holds_for_later_is_kept_where_the_other_one_ends(open_harness, tasks, other, first):
    both = [open_harness(other), open_harness()]
    result = tasks.add.apply_async((1, 2), countdown=60)
    if first:
        both = [open_harness(Celery("third", broker="amqp://localhost:1//", set_as_current=False)), *both]
    both[-1 - first].drain()
    both[0].close()
    assert result.get(timeout=100) == 3


def test_the_inner_one_goes_on_where_the_outer_one_is_closed_first(open_harness, tasks, other):
    @other.task(shared=False)
    def pack():
        return "packed"

    shop, warehouse = open_harness(), open_harness(other)
    tasks.add.apply_async((1, 2), countdown=60)
    shop.close()
    result = pack.apply_async(countdown=3600)
    began = time.perf_counter()
    time.sleep(1800)
    assert warehouse.settle().elapsed.total_seconds() == 1800
    assert result.get() == "packed"
    assert time.perf_counter() - began == pytest.approx(3600)
    warehouse.close()
    assert time.perf_counter() - began < 60


def test_two_harnesses_are_isolated(open_harness, tasks, other):
    @other.task(shared=False)
    def pack():
        return "packed"

    with open_harness() as shop, open_harness(other) as warehouse:
        assert tasks.add.delay(1, 2).get() == 3
        assert pack.delay().get() == "packed"
        assert [run.task for run in shop.runs()] == ["shop.add"]
        assert [run.task for run in warehouse.runs()] == [pack.name]


def test_get_in_a_body_is_forbidden_beside_another_harness_too(open_harness, tasks, other):
    @other.task(shared=False)
    def waits():
        return tasks.noop.delay().get()

    with open_harness(), open_harness(other) as warehouse:
        result = waits.delay()
        warehouse.settle()
        warehouse.assert_failed(result, RuntimeError, match="Never call")


def test_two_harnesses_share_the_clock(open_harness, tasks, other):
    with open_harness() as shop, open_harness(other, start=None) as warehouse:
        shop.clock.advance(hours=1)
        assert warehouse.clock.now == shop.clock.now == after(hours=1)


def test_driving_one_drives_the_other_in_order_of_time(open_harness, tasks, other):
    moments = []

    @other.task(shared=False)
    def pack():
        moments.append("warehouse")

    with open_harness() as shop, open_harness(other, start=None):
        pack.apply_async(countdown=10)
        tasks.noop.apply_async(countdown=20)
        shop.clock.advance(seconds=15)
        assert moments == ["warehouse"]
        shop.clock.advance(seconds=5)
        assert shop.run_of(tasks.noop).started_at == after(seconds=20)


def test_a_task_of_one_app_calls_a_task_of_the_other(open_harness, app, other):
    @other.task(shared=False)
    def pack(number):
        return number * 2

    @app.task(shared=False)
    def order():
        return pack.delay(21).id

    with open_harness() as shop, open_harness(other, start=None) as warehouse:
        task_id = order.delay().get()
        assert other.AsyncResult(task_id).get() == 42
        assert [run.task for run in warehouse.runs()] == [pack.name]
        assert [run.task for run in shop.runs()] == [order.name]


def test_a_wait_for_one_app_is_answered_by_the_other(open_harness, app, other):
    @other.task(shared=False)
    def pack():
        time.sleep(3)
        return "packed"

    with open_harness(), open_harness(other, start=None):
        assert pack.apply_async(countdown=30).get(timeout=60) == "packed"


def test_another_current_app_does_not_disturb_the_worker(open_harness, tasks, other):
    with open_harness() as harness:
        other.set_current()
        assert tasks.add.delay(1, 2).get() == 3
        assert harness.run_of(tasks.add).state == "SUCCESS"


def test_current_app_in_a_body_is_the_app_of_the_task(open_harness, app, other):
    @app.task(shared=False)
    def which():
        return current_app.main

    with open_harness():
        other.set_current()
        assert which.delay().get() == "shop"


def test_shared_task_follows_the_innermost_harness(open_harness, app, other):
    with open_harness() as shop:

        @shared_task(name="common.work")
        def work():
            return current_app.main

        assert work.delay().get() == "shop"
        with open_harness(other, start=None) as warehouse:
            assert work.delay().get() == "warehouse"
            assert len(warehouse.runs()) == 1
        assert work.delay().get() == "shop"
        assert len(shop.runs()) == 2


def test_closing_in_the_order_of_opening_works_too(open_harness, tasks, other):
    shop, warehouse = open_harness(), open_harness(other, start=None)
    shop.close()
    assert other.send_task("celery.backend_cleanup").get(timeout=5) is None
    warehouse.close()
    assert passed_real()


def passed_real():
    return time.time() < 1_890_000_000  # 2029: the clock is real again


@memory_only
def test_one_app_can_be_opened_twice_in_a_row_with_nothing_left(open_harness, tasks):
    with open_harness():
        tasks.noop.delay()
    with open_harness() as second:
        assert second.settle().counts == {}
        assert second.outbox == []
        tasks.noop.delay()
        assert second.settle().counts == {"SUCCESS": 1}
        assert passed(second) == 0


def test_a_result_of_an_earlier_harness_is_unknown_to_the_next(open_harness, tasks, app):
    with open_harness():
        result = tasks.add.delay(1, 2)
        assert result.get() == 3
    with open_harness():
        assert app.AsyncResult(result.id).state == "PENDING"
