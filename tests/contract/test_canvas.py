"""Groups, chains and chords."""

from __future__ import annotations

import warnings

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import GroupResult
from scenario import passed


def test_group_gives_results_in_order(harness, tasks):
    result = group(tasks.add.s(i, i) for i in range(4)).delay()
    assert result.get(timeout=5) == [0, 2, 4, 6]
    assert result.successful()
    assert result.completed_count() == 4


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_group_result_can_be_waited_for_in_each_way(harness, tasks, method):
    result = group(tasks.add.s(i, 1) for i in range(3)).apply_async()
    assert getattr(result, method)(timeout=5) == [1, 2, 3]


@pytest.mark.parametrize("method", ["get", "join", "join_native"])
def test_group_result_raises_the_first_error(harness, tasks, method):
    result = group(tasks.add.s(1, 1), tasks.boom.s()).apply_async()
    with pytest.raises(RuntimeError, match="boom"):
        getattr(result, method)(timeout=5)


def test_group_result_without_propagate_has_errors_in_their_places(harness, tasks):
    result = group(tasks.add.s(1, 1), tasks.boom.s(), tasks.add.s(2, 2)).apply_async()
    values = result.get(propagate=False)
    assert (values[0], values[2]) == (2, 4)
    assert isinstance(values[1], RuntimeError)
    assert result.failed()


def test_group_result_iterates_over_its_results(harness, tasks):
    result = group(tasks.add.s(i, 1) for i in range(3)).delay()
    assert sorted(value["result"] for _, value in result.iter_native()) == [1, 2, 3]
    assert [one.get() for one in result] == [1, 2, 3]


def test_group_polled_until_ready(harness, tasks):
    result = group(tasks.add.s(i, 1).set(countdown=i) for i in range(3)).delay()
    while not result.ready():
        pass
    assert result.get() == [1, 2, 3]
    assert passed(harness) == 2


def test_group_result_can_be_saved_and_restored(harness, tasks, app):
    result = group(tasks.add.s(i, 1) for i in range(3)).delay()
    result.save()
    assert GroupResult.restore(result.id, app=app).get() == [1, 2, 3]


def test_empty_group_is_done_at_once(harness, tasks):
    assert group([]).delay().get(timeout=1) == []


def test_group_members_know_their_group(harness, app):
    @app.task(bind=True)
    def place(self):
        return [self.request.group, self.request.group_index]

    result = group(place.s(), place.s()).delay()
    assert result.get() == [[result.id, 0], [result.id, 1]]


def test_chain_hands_each_result_to_the_next(harness, tasks):
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).delay()
    assert result.get(timeout=5) == 10
    assert result.parent.get() == 6
    assert result.parent.parent.get() == 3


def test_pipe_operator_is_a_chain(harness, tasks):
    assert (tasks.add.s(1, 2) | tasks.add.s(3)).delay().get() == 6


def test_immutable_link_of_a_chain_ignores_the_result_before(harness, tasks):
    assert (tasks.add.s(1, 2) | tasks.add.si(10, 10)).delay().get() == 20


def test_links_of_a_chain_descend_from_one_another(harness, tasks):
    result = (tasks.add.s(1, 2) | tasks.add.s(3) | tasks.add.s(4)).delay()
    result.get()
    last, middle, first = (harness.run_of(each) for each in (result, result.parent, result.parent.parent))
    assert (last.parent, middle.parent, first.parent) == (middle, first, None)


def test_failure_in_the_middle_of_a_chain_marks_the_rest(harness, tasks):
    result = (tasks.add.s(1, 2) | tasks.boom.s() | tasks.add.s(3) | tasks.add.s(4)).delay()
    with pytest.raises(RuntimeError, match="boom"):
        result.get(timeout=5)
    states = [result.state, result.parent.state, result.parent.parent.state, result.parent.parent.parent.state]
    assert states == ["FAILURE", "FAILURE", "FAILURE", "SUCCESS"]
    assert [run.task for run in harness.runs()] == ["shop.add", "shop.boom"]


def test_countdown_in_a_chain_counts_from_the_link_before(harness, tasks):
    result = (tasks.add.s(1, 2).set(countdown=10) | tasks.add.s(3).set(countdown=20)).delay()
    assert result.get() == 6
    assert passed(harness) == 30


def test_chord_gives_the_header_to_the_body(harness, tasks):
    result = chord([tasks.add.s(i, i) for i in range(5)])(tasks.total.s())
    assert result.get(timeout=5) == 20


def test_chord_of_fifty_parts(harness, tasks):
    result = chord([tasks.add.s(i, 0) for i in range(50)])(tasks.total.s())
    assert result.get(timeout=5) == sum(range(50))
    assert len(harness.runs(tasks.total)) == 1


def test_chord_by_apply_async_with_a_countdown(harness, tasks):
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()).apply_async(countdown=30)
    assert result.get() == 6
    assert passed(harness) >= 30


def test_group_piped_into_a_task_is_a_chord(harness, tasks):
    result = (group(tasks.add.s(1, 1), tasks.add.s(2, 2)) | tasks.total.s()).delay()
    assert result.get(timeout=5) == 6


def test_chord_with_a_single_task_in_its_header(harness, tasks):
    assert chord([tasks.add.s(1, 2)])(tasks.total.s()).get(timeout=5) == 3


def test_single_task_group_piped_into_a_task_still_gives_a_list(harness, tasks):
    assert (group([tasks.add.s(1, 2)]) | tasks.total.s()).delay().get(timeout=5) == 3


def test_empty_chord_runs_its_body_with_an_empty_list(harness, tasks):
    assert chord([])(tasks.total.s()).get(timeout=5) == 0


def test_chord_header_order_is_kept_whatever_order_it_runs_in(harness, tasks):
    header = [tasks.add.s(i, 0).set(countdown=10 - i) for i in range(5)]
    assert chord(header)(tasks.echo.s()).get() == [[[0, 1, 2, 3, 4]], {}]


def test_chord_body_waits_for_retried_parts(harness, app, tasks):
    @app.task(bind=True)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(countdown=60)
        return 5

    assert chord([tasks.add.s(1, 1), flaky.s()])(tasks.total.s()).get() == 7
    assert passed(harness) == 120


def test_error_in_a_chord_header_is_a_chord_error_of_the_body(harness, app, tasks):
    result = chord([tasks.add.s(1, 1), tasks.boom.s()])(tasks.total.s())
    with pytest.raises(ChordError, match=r"Dependency .* raised RuntimeError\('boom'\)"):
        app.AsyncResult(result.id).get(timeout=5)
    assert result.state == "FAILURE"
    assert tasks.total.name not in [message.task for message in harness.outbox]


def test_get_of_a_chord_raises_the_error_of_its_header_as_the_parent_did(harness, tasks):
    result = chord([tasks.add.s(1, 1), tasks.boom.s()])(tasks.total.s())
    with pytest.raises(RuntimeError, match="boom"):
        result.get(timeout=5)


def test_error_in_a_chord_header_calls_the_errbacks_of_the_body(harness, app, tasks):
    seen = []

    @app.task
    def alert(request, exc, traceback):
        seen.append((request.id, str(exc)))

    body = tasks.total.s().on_error(alert.s())
    result = chord([tasks.add.s(1, 1), tasks.boom.s()])(body)
    result.get(propagate=False)
    harness.settle()
    assert [task_id for task_id, _ in seen] == [result.id]
    assert "boom" in seen[0][1]


def test_chord_inside_a_chain(harness, tasks):
    flow = tasks.add.s(1, 1) | group(tasks.add.s(10), tasks.add.s(20)) | tasks.total.s() | tasks.add.s(100)
    assert flow.delay().get(timeout=5) == 134


def test_chord_of_chords(harness, tasks):
    inner = [chord([tasks.add.s(i, 1), tasks.add.s(i, 2)], tasks.total.s()) for i in range(3)]
    assert chord(inner)(tasks.total.s()).get(timeout=5) == sum(2 * i + 3 for i in range(3))


def test_chord_with_groups_in_its_header(harness, tasks):
    # Celery unrolls the inner group, in an order of its own.
    header = [group(tasks.add.s(1, 1), tasks.add.s(2, 2)), tasks.add.s(3, 3)]
    [[numbers], _] = chord(header)(tasks.echo.s()).get(timeout=5)
    assert sorted(numbers) == [2, 4, 6]


def test_chord_with_chains_in_its_header(harness, tasks):
    header = [tasks.add.s(i, 1) | tasks.add.s(10) for i in range(3)]
    assert chord(header)(tasks.total.s()).get(timeout=5) == 36


def test_chord_whose_body_is_a_chain(harness, tasks):
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s() | tasks.add.s(100))
    assert result.get(timeout=5) == 106


def test_chord_whose_body_is_a_group(harness, tasks):
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(group(tasks.total.s(), tasks.total.s()))
    assert result.get(timeout=5) == [6, 6]


def test_group_after_group_in_a_chain(harness, tasks):
    flow = group(tasks.add.s(1, 1), tasks.add.s(2, 2)) | group(tasks.total.s(), tasks.total.s()) | tasks.total.s()
    assert flow.delay().get(timeout=5) == 12


def test_map_starmap_and_chunks(harness, tasks):
    assert tasks.total.map([[1, 2], [3, 4]]).delay().get(timeout=5) == [3, 7]
    assert tasks.add.starmap([[1, 2], [3, 4]]).delay().get(timeout=5) == [3, 7]
    assert tasks.add.chunks([[i, i] for i in range(4)], 2).group()().get(timeout=5) == [[0, 2], [4, 6]]


def test_links_run_with_the_result(harness, tasks):
    result = tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    assert result.get() == 3
    harness.settle()
    linked = [run for run in harness.runs(tasks.add) if run.id != result.id]
    assert [(run.args, run.result) for run in linked] == [((3, 10), 13)]


def test_several_links_all_run(harness, tasks):
    tasks.add.apply_async((1, 2), link=[tasks.add.s(10), tasks.add.s(20)])
    harness.settle()
    assert sorted(run.result for run in harness.runs(tasks.add)) == [3, 13, 23]


def test_links_do_not_run_after_a_failure(harness, tasks):
    tasks.boom.apply_async(link=tasks.noop.si())
    harness.settle()
    assert harness.runs(tasks.noop) == []


def test_new_style_errback_runs_inline_in_the_worker(harness, app, tasks):
    seen = []

    @app.task
    def alert(request, exc, traceback):
        seen.append((request.id, repr(exc)))

    result = tasks.boom.apply_async(link_error=alert.s())
    harness.settle()
    assert seen == [(result.id, "RuntimeError('boom')")]
    run = harness.run_of(alert)
    assert run.inline and run.state == "SUCCESS"
    assert [message.task for message in harness.outbox] == ["shop.boom"]


def test_errback_that_raises_is_recorded_and_hurts_nobody(harness, app, tasks):
    @app.task
    def alert(request, exc, traceback):
        raise ValueError("pager is down")

    with warnings.catch_warnings():
        # Before Celery 5.7 it counts as an error of the worker's, and warns.
        warnings.filterwarnings("ignore", "Exception raised outside body", RuntimeWarning)
        result = tasks.boom.apply_async(link_error=alert.s())
        harness.settle()
    assert result.state == "FAILURE"
    run = harness.runs(alert)[0]  # before Celery 5.7, the worker then tries it a second time
    assert (run.state, str(run.error)) == ("FAILURE", "pager is down")
    assert tasks.add.delay(1, 2).get() == 3


def test_old_style_errback_is_published(harness, app, tasks):
    @app.task
    def alert(task_id):
        return task_id

    result = tasks.boom.apply_async(link_error=alert.s())
    harness.settle()
    run = harness.run_of(alert)
    assert not run.inline
    assert run.result == result.id
    assert [message.task for message in harness.outbox] == ["shop.boom", alert.name]


def test_errback_of_a_chain_is_called_for_the_link_that_failed(harness, app, tasks):
    seen = []

    @app.task
    def alert(request, exc, traceback):
        seen.append(request.task)

    flow = tasks.add.s(1, 2) | tasks.boom.s() | tasks.add.s(3)
    flow.apply_async(link_error=alert.s())
    harness.settle()
    assert seen == ["shop.boom"]


def test_replace_hands_the_id_over_to_another_task(harness, app, tasks):
    @app.task(bind=True)
    def outer(self):
        raise self.replace(tasks.add.s(20, 22))

    result = outer.delay()
    assert result.get(timeout=5) == 42
    assert tasks.add.name in {message.task for message in harness.outbox if message.id == result.id}


def test_replace_by_a_chain_in_a_chain(harness, app, tasks):
    @app.task(bind=True)
    def outer(self, number):
        return self.replace(tasks.add.s(number, 1) | tasks.add.s(1))

    assert (tasks.add.s(1, 1) | outer.s() | tasks.add.s(100)).delay().get(timeout=5) == 104


def test_replace_by_a_group_is_a_chord(harness, app, tasks):
    @app.task(bind=True)
    def fan_out(self):
        return self.replace(group(tasks.add.s(1, 1), tasks.add.s(2, 2)) | tasks.total.s())

    assert fan_out.delay().get(timeout=5) == 6


def test_add_to_chord_adds_a_part(harness, app, tasks):
    @app.task(bind=True)
    def more(self):
        self.add_to_chord(tasks.add.s(100, 0))
        return 1

    assert chord([more.s(), tasks.add.s(1, 1)])(tasks.total.s()).get(timeout=5) == 103


def test_nested_delay_of_tasks_makes_a_family(harness, app, tasks):
    @app.task
    def grandparent():
        parent.delay()

    @app.task
    def parent():
        tasks.noop.delay()

    grandparent.delay()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert run.parent == harness.run_of(parent)
    assert run.parent.parent == harness.run_of(grandparent)
    assert run.messages[0].root_id == harness.run_of(grandparent).id
