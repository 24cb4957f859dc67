"""What a message announces and never came: the texts say why."""

from __future__ import annotations

import pytest
from asserting_scenes import charge, failure, log, report, send_email, sync_crm
from celery import chain, chord

from pytest_taskharness.errors import NoSuchRun

HEAD, PART = "1f3c9a7e-0001", "2a4d8b6f-0001"


def link(signature, task_id):
    return {**signature, "options": {"task_id": task_id}}


@pytest.fixture
def broken(scene):
    """A chain whose head failed, as a worker would tell of it."""
    links = [link(log.s(), "c0ffee00-0001"), link(sync_crm.s(), "b0bbie00-0001")]
    scene.publish(charge, 42, 999, id=HEAD, embed={"chain": links})
    scene.fail(ValueError("declined"), id=HEAD)
    scene.event("store", id="b0bbie00-0001", state="FAILURE", error=ValueError("declined"))
    return scene


def text_of_no_run(scene, x):
    with pytest.raises(NoSuchRun) as caught:
        scene.harness.run_of(x)
    return str(caught.value).splitlines()[-1]


def test_run_of_the_next_link(broken):
    assert text_of_no_run(broken, sync_crm) == (
        "hint: shop.tasks.sync_crm never started: the link before it, shop.tasks.charge(42, 999) 1f3c9a7e, "
        "failed at t+0.000s with ValueError: declined"
    )


def test_run_of_a_later_link_by_name_and_by_id(broken):
    wanted = "hint: shop.tasks.log never started: a link before it, shop.tasks.charge(42, 999) 1f3c9a7e, failed"

    assert text_of_no_run(broken, log).startswith(wanted)
    assert text_of_no_run(broken, "c0ffee00-0001").startswith(wanted)


def test_nobody_has_announced_it(broken):
    assert "hint" not in text_of_no_run(broken, report)


def test_a_link_of_which_only_the_backend_knows_has_its_name(broken):
    lines = failure(broken.harness.assert_succeeded, "b0bbie00-0001").splitlines()

    assert lines[0] == "expected shop.tasks.sync_crm(...) b0bbie00 to succeed"
    assert lines[-1].startswith("hint: shop.tasks.sync_crm never started: the link before it")


def test_assert_ran_in_order_says_why_a_link_never_started(broken):
    text = failure(broken.harness.assert_ran_in_order, charge, sync_crm)

    assert "but shop.tasks.sync_crm never started; what started:" in text
    assert text.splitlines()[-1].startswith("hint: shop.tasks.sync_crm never started: the link before it")


@pytest.mark.parametrize(
    "outcome, told",
    [("IGNORED", "was ignored at t+0.000s"), ("REJECTED", "was rejected at t+0.000s")],
)
def test_a_link_before_it_ended_without_a_word(scene, outcome, told):
    scene.publish(charge, 42, 999, id=HEAD, embed={"chain": [sync_crm.s()]}).begin(id=HEAD)
    scene.event("finish", id=HEAD, outcome=outcome)

    assert text_of_no_run(scene, sync_crm).endswith(told)


def test_a_link_before_it_was_revoked(scene):
    scene.publish(charge, 42, 999, id=HEAD, embed={"chain": [sync_crm.s()]})
    scene.event("revoke", id=HEAD, state="REVOKED", after=5)

    assert text_of_no_run(scene, sync_crm).endswith("was revoked at t+5.000s")


def test_a_link_that_can_still_come(scene):
    scene.publish(charge, 42, 999, id=HEAD, embed={"chain": [sync_crm.s()]})

    assert text_of_no_run(scene, sync_crm) == (
        "hint: shop.tasks.sync_crm has not started: the link before it, shop.tasks.charge(42, 999) 1f3c9a7e, "
        "has not ended yet (PENDING): call harness.settle()"
    )


def test_of_a_chord_the_first_part_that_failed_is_named(scene):
    for place, end in enumerate((scene.succeed, scene.fail, scene.fail)):
        task_id = f"{place}{PART}"
        scene.publish(report, id=task_id, group_id="g", embed={"chord": chain(sync_crm.s(), log.s())})
        end(ValueError(f"part {place}"), id=task_id)

    assert text_of_no_run(scene, log) == (
        "hint: shop.tasks.log never started: a part of the chord before it, shop.tasks.report() 12a4d8b6, "
        "failed at t+0.000s with ValueError: part 1"
    )


def test_a_callback_of_what_failed(scene):
    scene.publish(report, id=HEAD, embed={"callbacks": [send_email.si(1, "hi")]}).fail(ValueError("no"), id=HEAD)

    assert "the task that it is a link of, shop.tasks.report() 1f3c9a7e, failed" in text_of_no_run(scene, send_email)


def test_a_hint_of_assert_enqueued_says_it_too(broken):
    assert failure(broken.harness.assert_enqueued, sync_crm.s()).splitlines()[-1].startswith(
        "hint: shop.tasks.sync_crm never started: the link before it"
    )  # fmt: skip


def test_each_attempt_of_a_replaced_run_has_its_own_task(scene):
    scene.publish(charge, 42, 999, id=HEAD)
    scene.event("start", id=HEAD, task=charge).event("finish", id=HEAD, task=charge, outcome="IGNORED")
    scene.publish(sync_crm, 7, id=HEAD)
    scene.event("start", id=HEAD, task=sync_crm).event("finish", id=HEAD, task=sync_crm, outcome="SUCCESS")

    scene.harness.assert_ran_in_order(charge, sync_crm)
    order = failure(scene.harness.assert_ran_in_order, sync_crm, charge)
    states = failure(scene.harness.assert_states, HEAD, ["SUCCESS"])
    failed = failure(scene.harness.assert_failed, HEAD)

    assert "but shop.tasks.charge did not start after shop.tasks.sync_crm" in order
    assert "\n        t+0.000s  shop.tasks.charge(42, 999) 1f3c9a7e\n" in order
    assert "\n    1.  t+0.000s  shop.tasks.sync_crm(7) 1f3c9a7e" in order
    assert "expected shop.tasks.sync_crm(7) 1f3c9a7e" in states
    assert "1  t+0.000s  shop.tasks.charge    IGNORED" in failed
    assert "2  t+0.000s  shop.tasks.sync_crm  SUCCESS" in failed
    assert [str(attempt.task) for attempt in scene.harness.run_of(HEAD).attempts] == [charge.name, sync_crm.name]


# -- many members


def test_of_many_members_those_that_match_are_counted(scene):
    with scene.real_publishing():
        chord([sync_crm.s(number) for number in range(60)], log.s()).apply_async()
    wanted = [sync_crm.s(number if number != 30 else -1) for number in range(60)]

    text = failure(scene.harness.assert_enqueued, chord(wanted, log.s()))

    assert text.count("shop.tasks.sync_crm(") == 20 + 1
    assert "\n      … and 40 more\n" in text
    assert "\n    !   shop.tasks.sync_crm(user_id=30)\n" in text
    assert "\n        … 59 that match\n" in text


def test_of_very_many_that_differ_twenty_are_shown(scene):
    with scene.real_publishing():
        chord([sync_crm.s(number) for number in range(60)], log.s()).apply_async()

    text = failure(scene.harness.assert_enqueued, chord([report.s() for _ in range(60)], log.s()))

    assert "… 40 more that differ" in text
    assert "that match" not in text.replace("none matches", "")


def test_many_members_match_in_any_order_and_wildcards_take_what_is_left(scene):
    with scene.real_publishing():
        chord([sync_crm.s(number) for number in range(60)], log.s()).apply_async()

    wanted = [sync_crm.s(), *(sync_crm.s(number) for number in reversed(range(60)) if number != 7)]
    scene.harness.assert_enqueued(chord(wanted, log.s()))
    scene.harness.assert_enqueued(chord(wanted, log.s()), times=1)
