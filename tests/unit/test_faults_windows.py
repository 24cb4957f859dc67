"""Crash windows, as they are written, and faults, as they contradict one another."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest

from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.faults import CrashWindow, Fault, Luck, Point, Script, crash_windows

WRITTEN = [
    CrashWindow("before_ack"),
    CrashWindow("started", "child"),
    CrashWindow("in_body", line=24),
    CrashWindow("in_body", "child", 24, hit=2),
    CrashWindow("in_body", line=31, file="helpers.py", hit=12),
    CrashWindow("between_callbacks", hit=3),
]


def body(first, second):
    return [
        (each, each)
        for each in (first, second)
    ]  # fmt: skip


@functools.wraps(body)
def decorated(*args):
    return body(*args)


def crash(window, **options):
    return Fault("crash", "shop.work", CrashWindow.parse(window), **options)


def reached(script, window, *, task="shop.work", hit=1, death=None):
    return script.reach(Point(window, task, "id", hit=hit), death=death)


@pytest.mark.parametrize("window", WRITTEN, ids=str)
def test_what_is_written_is_read_back(window):
    assert CrashWindow.parse(str(window)) == window


def test_what_dies_need_not_be_written():
    assert CrashWindow.parse("started", death="child") == CrashWindow("started", "child")
    assert CrashWindow.parse("node@started", death="child") == CrashWindow("started", "node")


def test_a_window_is_the_id_of_a_parameter():
    assert CrashWindow("in_body", line=3).__name__ == "node@in_body:3"


def test_the_windows_of_a_task_are_those_that_can_be():
    windows = crash_windows(SimpleNamespace(run=decorated, acks_late=True))
    first = body.__code__.co_firstlineno
    lines = [window.line for window in windows if window.name == "in_body" and window.death == "node"]
    assert lines == sorted(lines) and set(lines) <= set(range(first + 1, first + 6)) and first + 2 in lines
    names = [str(window) for window in windows if window.name != "in_body"]
    assert names == [
        "node@received",
        "node@started", "child@started",
        "node@after_body", "child@after_body",
        "node@between_callbacks", "child@between_callbacks",
        "node@before_result", "child@before_result",
        "node@before_ack", "child@before_ack",
        "node@after_ack",
    ]  # fmt: skip


def test_an_early_acknowledgement_is_not_the_childs():
    windows = crash_windows(SimpleNamespace(run=body, acks_late=False), lines=False)
    assert "child@before_ack" not in map(str, windows)
    assert crash_windows(SimpleNamespace(run=body, acks_late=True), deaths=["child"], lines=False)[0].name == "started"


@pytest.mark.parametrize("text", ["", "in_body:", "a@b@c", "started#", "in_body:x", "started\n", "@started"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"is no crash window|is no death|needs a line"):
        CrashWindow.parse(text)


# -- scripts


def test_an_empty_script_is_not_armed():
    script = Script()
    assert not script.armed
    with script.watch("shop.work", print):
        assert script.armed
    assert not script.armed
    script.add(crash("started"))
    assert script.armed


def test_a_fault_strikes_the_task_it_is_for_as_often_as_it_says():
    script = Script()
    fault = script.add(crash("started", times=2))
    assert reached(script, "started", task="shop.other") is None
    assert [reached(script, "started") is not None for _ in range(3)] == [True, True, False]
    assert fault.struck == 2 and not fault.is_amiss


def test_only_the_hit_that_was_meant_is_hit():
    script = Script()
    script.add(crash("between_callbacks#2"))
    assert reached(script, "between_callbacks") is None
    assert reached(script, "between_callbacks", hit=2) is not None


def test_a_death_strikes_only_where_it_can_be_had():
    script = Script()
    script.add(crash("child@before_ack"))
    assert reached(script, "before_ack", death="node") is None
    assert reached(script, "before_ack", death="child") is not None


def test_watchers_see_what_is_reached_before_anything_dies():
    script, seen = Script(), []
    script.add(crash("started"))
    with script.watch("shop.work", lambda point: seen.append(point.window)):
        assert reached(script, "started") is not None
        reached(script, "before_ack", death="child")
        reached(script, "before_ack", death="node")
        reached(script, "started", task="shop.other")
    assert seen == ["started", "before_ack"]
    assert reached(script, "after_ack") is None and seen[-1] == "before_ack"


def test_a_line_without_a_file_is_one_of_the_bodys_file():
    script = Script()
    script.add(crash("in_body:5"))
    here = Point("in_body", "shop.work", "id", code=body.__code__, line=5)
    elsewhere = Point("in_body", "shop.work", "id", code=functools.wraps.__code__, line=5)
    assert script.reach(elsewhere, body=body.__code__) is None
    assert script.reach(here, body=body.__code__) is not None


def test_a_line_with_a_file_is_one_of_that_file():
    script = Script()
    script.add(crash("in_body:functools.py:5"))
    elsewhere = Point("in_body", "shop.work", "id", code=functools.wraps.__code__, line=5)
    assert script.reach(elsewhere, body=body.__code__) is not None


@pytest.mark.parametrize("times", [0, -1, True])
def test_how_often_is_a_number_from_one_on(times):
    with pytest.raises(ConfigurationError, match="times= is a number from 1 on"):
        Script().add(crash("started", times=times))


def test_a_fault_that_is_over_contradicts_nothing():
    script = Script()
    script.add(Fault("fail", "shop.work", ValueError("no"), times=None)).cancel()
    script.add(Fault("fail", "shop.work", KeyError("key"), times=None))


def test_the_contradiction_names_the_line_of_the_other():
    script = Script()
    script.add(Fault("fail", "shop.work", ValueError("no"), times=None, origin="test_shop.py:12"))
    with pytest.raises(ConfigurationError, match=r"contradicts fail\('shop\.work', .*\) \(test_shop\.py:12\): "):
        script.add(crash("in_body:5"))


# -- luck


def test_a_probability_of_nothing_is_no_luck():
    luck = Luck(1)
    assert not luck.duplicates() and not luck.delays() and luck.crashes("id", "received") is None


def test_a_delivery_dies_at_most_once():
    luck = Luck(3, crash=0.9)
    windows = ("received", "started", "after_body", "before_ack", "after_ack")
    for _ in range(50):
        assert sum(luck.crashes("id", window) is not None for window in windows) <= 1
