"""A timeline on a page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pytest_taskharness.timeline import CallSite, Timeline, short_id
from pytest_taskharness.timeline.table import FEWEST_TURNS, LONGEST_CYCLE, arguments, call, folded, offset

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


def at(seconds):
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "t+0.000s"), (60, "t+60.000s"), (1.5, "t+1.500s"), (0.000001, "t+0.000001s"), (-2, "t-2.000s")],
)
def test_an_offset_is_whole_milliseconds_unless_it_is_finer(seconds, text):
    assert offset(START, at(seconds)) == text


@pytest.mark.parametrize(
    "argsrepr, kwargsrepr, shown",
    [
        ("()", "{}", ""),
        (None, None, ""),
        ("(1,)", "{}", "1"),
        ("(1, 'a')", "{}", "1, 'a'"),
        ("[1, 2]", "{}", "1, 2"),
        ("()", "{'a': 1}", "{'a': 1}"),
        ("(1,)", "{'a': 1}", "1, {'a': 1}"),
        ("([1, 2],)", "{}", "[1, 2]"),
        ("((1, 2),)", "{}", "(1, 2)"),
        ("([],)", "{}", "[]"),
        ("((1,), [2, (3,)])", "{}", "(1,), [2, (3,)]"),
        ("('a,',)", "{}", "'a,'"),
        ("(***)", "{}", "***"),
        ("<hidden>", "<hidden>", "<hidden>, <hidden>"),
    ],
)
def test_arguments_are_shown_as_in_a_call_and_brackets_stay_whole(argsrepr, kwargsrepr, shown):
    assert arguments({"argsrepr": argsrepr, "kwargsrepr": kwargsrepr}) == shown


def test_a_call_is_the_task_with_its_arguments():
    timeline = Timeline(START)
    event = timeline.record("publish", START, task="shop.charge", id="1", argsrepr="(42,)", kwargsrepr="{'amount': 9}")

    assert call(event) == "shop.charge(42, {'amount': 9})"


def test_an_id_is_eight_characters_on_a_page():
    assert (short_id("0123456789"), short_id("12"), short_id(None)) == ("01234567", "12", "")


def test_every_kind_of_event_has_its_line():
    timeline = Timeline(START)
    task = {"task": "shop.charge", "id": "1f3c9a7e-0000"}
    error = ValueError("no")
    site = CallSite("shop/views.py", 9, "buy")
    timeline.record("publish", at(0), **task, argsrepr="(42,)", kwargsrepr="{}", queue="celery", call_site=site)
    timeline.record("deliver", at(0), **task, worker="w", queue="celery")
    timeline.record("receive", at(0), **task, worker="w", note="")
    timeline.record("start", at(0), **task, worker="w")
    timeline.record("store", at(0), **task, state="PROGRESS", meta={"n": 1})
    timeline.record("publish", at(0), **task, argsrepr="(42,)", queue="celery", retries=1, eta=at(60))
    timeline.record("retry", at(0), **task, worker="w", outcome="RETRY", error=error)
    timeline.record("ack", at(0), **task, worker="w")
    timeline.record("clock jump", at(60), to=at(60))
    timeline.record("deliver", at(60), **task, worker="w", queue="celery", redelivered=True)
    timeline.record("finish", at(60), **task, worker="w", outcome="SUCCESS")
    timeline.record("reject", at(60), **task, worker="w", requeue=True)
    timeline.record("reject", at(60), **task, worker="w", requeue=False)
    timeline.record("revoke", at(60), **task, note="expired")
    timeline.record("fault", at(60), worker="w", note="killed")

    assert str(timeline).splitlines() == [
        "t+0.000s   publish     shop.charge 1f3c9a7e  (42) queue='celery' at shop/views.py:9 in buy",
        "t+0.000s   deliver     shop.charge 1f3c9a7e  on w from 'celery'",
        "t+0.000s   receive     shop.charge 1f3c9a7e  on w",
        "t+0.000s   start       shop.charge 1f3c9a7e  on w",
        "t+0.000s   store       shop.charge 1f3c9a7e  PROGRESS {'n': 1}",
        "t+0.000s   publish     shop.charge 1f3c9a7e  (42) queue='celery' retry 1 eta t+60.000s",
        "t+0.000s   retry       shop.charge 1f3c9a7e  on w RETRY ValueError('no')",
        "t+0.000s   ack         shop.charge 1f3c9a7e  on w",
        "t+60.000s  clock jump                        to t+60.000s",
        "t+60.000s  deliver     shop.charge 1f3c9a7e  on w from 'celery' redelivered",
        "t+60.000s  finish      shop.charge 1f3c9a7e  on w SUCCESS",
        "t+60.000s  reject      shop.charge 1f3c9a7e  on w requeued",
        "t+60.000s  reject      shop.charge 1f3c9a7e  on w dropped",
        "t+60.000s  revoke      shop.charge 1f3c9a7e  expired",
        "t+60.000s  fault                             on w killed",
    ]


def test_each_event_is_one_line_whatever_its_error_says():
    timeline = Timeline(START)
    error = type("Multiline", (Exception,), {"__repr__": lambda self: "first\nsecond"})()
    timeline.record("finish", START, task="a", id="1", outcome="FAILURE", error=error)
    timeline.record("store", START, task="a", id="1", state="X", meta=error)

    assert len(str(timeline).splitlines()) == 2


def test_an_empty_timeline_is_an_empty_table():
    timeline = Timeline(START)

    assert (str(timeline), len(timeline)) == ("", 0)
    assert repr(timeline) == "<Timeline of 0 events from 2030-01-01T00:00:00+00:00>"


def test_keyword_arguments_are_shown_as_they_are_written():
    timeline = Timeline(at(0))
    timeline.record("publish", at(0), task="shop.add", id="1", argsrepr="(1,)", kwargsrepr="{'b': 2}", kwargs={"b": 2})

    assert "(1, b=2)" in str(timeline)


@pytest.mark.parametrize("priority, shown", [(9, "'mail' priority 9"), (0, "'mail' priority 0"), (None, "'mail'")])
def test_a_priority_is_shown(priority, shown):
    timeline = Timeline(at(0))
    timeline.record("publish", at(0), task="shop.add", id="1", argsrepr="()", queue="mail", priority=priority)

    assert str(timeline).endswith(shown)


def test_hidden_keyword_arguments_stay_what_the_publisher_wrote():
    timeline = Timeline(at(0))
    detail = {"argsrepr": "(***)", "kwargsrepr": "{***}", "kwargs": {"b": "secret"}, "hidden": True}
    timeline.record("publish", at(0), task="shop.add", id="1", **detail)

    assert "(***, {***})" in str(timeline)


def turns(count, *lines):
    """These lines again and again, each time at another instant."""
    return [f"t+{turn}.000s {line}" for turn in range(count) for line in lines]


def test_what_comes_again_and_again_is_told_once():
    lines = ["t+0.000s publish", *turns(1438, "restore", "deliver"), "t+9.000s start"]
    assert folded(lines) == [
        "t+0.000s publish",
        "t+0.000s restore",
        "t+0.000s deliver",
        "… these 2 lines 1,436 more times",
        "t+1437.000s restore",
        "t+1437.000s deliver",
        "t+9.000s start",
    ]


def test_one_line_that_comes_again_and_again():
    assert folded(turns(10, "tick")) == ["t+0.000s tick", "… this line 8 more times", "t+9.000s tick"]


def test_a_cycle_that_breaks_off_is_shown_to_where_it_does():
    lines = [*turns(20, "restore", "deliver"), "t+20.000s restore", "t+20.000s ack"]
    assert folded(lines)[-3:] == ["t+19.000s deliver", "t+20.000s restore", "t+20.000s ack"]


@pytest.mark.parametrize("lines", [
    [],
    turns(FEWEST_TURNS - 1, "restore", "deliver"),
    turns(FEWEST_TURNS, *map(str, range(LONGEST_CYCLE + 1))),
    [f"t+{number}.000s publish shop.charge {number}" for number in range(50)],
])  # fmt: skip
def test_what_comes_seldom_or_differs_is_left_as_it_is(lines):
    assert folded(lines) == lines
