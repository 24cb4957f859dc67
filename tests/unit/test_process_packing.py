"""Values on their way from a worker to the test."""

from __future__ import annotations

import datetime
import threading

import pytest

from pytest_taskharness.process.between.packing import pack, unpack
from pytest_taskharness.timeline.archive import Recorded


class Refused(Exception):
    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code


class Shy:
    def __repr__(self):
        raise RuntimeError("no")

    def __reduce__(self):
        raise RuntimeError("no")


def sent(value):
    return unpack(pack({"value": value}))["value"]


def test_plain_values_arrive_as_they_are():
    value = {"a": [1, (2, 3)], "b": datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)}
    assert sent(value) == value


def test_an_exception_arrives_without_its_init():
    error = sent(Refused(7, reason="closed"))
    assert (type(error), str(error), error.code, error.args) == (Refused, "7: closed", 7, ("7: closed",))


def test_an_exception_of_pythons_own_keeps_its_text():
    with pytest.raises(UnicodeDecodeError) as raised:
        b"[\xff]".decode()
    arrived = sent(raised.value)
    assert (str(arrived), arrived.start) == (str(raised.value), 1)


def test_the_cause_of_an_exception_arrives():
    error = ValueError("no")
    error.__cause__ = Refused(7, reason="closed")
    assert str(sent(error).__cause__) == "7: closed"


def test_what_cannot_be_pickled_becomes_its_repr_and_its_surroundings_stay():
    lock = threading.Lock()
    value = sent({"lock": lock, "list": [1, lock], "tuple": (lock, 2)})
    shown = Recorded(repr(lock))
    assert value == {"lock": shown, "list": [1, shown], "tuple": (shown, 2)}


def test_an_exception_keeps_what_can_be_pickled_of_its_state():
    error = ValueError("held", threading.Lock())
    error.number = 3
    error.lock = threading.Lock()
    arrived = sent(error)
    assert (type(arrived), arrived.args[0], arrived.number) == (ValueError, "held", 3)
    assert repr(arrived.lock) == repr(error.lock)


def test_a_class_that_nobody_can_import_is_stood_in_for_by_one_of_the_same_name_and_bases():
    class Local(LookupError):
        def __str__(self):
            return "a text of its own"

    error = sent(Local("x"))
    assert isinstance(error, LookupError)
    assert (type(error).__name__, str(error), repr(error)) == ("Local", "a text of its own", "Local('x')")


def test_an_object_whose_class_the_test_does_not_know_says_what_it_was(monkeypatch):
    data = pack({"value": Refused, "other": 1})
    monkeypatch.delitem(globals(), "Refused")
    record = unpack(data)
    assert record["other"] == 1
    assert record["value"].text == f"<{__name__}.Refused object>"


def test_objects_that_raise_at_everything_do_not_stop_a_worker():
    assert sent(Shy()) == Recorded("<Shy whose repr raises RuntimeError>")


def test_exceptions_that_hold_each_other_are_taken_apart_once():
    one, other = ValueError("one"), KeyError("other")
    one.other, other.one = other, one
    one.__cause__ = other
    arrived = sent(one)
    assert (type(arrived), type(arrived.other), type(arrived.__cause__)) == (ValueError, KeyError, KeyError)


def test_deep_nests_of_what_cannot_be_pickled_take_no_time_of_their_own():
    error = ValueError(threading.Lock())
    for _ in range(40):
        error = ValueError(error)
        error.inner = [error.args[0]]
    arrived = sent(error)
    depth = 0
    while isinstance(arrived, ValueError):
        arrived, depth = arrived.args[0], depth + 1
    assert depth == 41
