"""The first difference between two observations."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

import pytest

from pytest_taskharness.explore.differing import Difference, Incomparable, first_difference, shown


class Point(NamedTuple):
    x: int
    y: int


class Colour(Enum):
    RED = 1


@dataclass
class Account:
    balance: int
    tags: list = field(default_factory=list)
    seen: int = field(default=0, compare=False)


class Opaque:
    def __repr__(self):
        return "<opaque>"


class Array:
    """As numpy's arrays do: no single answer."""

    def __eq__(self, other):
        return Array()

    def __bool__(self):
        raise ValueError("ambiguous")

    __hash__ = None


SAME = [
    None,
    3,
    "text",
    float("nan"),
    [1, [2, {"a": {3}}]],
    {"a": Account(1, ["x"])},
    Counter("aab"),
    Point(1, 2),
    Decimal("1.10"),
    Colour.RED,
    {"nan": [float("nan")]},
    frozenset({1, 2}),
    print,
    Account,
]


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_a_value_equals_its_copy(value):
    assert first_difference(value, copy.deepcopy(value)) is None


@pytest.mark.parametrize(
    "expected, found, path, texts",
    [
        (10, 20, "", ("10", "20")),
        ({"balance": 10}, {"balance": 20}, "['balance']", ("10", "20")),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "['a']['b'][1]", ("2", "3")),
        ({"a": 1}, {}, "['a']", ("1", "nothing there")),
        ({}, {"a": 1}, "['a']", ("nothing there", "1")),
        (["x"], ["x", "x"], "", ("1 item, ['x']", "2 items, ['x', 'x']")),
        ((1,), [1], "", ("(1,)", "[1]")),
        ({1, 2}, {1}, "", ("2 among them", "no 2")),
        ({1}, {1, 3, 2}, "", ("no 2, 3", "2, 3")),
        (Account(1), Account(2), ".balance", ("1", "2")),
        ([Account(1, ["a"])], [Account(1, ["b"])], "[0].tags[0]", ("'a'", "'b'")),
        (Point(1, 2), Point(1, 3), "[1]", ("2", "3")),
        (1, None, "", ("1", "None")),
        ("1", 1, "", ("'1'", "1")),
        (OrderedDict(a=1), {"a": 2}, "['a']", ("1", "2")),
        (Counter("a"), Counter("aa"), "['a']", ("1", "2")),
    ],
)
def test_the_first_difference(expected, found, path, texts):
    assert first_difference(expected, found) == Difference(path, *texts)


def test_the_first_is_the_first_of_what_was_expected():
    difference = first_difference({"b": 1, "a": 1}, {"a": 2, "b": 2})
    assert difference is not None
    assert difference.path == "['b']"


def test_fields_that_do_not_count_are_not_compared():
    assert first_difference(Account(1, seen=1), Account(1, seen=2)) is None


def test_an_object_without_an_eq_equals_nothing_but_itself():
    one = Opaque()
    assert first_difference([one], [one]) is None
    difference = first_difference({"a": one}, {"a": Opaque()})
    assert difference == Difference("['a']", "<opaque>", "another <opaque>", by_identity=True)


def test_values_that_look_alike_are_told_apart_by_their_types():
    class Text(str):
        __slots__ = ()

        def __eq__(self, other):
            return type(other) is Text

        __hash__ = str.__hash__

    assert first_difference(Text("a"), "a") == Difference("", "'a' (Text)", "'a' (str)")


def test_long_values_are_shown_where_they_begin_to_differ():
    found = first_difference("a" * 500 + "b" + "c" * 500, "a" * 500 + "d" + "c" * 500)
    assert found == Difference("", "…" + "a" * 20 + "b" + "c" * 57 + "…", "…" + "a" * 20 + "d" + "c" * 57 + "…")


def test_what_cannot_be_compared_is_an_error_with_its_path():
    with pytest.raises(Incomparable) as caught:
        first_difference({"rows": [Array()]}, {"rows": [Array()]})
    assert str(caught.value).startswith("comparing what it returned at ['rows'][0], a ")
    assert str(caught.value).endswith("Array, raised ValueError: ambiguous")


def test_what_contains_itself_is_an_error():
    endless: list = []
    endless.append(endless)
    with pytest.raises(Incomparable, match="contains itself"):
        first_difference(endless, copy.deepcopy(endless))


def test_an_eq_of_its_own_decides_and_not_the_items():
    class Bag(list):
        def __eq__(self, other):
            return sorted(self) == sorted(other)

        __hash__ = None

    assert first_difference(Bag([1, 2]), Bag([2, 1])) is None


def test_a_repr_is_one_line_and_not_too_long_and_may_raise():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    assert shown("a" * 100) == "'" + "a" * 78 + "…"
    assert shown(Rude()) == "<Rude, whose repr raised RuntimeError>"
