"""When the values of a result backend expire, by a clock of the test's own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pytest_taskharness.worker.supplies.expiry import Expiry

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Backend:
    """Remembers what was deleted, and when."""

    def __init__(self):
        self.now = START
        self.deleted = []
        self.expiry = Expiry(lambda: self.now, self.deleted.extend)

    def after(self, seconds):
        self.now = START + timedelta(seconds=seconds)
        self.expiry.sweep()
        return self.deleted


@pytest.fixture
def backend():
    return Backend()


def test_a_key_goes_when_its_time_has_come(backend):
    backend.expiry.within(b"key", 10)
    assert backend.after(9.999999) == []
    assert backend.after(10) == [b"key"]
    assert backend.expiry.expired == {b"key": START + timedelta(seconds=10)}


@pytest.mark.parametrize("never", [None, 0])
def test_a_key_without_seconds_stays(backend, never):
    backend.expiry.within(b"key", never)
    assert backend.after(10**9) == []


def test_a_key_that_is_written_anew_has_a_time_of_its_own(backend):
    backend.expiry.within(b"key", 10)
    backend.after(5)
    backend.expiry.within(b"key", 10)
    assert backend.after(14) == []
    assert backend.after(15) == [b"key"]


def test_a_key_that_is_written_for_ever_stays(backend):
    backend.expiry.within(b"key", 10)
    backend.expiry.within(b"key", None)
    assert backend.after(100) == []


def test_a_key_that_is_written_again_has_not_expired(backend):
    backend.expiry.within(b"key", 10)
    backend.after(10)
    backend.expiry.within(b"key", 10)
    assert backend.expiry.expired == {}


def test_several_keys_go_in_the_order_of_their_times(backend):
    for key, seconds in ((b"c", 3), ("b", 2), (("a", 1), 1), (b"d", 2)):
        backend.expiry.within(key, seconds)
    assert backend.after(5) == [("a", 1), "b", b"d", b"c"]


@pytest.mark.parametrize(
    "command, sent, expires",
    [
        (("SETEX", b"key", 10, "value"), ("SET", b"key", "value"), True),
        (("SET", b"key", "value", "EX", 10), ("SET", b"key", "value"), True),
        (("SET", b"key", "value", "EX", 10, "NX"), ("SET", b"key", "value", "NX"), True),
        (("SET", b"key", "value"), ("SET", b"key", "value"), False),
        (("EXPIRE", b"key", 10), ("EXISTS", b"key"), True),
        (("GET", b"key"), ("GET", b"key"), False),
        (("DEL", b"key", b"other"), ("DEL", b"key", b"other"), False),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_command_is_sent_without_its_seconds(backend, command, sent, expires):
    assert tuple(backend.expiry.translated(command)) == sent
    assert backend.after(10) == ([b"key"] if expires else [])


def test_what_is_deleted_does_not_expire(backend):
    backend.expiry.translated(("SETEX", b"key", 10, "value"))
    backend.expiry.translated(("DEL", b"key"))
    assert backend.after(10) == []


def test_what_has_expired_is_gone_before_the_next_command(backend):
    backend.expiry.within(b"key", 10)
    backend.now = START + timedelta(seconds=10)
    backend.expiry.translated(("GET", b"key"))
    assert backend.deleted == [b"key"]
