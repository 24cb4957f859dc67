"""Comparing values, pairing, `including` and `exactly`, and what pytest shows of it all."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest.mock import ANY

import pytest
from asserting_scenes import Scene, charge, report

from pytest_taskharness import asserting
from pytest_taskharness.asserting import exactly, including
from pytest_taskharness.asserting.matching import compare
from pytest_taskharness.asserting.pairing import pair


class Point(NamedTuple):
    x: int
    y: int


class Shouting(list):
    """A list that decides for itself."""

    def __eq__(self, other):
        return other == "anything"

    __hash__ = None


@pytest.mark.parametrize(
    "expected, actual",
    [
        (1, 1.0),
        ((1, 2), [1, 2]),
        ([(1,)], ([1],)),
        ({"a": (1,)}, {"a": [1]}),
        (Point(1, 2), [1, 2]),
        (Shouting(), "anything"),
        ({"a": ANY}, {"a": len}),
        (pytest.approx([1.0]), [1.0]),
    ],
    ids=repr,
)
def test_equal(expected, actual):
    assert compare(expected, actual).holds


@pytest.mark.parametrize(
    "expected, actual, note",
    [
        (1, 2, ""),
        (1, "1", "int, found str"),
        ((1, 2), [1], "first difference at [1], which is missing"),
        ((1,), [1, 2], ""),
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": [1]}, {"a": [2]}, "first difference at ['a'][0]"),
        (Shouting(), [], "Shouting, found list"),
        ([1], "x", ""),
    ],
    ids=repr,
)
def test_unequal(expected, actual, note):
    verdict = compare(expected, actual)

    assert (verdict.holds, verdict.note) == (False, note)


class Mute:
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def test_values_without_a_text_can_be_compared():
    assert compare(Mute(), 1) == (False, "", "")


def test_including_is_a_subset_all_the_way_down():
    part = including({"a": {"b": [1, {"c": ANY}]}})

    assert part == {"a": {"b": (1, {"c": 2, "d": 3}), "e": 4}, "f": 5}
    assert part != {"a": {"b": [1, {"d": 3}]}}
    assert part != {"a": {"b": [1]}}
    assert part != {"a": 1}
    assert including([{"a": 1}]) == [{"a": 1, "b": 2}]
    assert including([1]) != 1
    assert repr(part) == "including({'a': {'b': [1, {'c': <ANY>}]}})"
    with pytest.raises(TypeError, match="unhashable"):
        hash(part)


@pytest.mark.parametrize("value", [5, "text", None])
def test_including_takes_something_with_items(value):
    with pytest.raises(TypeError, match="including\\(\\) takes a dict or a list"):
        including(value)


@pytest.mark.parametrize("value", [5, charge, {"task": "x"}], ids=["number", "task", "dict"])
def test_exactly_takes_a_signature(value):
    with pytest.raises(TypeError, match="exactly\\(\\) takes a Celery signature"):
        exactly(value)


def test_pairing_finds_as_many_partners_as_there_can_be():
    table = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]

    assert pair(table, holds=bool) == {0: 2, 1: 0, 2: 1}
    assert pair([[0, 0]], holds=bool) == {}
    assert pair([[0, 1], [3, 2], [5, 5]], holds=lambda item: item == 2, score=int) == {0: 0, 1: 1}


def test_pairing_of_many_equal_rows_is_quick():
    assert len(pair([[1] * 300] * 300, holds=bool)) == 300


def test_no_frame_of_ours_is_shown_by_pytest():
    names = [module.name for module in pkgutil.iter_modules(asserting.__path__, f"{asserting.__name__}.")]

    assert all(import_module(name).__tracebackhide__ for name in [asserting.__name__, *names])


def test_pytest_shows_only_the_line_of_the_test(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(asserting.__file__).parents[2]))
    pytester.makepyfile(
        """
        from datetime import datetime, timezone
        from pytest_taskharness.asserting import Assertions
        from pytest_taskharness.timeline import Timeline

        SIG = {"task": "shop.tasks.charge", "args": (), "kwargs": {}, "options": {}}

        def harness():
            return Assertions(Timeline(datetime(2030, 1, 1, tzinfo=timezone.utc)))

        def test_call():
            harness().assert_enqueued(SIG)

        def test_block():
            with harness().enqueues(SIG):
                pass
        """
    )

    output = pytester.runpytest_subprocess("-p", "no:cacheprovider").stdout.str()

    assert "asserting/" not in output
    assert output.count("E       AssertionError: expected 1 message matching") == 2
    assert output.count("E           shop.tasks.charge(...)") == 2


def test_a_harness_that_inherits_needs_nothing_but_the_timeline():
    class Harness(asserting.Assertions):
        pass

    assert Harness(Scene().publish(report).timeline).assert_enqueued(report.s()).task == "shop.tasks.report"
