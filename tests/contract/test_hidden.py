"""What a task hides with ``argsrepr`` or ``kwargsrepr`` stays hidden on every page."""

from __future__ import annotations

import pytest

from pytest_taskharness import Timeline
from pytest_taskharness.errors import UnserializableValue

SECRET = "hunter2"


def everything_shown(harness):
    runs = harness.runs()
    return "\n".join([
        str(harness.timeline), harness.timeline.to_json(), repr(runs), repr(harness.timeline),
        *(str(run.timeline) for run in runs), str(Timeline.from_json(harness.timeline.to_json())),
    ])  # fmt: skip


@pytest.fixture
def pay(app, harness):
    @app.task(bind=True, max_retries=1, name="shop.pay")
    def pay(self, card, *, code=None, fail=False):
        if fail:
            raise self.retry(exc=ValueError("declined"), countdown=5)

    return pay


def test_hidden_arguments_are_shown_nowhere(harness, pay):
    pay.apply_async((SECRET,), {"code": SECRET}, argsrepr="('…',)", kwargsrepr="{…}")
    harness.settle()
    assert SECRET not in everything_shown(harness)
    assert "('…', {…})" in str(harness.timeline)


def test_hidden_arguments_reach_the_body(harness, app):
    @app.task
    def tell(card):
        return len(card)

    assert tell.apply_async((SECRET,), argsrepr="('…',)").get() == len(SECRET)


def test_arguments_stay_hidden_through_retries(harness, pay):
    pay.apply_async((SECRET,), {"code": SECRET, "fail": True}, argsrepr="('…',)", kwargsrepr="{…}")
    harness.settle()
    assert len(harness.run_of(pay).attempts) == 2
    assert SECRET not in everything_shown(harness)


def test_hidden_arguments_of_a_link_are_not_shown_with_its_parent(harness, pay, tasks):
    link = pay.si(SECRET).set(argsrepr="('…',)", kwargsrepr="{}")
    tasks.add.apply_async((1, 2), link=link)
    harness.settle()
    assert SECRET not in everything_shown(harness)


def test_hidden_arguments_of_a_later_link_of_a_chain_are_not_shown(harness, pay, tasks):
    (tasks.add.si(1, 2) | pay.si(SECRET).set(argsrepr="('…',)", kwargsrepr="{}")).delay()
    harness.settle()
    assert SECRET not in everything_shown(harness)


def test_hidden_arguments_of_a_chord_body_are_not_shown(harness, pay, tasks):
    from celery import chord

    chord([tasks.noop.si()])(pay.si(SECRET).set(argsrepr="('…',)", kwargsrepr="{}"))
    harness.settle()
    assert SECRET not in everything_shown(harness)


def test_run_still_has_the_arguments_for_assertions(harness, pay):
    result = pay.apply_async((SECRET,), argsrepr="('…',)", kwargsrepr="{}")
    harness.settle()
    assert harness.run_of(result).args == (SECRET,)


def test_an_unserializable_hidden_argument_is_not_shown_in_the_error(harness, pay):
    class Card:
        def __repr__(self):
            return SECRET

    with pytest.raises(UnserializableValue, match=r"args\[0\]") as caught:
        pay.apply_async((Card(),), argsrepr="('…',)", kwargsrepr="{}")
    assert SECRET not in str(caught.value)


def test_hidden_arguments_of_a_performed_task_are_not_shown(harness, pay):
    run = harness.perform(pay.s(SECRET).set(argsrepr="('…',)", kwargsrepr="{}"))
    assert SECRET not in everything_shown(harness)
    with pytest.raises(AssertionError, match="to fail") as caught:
        harness.assert_failed(run)
    assert SECRET not in str(caught.value) and "shop.pay('…')" in str(caught.value)
