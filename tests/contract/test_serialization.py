"""What serializers make of arguments and results, in every mode; ``tests/parity/scenarios/serialization.py`` has more.

Where a test is about one serializer, the others are not accepted: nothing works by accident.
"""

from __future__ import annotations

import codecs
import datetime
import decimal
import json
import uuid
import warnings

import pytest
from kombu import serialization
from kombu.exceptions import ContentDisallowed, EncodeError
from kombu.utils import json as kombu_json
from scenario import eager_only

from pytest_taskharness import Harness
from pytest_taskharness.errors import Deadlock, LossyRoundTrip, UnserializableValue

MOMENT = datetime.datetime(2030, 1, 1, 12, 30, tzinfo=datetime.timezone.utc)
WITH_YAML = {"accept_content": ["yaml", "json"], "task_serializer": "yaml", "result_serializer": "yaml"}
WITH_PICKLE = {"accept_content": ["pickle"], "task_serializer": "pickle", "result_serializer": "pickle"}
WITH_MSGPACK = {"accept_content": ["msgpack"], "task_serializer": "msgpack", "result_serializer": "msgpack"}


@pytest.fixture
def identity(app):
    """Gives back what it was given, and remembers what that was."""
    seen = []

    @app.task(name="shop.identity", shared=False)
    def identity(value):
        seen.append(value)
        return value

    identity.seen = seen
    return identity


@pytest.mark.parametrize(
    "config, value, arrived",
    [
        (WITH_YAML, {"a": [1, None, "ü"]}, {"a": [1, None, "ü"]}),
        (WITH_PICKLE, {1: {2}, "when": MOMENT}, {1: {2}, "when": MOMENT}),
        (WITH_MSGPACK, {"raw": b"\x00\xff"}, {"raw": b"\x00\xff"}),
        ({}, [MOMENT, decimal.Decimal("1.10"), uuid.UUID(int=7), b"raw"], None),
    ],
    ids=["yaml", "pickle", "msgpack", "json"],
)
def test_there_and_back(identity, open_harness, config, value, arrived):
    harness = open_harness(config=config)
    assert identity.delay(value).get() == (arrived or value)
    assert identity.seen == [arrived or value]
    assert harness.run_of(identity).result == (arrived or value)


def test_a_call_has_its_own_serializer(identity, open_harness):
    harness = open_harness(config={"accept_content": ["json", "pickle"]})
    identity.apply_async(((1, 2),), serializer="pickle")
    harness.settle()
    assert identity.seen == [(1, 2)]
    [message] = harness.outbox
    assert message.options["serializer"] == "pickle"


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "zlib"])
def test_compression_is_undone_on_the_way(identity, open_harness, compression):
    harness = open_harness()
    text = "x" * 100_000
    assert identity.apply_async((text,), compression=compression).get() == text
    assert harness.outbox[0].options["compression"] == compression


@pytest.fixture
def caesar():
    """A serializer of the project's own, for one test."""

    def decode(body):
        return json.loads(codecs.decode(body if isinstance(body, str) else body.decode(), "rot13"))

    serialization.register(
        "caesar", lambda value: codecs.encode(json.dumps(value), "rot13"), decode,
        content_type="application/x-caesar", content_encoding="utf-8",
    )  # fmt: skip
    yield
    serialization.unregister("caesar")


def test_a_serializer_of_the_projects_own(caesar, identity, open_harness):
    open_harness(config={"accept_content": ["json", "caesar"]})
    assert identity.apply_async(("uryyb",), serializer="caesar").get() == "uryyb"


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return isinstance(other, Money) and other.cents == self.cents

    __hash__ = None


def test_a_type_that_json_has_learnt(identity, open_harness, monkeypatch):
    monkeypatch.setattr(kombu_json, "_encoders", dict(kombu_json._encoders))
    monkeypatch.setattr(kombu_json, "_decoders", dict(kombu_json._decoders))
    kombu_json.register_type(Money, "money", lambda money: money.cents, Money)
    open_harness()
    assert identity.delay({"price": Money(7)}).get() == {"price": Money(7)}


def test_a_content_type_that_is_not_accepted_is_never_run(identity, harness):
    result = identity.apply_async((1,), serializer="yaml")
    harness.settle()
    assert identity.seen == []
    run = harness.run_of(result)
    assert isinstance(run.error, ContentDisallowed)
    assert [event.kind for event in run.timeline][-2:] == ["poison", "reject"]
    with pytest.raises(Deadlock, match="no worker could take it: refused: Refusing to deserialize"):
        result.get()


def test_a_result_that_nobody_accepts(app, open_harness):
    @app.task(name="shop.give", shared=False)
    def give():
        return {1}

    harness = open_harness(config={"result_serializer": "pickle", "result_accept_content": ["json"]})
    result = give.delay()
    harness.settle()
    assert harness.assert_succeeded(give).result == {1}, "what was stored is known all the same"
    with pytest.raises(ContentDisallowed):
        result.get()


def test_an_argument_that_cannot_be_sent_is_told_with_its_place(identity, harness):
    with pytest.raises(EncodeError, match=r"args\[0\]\['ids'\]") as raised:
        identity.delay({"ids": {1}})
    assert isinstance(raised.value, UnserializableValue)
    assert harness.outbox == []


def test_an_error_text_shows_datetimes_by_their_own_name(identity, app):
    with Harness.open(app, clock="freezegun") as harness:
        now = datetime.datetime.now(datetime.timezone.utc)
        with pytest.raises(EncodeError) as raised:
            identity.delay({now})
        assert "datetime.datetime(" in str(raised.value)
        identity.delay(now)
        with pytest.raises(AssertionError) as missed:
            harness.assert_enqueued(identity.s(now.replace(year=1999)))
        texts = f"{raised.value} {missed.value} {harness.timeline}"
    assert "Fake" not in texts


@eager_only
@pytest.mark.parametrize(
    "value, lost",
    [((1, 2), r"args\[0\]: tuple → list"), ({"by": {1: "one"}}, r"args\[0\]\['by'\]: key 1 \(int\) → '1' \(str\)")],
    ids=["a tuple", "a number as a key"],
)
def test_eager_tells_what_changes_on_the_way(identity, harness, value, lost):
    with pytest.warns(LossyRoundTrip, match=lost):
        identity.delay(value)


@eager_only
def test_eager_is_silent_where_the_serializer_keeps_it(identity, open_harness):
    open_harness(config=WITH_PICKLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert identity.delay({1: (2, {3})}).get() == {1: (2, {3})}


def test_a_large_message(identity, harness):
    assert len(identity.delay("x" * 1_000_000).get()) == 1_000_000
