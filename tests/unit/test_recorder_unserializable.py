"""The path inside a value that a serializer cannot encode."""

from __future__ import annotations

import json

import pytest
from kombu.exceptions import EncodeError

from pytest_taskharness.errors import UnserializableValue
from pytest_taskharness.recorder.unserializable import first_unserializable, unserializable

BAD = object()


@pytest.mark.parametrize(
    "value, path, culprit",
    [
        ({"args": [BAD], "kwargs": {}}, "args[0]", BAD),
        ({"args": [1, [2, {"a": (3, BAD)}]], "kwargs": {}}, "args[1][1]['a'][1]", BAD),
        ({"args": [], "kwargs": {"user": {"id": BAD}}}, "kwargs['user']['id']", BAD),
        ({"args": [BAD, BAD], "kwargs": {}}, "args[0]", BAD),
        (BAD, "it", BAD),
    ],
)
def test_the_innermost_culprit_is_named(value, path, culprit):
    assert first_unserializable(value, json.dumps) == (path, culprit)


def test_a_key_that_cannot_be_encoded_leads_to_its_dict():
    value = {"args": [{(1, 2): 3}], "kwargs": {}}

    assert first_unserializable(value, json.dumps) == ("args[0]", {(1, 2): 3})


def test_the_text_says_what_where_why_and_what_to_do():
    value = {"args": [{1}], "kwargs": {}}
    error = unserializable("shop.add()", value, serializer="json", encode=json.dumps, error=TypeError("not a set"))

    assert isinstance(error, UnserializableValue)
    assert isinstance(error, EncodeError)
    assert str(error) == (
        "shop.add() cannot be sent: args[0] is {1} (type set), which the 'json' serializer cannot encode.\n"
        "json says: not a set\n"
        "To fix this, pass plain data (an id instead of an object), or give the task a serializer that can."
    )


def test_a_long_value_is_cut():
    error = unserializable(
        "f()", {"args": [{"x" * 1000}], "kwargs": {}}, serializer="json", encode=json.dumps, error=TypeError("no")
    )

    assert len(str(error)) < 400
