"""A timeline in a file."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from pytest_taskharness.timeline import CallSite, TaskName, Timeline
from pytest_taskharness.timeline.archive import Recorded

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


def again(timeline):
    return Timeline.from_json(timeline.to_json())


def with_argument(value):
    timeline = Timeline(START)
    timeline.record("publish", START, task="shop.charge", id="1", args=(value,), kwargs={})
    return timeline


@pytest.mark.parametrize(
    "value",
    [
        1, 1.5, True, None, "text", "ünï", [1, [2]], (1, (2,)), {"a": {"b": 1}}, {1: 2}, {(1, 2): 3}, [], (), {},
        START, timedelta(days=1, microseconds=1), CallSite("a.py", 1, "f"), TaskName("shop.charge"),
        {"$tuple": [1]},
    ],
)  # fmt: skip
def test_plain_values_come_back_equal_and_of_the_same_kind(value):
    [back] = again(with_argument(value)).messages()[0].args

    assert back == value
    assert isinstance(back, type(value)) or isinstance(value, str)


@pytest.mark.parametrize(
    "value", [Decimal("1.5"), UUID(int=1), {1, 2}, b"bytes", date(2030, 1, 1), 1j, range(3), object, float]
)
def test_a_value_that_json_has_no_form_for_comes_back_as_its_repr(value):
    [back] = again(with_argument(value)).messages()[0].args

    assert isinstance(back, Recorded)
    assert repr(back) == repr(value)
    assert back == value
    assert hash(back) == hash(repr(value))


def test_an_error_comes_back_as_its_name_and_message():
    timeline = Timeline(START)
    timeline.record("finish", START, task="a", id="1", outcome="FAILURE", state="FAILURE", error=KeyError("k"))

    error = again(timeline).run("1").error

    assert isinstance(error, Exception)
    assert repr(error) == "KeyError(\"'k'\")"


def test_everything_that_a_live_timeline_can_do_works_on_one_from_a_file():
    timeline = with_argument(42)
    timeline.record("deliver", START, task="shop.charge", id="1", worker="w", queue="celery")
    timeline.record("start", START, task="shop.charge", id="1", worker="w")
    timeline.record(
        "finish",
        START + timedelta(seconds=1),
        task="shop.charge",
        id="1",
        worker="w",
        outcome="SUCCESS",
        state="SUCCESS",
    )
    timeline.record("store", START + timedelta(seconds=1), task="shop.charge", id="1", state="SUCCESS", result=7)
    back = again(timeline)

    run = back.run("1")
    assert (run.states, run.result, run.worker) == (["PENDING", "STARTED", "SUCCESS"], 7, "w")
    assert (str(back), back.start, back.tally) == (str(timeline), timeline.start, timeline.tally)
    assert back.to_json() == timeline.to_json()


def test_the_same_events_give_the_same_bytes():
    assert with_argument({"b": 1, "a": 2}).to_json() == with_argument({"b": 1, "a": 2}).to_json()


def test_hidden_arguments_are_not_in_the_file():
    timeline = Timeline(START)
    timeline.record(
        "publish", START, task="a", id="1", args=("hunter2",), kwargs={"password": "hunter2"}, hidden=True,
        argsrepr="(***)", kwargsrepr="{***}", embed={"chain": ["hunter2"]},
    )  # fmt: skip

    assert "hunter2" not in timeline.to_json()
    assert repr(again(timeline).messages()[0].args) == "((***),)"


@pytest.mark.parametrize(
    "text, found",
    [("{}", "None"), ("[]", "'list'"), ('{"version": 99}', "99"), ('"a"', "'str'")],
)
def test_something_else_is_no_timeline(text, found):
    with pytest.raises(
        ValueError, match=rf"^expected a timeline of version 1, as to_json\(\) writes it; found {found}$"
    ):
        Timeline.from_json(text)


def test_what_is_no_json_is_no_timeline():
    with pytest.raises(json.JSONDecodeError):
        Timeline.from_json("no json")
