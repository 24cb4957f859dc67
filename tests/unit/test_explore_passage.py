"""What one clean run comes past, and which windows follow from it."""

from __future__ import annotations

import pytest

from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.explore.passage import Passage
from pytest_taskharness.explore.plans import Plan
from pytest_taskharness.explore.texts import source_around
from pytest_taskharness.faults import Point


def body(x):
    y = x + 1
    return y * 2


FIRST = body.__code__.co_firstlineno + 1
LATE = ("received", "started", "in_body", "after_body", "before_result", "before_ack", "after_ack")
EARLY = ("received", "before_ack", "after_ack", "started", "in_body", "after_body", "before_result")


def point(window, **more):
    return Point(window, "shop.charge", more.pop("id", "1"), **more)


def lines(*numbers, code=body.__code__):
    hits = {}
    for number in numbers:
        hits[number] = hits.get(number, 0) + 1
        yield point("in_body", code=code, line=FIRST + number, hit=hits[number])


def passage(windows, numbers=(0, 1), *, of=body):
    found = Passage(of)
    for window in windows:
        for each in lines(*numbers) if window == "in_body" else [point(window)]:
            found.reach(each)
    return found


def texts(found, **how):
    return [str(window) for window in found.windows(**how)]


def test_each_window_dies_by_each_death_that_can_be_had_there():
    assert texts(passage(LATE)) == [
        "node@received",
        "node@started",
        "child@started",
        f"node@in_body:{FIRST}",
        f"child@in_body:{FIRST}",
        f"node@in_body:{FIRST + 1}",
        f"child@in_body:{FIRST + 1}",
        "node@after_body",
        "child@after_body",
        "node@before_result",
        "child@before_result",
        "node@before_ack",
        "child@before_ack",
        "node@after_ack",
    ]


def test_with_an_early_acknowledgement_there_is_no_child_yet():
    assert "child@before_ack" not in texts(passage(EARLY))
    assert texts(passage(EARLY))[:3] == ["node@received", "node@before_ack", "node@after_ack"]


def test_of_a_line_in_a_loop_the_first_three_times_and_the_last():
    found = passage(["started", "in_body"], [0, 0, 0, 0, 0, 1])
    of_the_line = [text for text in texts(found) if text.startswith(f"node@in_body:{FIRST}")]
    assert of_the_line[:4] == [f"node@in_body:{FIRST}{hit}" for hit in ("", "#2", "#3", "#5")]
    assert f"node@in_body:{FIRST}#4" in texts(found, every_hit=True)


def test_a_line_of_another_function_is_named_with_its_file():
    found = Passage(body)
    helper = texts.__code__
    found.reach(point("in_body", code=helper, line=helper.co_firstlineno + 1))
    assert texts(found)[0] == f"node@in_body:test_explore_passage.py:{helper.co_firstlineno + 1}"


def test_a_retry_comes_to_the_same_windows_again():
    found = passage([*LATE, *LATE])
    assert texts(found) == texts(passage(LATE))
    assert (found.starts, found.completions) == (2, 2)
    assert found.lines == 2


def test_a_run_of_the_same_task_under_another_id_does_not_count():
    found = passage(LATE)
    found.reach(point("started", id="2"))
    assert len(found.points) == len(passage(LATE).points)


def test_a_body_without_lines_begins_where_it_ends():
    found = Passage(print)
    for window in ("received", "started", "after_body"):
        found.reach(point(window))
    assert (found.starts, found.completions, found.lines) == (1, 1, 0)
    assert found.package() is None


def test_a_window_that_was_not_reached_is_refused_with_the_nearest():
    found = passage(LATE)
    plan = Plan.parse(f"crash:node@in_body:{FIRST + 70}", origin="")
    with pytest.raises(ConfigurationError) as caught:
        found.check(plan, origin="--taskharness-plan")
    text = str(caught.value)
    assert text.startswith(f"'{plan}' (from --taskharness-plan): one clean run does not come to that window. Nearest: ")
    assert f"crash:node@in_body:{FIRST}" in text


def test_where_nothing_was_reached_nothing_is_near():
    with pytest.raises(ConfigurationError, match="none, it comes to no window at all"):
        Passage(body).check(Plan.parse("crash:node@started", origin=""), origin="plans=")


def test_the_source_around_a_line():
    found = passage(LATE)
    window = found.windows()[5]
    before, here = source_around(found, window)
    assert before == f"  tests/unit/test_explore_passage.py:{FIRST}  y = x + 1"
    assert here == f"> tests/unit/test_explore_passage.py:{FIRST + 1}  return y * 2  <- it died before this line"


def test_a_body_without_source_has_numbers():
    found = Passage(body)
    code = compile("a = 1\nb = 2\n", "/nowhere/gone.py", "exec")
    found.reach(point("in_body", code=code, line=1))
    found.reach(point("in_body", code=code, line=2))
    assert source_around(found, found.windows()[2]) == [
        "  /nowhere/gone.py:1",
        "> /nowhere/gone.py:2    <- it died before this line",
    ]
