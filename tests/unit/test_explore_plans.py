"""The names of plans, and which of them a test has asked for."""

from __future__ import annotations

import pytest

from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.explore.plans import AGAIN, ONCE, Plan, Selection, ordinal, together


@pytest.mark.parametrize(
    "name",
    [
        "once",
        "again",
        "together:2",
        "together:2,3",
        "together:2,3,10",
        "crash:node@before_ack",
        "crash:child@in_body:24",
        "crash:node@in_body:helpers.py:31#2",
    ],
)
def test_the_name_of_a_plan_can_be_read_back(name):
    assert str(Plan.parse(name, origin="plans=")) == name


@pytest.mark.parametrize("name", ["", "twice", "together", "together:0", "together:2,", "once:1", "crash", "crash:"])
def test_what_is_no_plan_is_refused(name):
    with pytest.raises(ConfigurationError, match="is no plan"):
        Plan.parse(name, origin="plans=")


def test_the_refusal_says_who_asked_and_what_there_is():
    with pytest.raises(ConfigurationError) as caught:
        Plan.parse("agian", origin="--taskharness-plan")
    assert str(caught.value) == (
        "'agian' (from --taskharness-plan) is no plan. Did you mean 'again'? Groups: all, sequence, crashes, together; "
        "plans: once, again, crash:node@before_ack, crash:child@in_body:24, together:2,3, …"
    )


def test_a_crash_at_an_unknown_window_is_refused_by_the_window():
    with pytest.raises(ConfigurationError, match="'before_akc' is no window. Did you mean 'before_ack'"):
        Plan.parse("crash:node@before_akc", origin="plans=")


@pytest.mark.parametrize(
    "plans, kinds",
    [
        ("all", {"once", "again", "crash", "together"}),
        ("sequence", {"once", "again"}),
        ("crashes", {"crash"}),
        ("together", {"together"}),
        (["sequence", "together"], {"once", "again", "together"}),
        (("crash:node@started",), {"crash"}),
    ],
)
def test_a_group_means_the_plans_of_its_kinds(plans, kinds):
    assert Selection.of(plans).all_kinds == kinds


def test_plans_that_are_named_are_not_all_of_their_kind():
    chosen = Selection.of(["again", "together:1,2", "again"])
    assert not chosen.wants("together")
    assert chosen.named == (AGAIN, together((1, 2)))
    assert chosen.named_of("together") == [together((1, 2))]


def test_one_plan_alone():
    assert Selection.only("once", origin="--taskharness-plan").all_kinds == {"once"}
    assert Selection.only("once", origin="--taskharness-plan").named == (ONCE,)


@pytest.mark.parametrize("plans", [[], 3, None, [1]])
def test_plans_that_are_no_names_are_refused(plans):
    with pytest.raises(ConfigurationError, match="plans="):
        Selection.of(plans)


def test_ordinals():
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip
