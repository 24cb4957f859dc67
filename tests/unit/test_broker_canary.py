"""Names that no two harnesses share, and what is said about a message that bears another one."""

from __future__ import annotations

import os

import pytest

from pytest_taskharness.broker import canary
from pytest_taskharness.errors import ForeignMessage


@pytest.fixture(autouse=True)
def alarms():
    before = list(ForeignMessage.seen)
    yield ForeignMessage.seen
    ForeignMessage.seen[:] = before


def test_no_name_is_given_twice():
    assert len({canary.new_name() for _ in range(100)}) == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gives_other_names():
    ours = [canary.new_name() for _ in range(3)]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(canary.new_name() for _ in range(3)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    assert len(theirs) == 3
    assert {*ours, *(canary.new_name() for _ in range(3))}.isdisjoint(theirs)


def test_a_message_of_our_own_is_let_through(alarms):
    canary.check(canary.stamped({"headers": {}}, "one"), "one", queue="celery")
    canary.check({"headers": {}}, "one", queue="celery")
    assert alarms == []


def test_a_stamp_changes_nothing_in_the_message_that_was_given():
    payload = {"headers": {}}
    canary.stamped(payload, "one")
    assert payload == {"headers": {}}


@pytest.mark.parametrize(
    "headers, what",
    [({"task": "shop.add", "id": "42"}, "shop.add 42"), ({}, "no task"), (None, "no task")],
    ids=["task", "no headers", "none"],
)
def test_a_foreign_message_is_named(headers, what, alarms):
    with pytest.raises(ForeignMessage, match=f"out of queue 'celery': {what}") as caught:
        canary.check(canary.stamped({"headers": headers}, "two"), "one", queue="celery")
    assert "expected a message of harness one; found one of two" in str(caught.value)
    assert alarms[-1] == str(caught.value)
