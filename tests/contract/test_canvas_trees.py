"""Families, replacements and stamps of canvases, and the texts of those that break."""

from __future__ import annotations

import re

import pytest
from celery import chain, chord, group
from celery.canvas import StampingVisitor
from scenario import eager_only

from pytest_taskharness.asserting import exactly
from pytest_taskharness.errors import NoSuchRun, RunBudgetExceeded


def failure(function, *args, **kwargs):
    with pytest.raises((AssertionError, NoSuchRun)) as caught:
        function(*args, **kwargs)
    return re.sub(r"\b[0-9a-f]{8}\b", "<id>", str(caught.value))


@pytest.fixture
def replaced(app, tasks):
    @app.task(bind=True, name="shop.replaced", shared=False)
    def replaced(self, number):
        raise self.replace(chain(tasks.add.s(number, 1), tasks.echo.s()))

    return replaced


# -- families


def test_a_part_of_a_chord_is_the_parent_of_its_body(harness, tasks):
    chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s())
    harness.settle()
    body = harness.run_of(tasks.total)
    assert body.parent in harness.runs(tasks.add)
    assert body.parent.children == [body]


def test_a_replacement_is_the_child_of_the_task_and_has_its_id(harness, tasks, replaced):
    result = replaced.delay(1)
    harness.settle()
    run = harness.run_of(result)
    assert run.tasks == ["shop.replaced", "shop.echo"]
    assert [attempt.task for attempt in run.attempts] == ["shop.replaced", "shop.echo"]
    assert harness.run_of(tasks.add).parent == run
    assert run.children == [harness.run_of(tasks.add)]


def test_a_retry_and_its_children_stay_one_family(harness, app, tasks):
    @app.task(bind=True, shared=False)
    def publish_twice(self):
        tasks.noop.delay()
        if not self.request.retries:
            raise self.retry(countdown=60)

    publish_twice.delay()
    harness.settle()
    parent = harness.run_of(publish_twice)
    assert [run.parent for run in harness.runs(tasks.noop)] == [parent, parent]
    assert parent.children == harness.runs(tasks.noop)


def test_a_replaced_task_runs_in_order_before_what_replaces_it(harness, tasks, replaced):
    replaced.delay(1)
    harness.settle()
    harness.assert_ran_in_order(replaced, tasks.add, tasks.echo)
    text = failure(harness.assert_ran_in_order, tasks.echo, replaced)
    assert "but shop.replaced did not start after shop.echo; what started:" in text
    assert "shop.replaced(1) <id>" in text


# -- what never comes


def test_a_link_after_one_that_failed_never_started(harness, tasks):
    result = chain(tasks.add.s(1, 2), tasks.boom.s(), tasks.echo.s(), tasks.noop.si()).delay()
    harness.settle()
    why = "the link before it, shop.boom(3) <id>, failed at t+0.000s with RuntimeError: boom"
    assert failure(harness.run_of, tasks.echo).endswith(f"hint: shop.echo never started: {why}")
    assert failure(harness.assert_ran_in_order, tasks.add, tasks.echo).endswith(f"shop.echo never started: {why}")
    assert "hint: shop.noop never started: a link before it" in failure(harness.assert_succeeded, result)


def test_the_body_of_a_chord_that_broke_never_started(harness, tasks):
    result = chord([tasks.add.s(1, 1), *(tasks.boom.s(number) for number in range(4))])(tasks.total.s())
    harness.settle()
    why = "shop.total never started: a part of the chord before it, shop.boom(0) <id>, failed at t+0.000s"
    assert why in failure(harness.run_of, tasks.total)
    text = failure(harness.assert_succeeded, result)
    assert text.startswith("expected shop.total(...) <id> to succeed\nbut its state is FAILURE")
    assert why in text
    assert "pytest_taskharness" not in text  # no frame of ours


def test_the_timeline_tells_the_error_of_a_body_that_was_never_published(harness, tasks):
    chord([tasks.boom.s(1)])(tasks.total.s())
    harness.settle()
    assert re.search(r"store +[0-9a-f]{8} .*FAILURE ChordError\(", str(harness.timeline))


def test_a_canvas_that_calls_itself_for_ever_is_over_budget(harness, app, tasks):
    @app.task(bind=True, shared=False)
    def again(self, *args):
        chain(tasks.noop.si(), again.si()).delay()

    with pytest.raises(RunBudgetExceeded):
        again.delay()
        harness.settle(max_runs=100)


# -- stamps


class Red(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"colour": "red", "stamped_headers": ["colour"]}


def stamped(signature, visitor=None, **stamps):
    signature.stamp(visitor, **stamps)
    return signature


def test_stamps_are_part_of_an_expectation(harness, tasks):
    def flow():
        return chain(tasks.add.s(1, 2), group(tasks.echo.s(), tasks.echo.s()), tasks.echo.s())

    stamped(flow(), Red()).delay()
    head = harness.assert_enqueued(stamped(flow(), Red()))
    assert head.headers["stamps"] == {"colour": "red"}
    harness.assert_enqueued(flow())
    text = failure(harness.assert_enqueued, stamped(tasks.add.s(1, 2), colour="blue"))
    assert re.search(r"colour='red'\n +\^ expected 'blue'\n", text)


def test_exactly_asks_for_no_stamps(harness, tasks):
    stamped(tasks.add.s(1, 2), colour="red").delay()
    harness.assert_enqueued(exactly(stamped(tasks.add.s(1, 2), colour="red")))
    assert "^ not expected" in failure(harness.assert_enqueued, exactly(tasks.add.s(1, 2)))


# -- what Celery makes of it


def test_of_three_groups_in_a_row_celery_runs_the_last_one_for_each_member_of_the_second(harness, tasks):
    def flow():
        first, second = group(tasks.add.s(1, 1), tasks.add.s(2, 2)), group(tasks.echo.s(), tasks.echo.s())
        return first | second | group(tasks.noop.si(), tasks.noop.si())

    flow().delay()
    harness.assert_enqueued(flow())
    harness.settle()
    assert [len(run.attempts) for run in harness.runs(tasks.noop)] == [2, 2]
    assert harness.tally.duplicated == harness.runs(tasks.noop)


# -- eager mode


@eager_only
def test_a_long_chain_is_done_when_the_call_returns(harness, tasks):
    result = chain(tasks.add.s(0, 1), *(tasks.add.s(1) for _ in range(99))).delay()
    assert [run.state for run in harness.runs(tasks.add)] == ["SUCCESS"] * 100
    assert result.result == 100


@eager_only
def test_calls_inside_one_another_are_done_when_the_first_returns(harness, app):
    @app.task(shared=False)
    def descend(depth):
        if depth:
            descend.delay(depth - 1)

    descend.delay(40)
    assert [run.state for run in harness.runs(descend)] == ["SUCCESS"] * 41


@eager_only
def test_no_pool_limits_calls_inside_one_another(open_harness, app, tasks):
    @app.task(shared=False)
    def ask():
        return tasks.add.apply((1, 2)).result

    open_harness(config={"worker_concurrency": 1})
    assert ask.delay().result == 3


@eager_only
def test_a_link_runs_after_the_task_before_it_has_ended(harness, tasks):
    chain(tasks.add.s(1, 2), tasks.add.s(3)).delay()
    ends = [(event.kind, event.detail.get("state")) for event in harness.timeline if event.kind in {"start", "finish"}]
    assert ends == [("start", None), ("finish", "SUCCESS")] * 2
