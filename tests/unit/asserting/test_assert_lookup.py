"""`run_of` and `runs`."""

from __future__ import annotations

from textwrap import dedent

import pytest
from asserting_scenes import Scene, alert, app, charge, group_result, report, send_email, sync_crm

from pytest_taskharness.errors import AmbiguousRun, NoSuchRun


def scene_of_three():
    scene = Scene().publish(charge, 42, 999, id="a0000000-1").publish(charge, 43, 1, id="b0000000-2", after=1)
    return scene.publish(report, id="c0000000-3", after=2).succeed(id="b0000000-2", after=3)


@pytest.mark.parametrize(
    "x",
    [
        report,
        "shop.tasks.report",
        "c0000000-3",
        app.AsyncResult("c0000000-3"),
        report.s(),
        group_result("c0000000-3"),
        scene_of_three().harness.run_of(report),
        scene_of_three().timeline.messages()[-1],
        scene_of_three().timeline.messages()[-1].task,
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_run_has_many_names(x):
    assert scene_of_three().harness.run_of(x).id == "c0000000-3"


def test_a_signature_means_the_runs_of_what_matches_it():
    assert scene_of_three().harness.run_of(charge.s(43)).id == "b0000000-2"


def test_runs_lists_all_or_those_of_one():
    harness = scene_of_three().harness

    assert [run.id[0] for run in harness.runs()] == ["a", "b", "c"]
    assert [run.id[0] for run in harness.runs(charge)] == ["a", "b"]
    assert [run.id[0] for run in harness.runs(charge.s(43))] == ["b"]
    assert harness.runs(sync_crm) == harness.runs("nope") == harness.runs(app.AsyncResult("nope")) == []


def test_an_inline_errback_has_a_run():
    scene = scene_of_three().event("callback", id="d", task=alert, state="SUCCESS", parent_id="a0000000-1")

    assert scene.harness.run_of(alert).inline


def test_a_body_that_apply_has_run_is_no_run():
    with pytest.raises(NoSuchRun) as caught:
        scene_of_three().harness.run_of(sync_crm.apply((7,)))

    assert str(caught.value).splitlines()[-1] == (
        "hint: apply() has run the body at once, without a message and a worker: use harness.perform(task.s(…))"
    )


def test_several_runs_are_all_listed():
    with pytest.raises(AmbiguousRun) as caught:
        scene_of_three().harness.run_of(charge)

    assert str(caught.value) == dedent("""\
        2 runs of shop.tasks.charge, which one is meant?
            shop.tasks.charge(42, 999) a0000000  PENDING  t+0.000s
            shop.tasks.charge(43, 1) b0000000    SUCCESS  t+1.000s
        hint: give the result or the id of one, or loop over runs()""")


def test_no_run_lists_the_nearest_first():
    with pytest.raises(NoSuchRun) as caught:
        scene_of_three().harness.run_of("shop.tasks.reprot")

    assert str(caught.value) == dedent("""\
        no run of shop.tasks.reprot; there are 3 runs, nearest first:
            shop.tasks.report() c0000000         PENDING  t+2.000s
            shop.tasks.charge(42, 999) a0000000  PENDING  t+0.000s
            shop.tasks.charge(43, 1) b0000000    SUCCESS  t+1.000s""")


@pytest.mark.parametrize(
    "x, name",
    [
        (sync_crm, "shop.tasks.sync_crm"),
        (app.AsyncResult("nope"), "nope"),
        (sync_crm.s(7), "shop.tasks.sync_crm(user_id=7)"),
        (group_result(), "group-1"),
    ],
    ids=["task", "result", "signature", "group"],
)
def test_no_run_at_all(x, name):
    with pytest.raises(NoSuchRun) as caught:
        Scene().harness.run_of(x)

    assert str(caught.value) == f"no run of {name}: nothing has been published or run"


def test_a_run_of_one_timeline_is_not_looked_for_in_another():
    run = scene_of_three().harness.run_of(report)

    assert Scene().harness.run_of(run) is run


def test_a_message_of_another_timeline_has_no_run_here():
    [message] = Scene().publish(report).timeline.messages()

    with pytest.raises(NoSuchRun, match=r"^no run of shop\.tasks\.report 1f3c9a7e-0001: nothing has been published"):
        Scene().harness.run_of(message)


def test_one_run_is_singular():
    with pytest.raises(NoSuchRun, match="there is 1 run, nearest first"):
        Scene().publish(report).harness.run_of(sync_crm)


def test_a_signature_that_matches_a_hidden_value_is_not_quoted():
    scene = Scene()
    for number in range(2):
        scene.publish(send_email, 7, "s3cret", id=str(number), argsrepr="(7, '***')", hidden=True)

    with pytest.raises(AmbiguousRun) as caught:
        scene.harness.run_of(send_email.s(7, "s3cret"))

    assert "s3cret" not in str(caught.value)


def test_what_means_no_run_is_refused():
    with pytest.raises(TypeError, match="expected a run, a task, a task's name, a result or an id; got 42"):
        Scene().harness.runs(42)
