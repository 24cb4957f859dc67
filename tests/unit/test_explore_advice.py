"""What is advised where plans have failed."""

from __future__ import annotations

import sqlite3

import pytest

from pytest_taskharness.explore.advice import advice


@pytest.mark.parametrize(
    "text",
    ["database is locked", "database table is locked: shop_entry", "(sqlite3.OperationalError) database is locked"],
)
def test_a_lock_of_sqlite_is_called_by_its_name(text):
    given = advice({"together"}, passed={"again", "crash"}, about="its state", error=sqlite3.OperationalError(text))
    assert given.startswith("hint: SQLite gave up on a lock")
    assert "BEGIN IMMEDIATE" in given


def test_another_error_is_a_race():
    given = advice({"together"}, passed=(), about="its state", error=ValueError("the door is locked"))
    assert given.startswith("hint: between the lines of one copy the other has run")
