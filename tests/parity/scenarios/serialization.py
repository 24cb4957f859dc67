"""What serializers make of arguments and results, and what is refused on the way."""

from __future__ import annotations

import codecs
import datetime
import decimal
import json
import uuid

from kombu.exceptions import ContentDisallowed, EncodeError, SerializerNotInstalled
from kombu.serialization import register
from kombu.utils.json import register_type
from parity_app import add, app, echo, task
from parity_scenario import outcome, scenario

#: Text that no other serializer can read.
register(
    "rot13",
    lambda value: codecs.encode(json.dumps(value), "rot13"),
    lambda body: json.loads(codecs.decode(body if isinstance(body, str) else body.decode(), "rot13")),
    content_type="application/x-rot13",
    content_encoding="utf-8",
)


class Money:
    """A type of the app's own, which JSON has learnt."""

    def __init__(self, cents):
        self.cents = cents

    def __repr__(self):
        return f"Money({self.cents})"


register_type(Money, "parity-money", lambda money: money.cents, Money)

MOMENT = datetime.datetime(2030, 1, 1, 12, 30, tzinfo=datetime.timezone.utc)
NESTED = {"amounts": [decimal.Decimal("1.10"), [MOMENT]], "who": {"id": uuid.UUID(int=7), "born": MOMENT.date()}}


@task
def kinds(*values):
    """The types of the arguments as they arrive."""
    return [type(value).__name__ for value in values]


@task
def identity(value):
    return value


@scenario(accept_content=["json", "yaml"])
def yaml_at_the_call(harness):
    """serializer="yaml" at the call; a tuple is a list afterwards."""
    return kinds.apply_async(((1, 2), "ü", 1.5, None, {"a": 1}), serializer="yaml").get(timeout=10)


@scenario(accept_content=["json", "msgpack"])
def msgpack_at_the_call(harness):
    """serializer="msgpack" at the call; bytes stay bytes."""
    return kinds.apply_async((b"raw", "ü", 1.5, [1]), serializer="msgpack").get(timeout=10)


@scenario(accept_content=["json", "pickle"])
def pickle_at_the_call(harness):
    """serializer="pickle" at the call; everything stays what it is."""
    return kinds.apply_async(({1}, (1,), b"raw", MOMENT, decimal.Decimal(1)), serializer="pickle").get(timeout=10)


@scenario(accept_content=["json", "pickle"])
def pickle_at_the_task(harness):
    """The task has a serializer of its own."""
    return kinds_pickled.delay({1}, (1,)).get(timeout=10)


@task(serializer="pickle")
def kinds_pickled(*values):
    return [type(value).__name__ for value in values]


@scenario(task_serializer="yaml", accept_content=["yaml", "json"])
def yaml_for_all(harness):
    """task_serializer for the whole app."""
    return kinds.delay((1, 2), {"a": 1}).get(timeout=10)


@scenario(task_serializer="pickle", result_serializer="pickle", accept_content=["pickle"])
def pickle_for_all(harness):
    """Arguments and results are pickled: a set comes back as a set."""
    return repr(identity.delay({1}).get(timeout=10))


@scenario(result_serializer="pickle", result_accept_content=["pickle"])
def results_of_their_own(harness):
    """result_serializer and result_accept_content rule the way back alone."""
    return repr(give_a_set.delay().get(timeout=10))


@task
def give_a_set():
    return {1}


@scenario(result_serializer="pickle", result_accept_content=["json"])
def results_that_nobody_accepts(harness):
    """A result in a content type that result_accept_content does not name."""
    result = give_a_set.delay()
    harness.settle()
    try:
        return repr(result.get(timeout=10))
    except ContentDisallowed as error:
        return str(error)


@scenario(result_serializer="yaml", result_accept_content=["yaml"])
def results_in_yaml(harness):
    """result_serializer="yaml"."""
    return repr(identity.delay({"a": [1, None, "ü"]}).get(timeout=10))


@scenario(result_serializer="msgpack", result_accept_content=["msgpack"])
def results_in_msgpack(harness):
    """result_serializer="msgpack"."""
    return repr(identity.delay({"a": [1, None, "ü"]}).get(timeout=10))


@scenario(result_serializer="pickle", result_accept_content=["pickle"])
def a_pickled_error(harness):
    """With pickle an error comes back with all that it has."""
    result = refuse.delay()
    harness.settle()
    return outcome(result), result.result.details


class Refusal(Exception):
    """Has more than its arguments."""

    def __init__(self, text):
        super().__init__(text)
        self.details = None


@task
def refuse():
    error = Refusal("no")
    error.details = {1: (2, 3)}
    raise error


@scenario()
def types_that_json_knows(harness):
    """datetime, date, time, Decimal, UUID and bytes arrive as what they were."""
    given = (MOMENT, MOMENT.date(), MOMENT.time(), decimal.Decimal("1.10"), uuid.UUID(int=7), b"raw")
    return kinds.delay(*given).get(timeout=10)


@scenario()
def types_deep_inside(harness):
    """The same inside of other values, both ways."""
    return repr(identity.delay(NESTED).get(timeout=10))


@scenario()
def a_type_of_the_apps_own(harness):
    """register_type() teaches JSON a type."""
    given, back = kinds.delay(Money(7)), identity.delay(Money(8))
    return given.get(timeout=10), back.get(timeout=10).cents


@scenario(accept_content=["json", "rot13"])
def a_serializer_of_the_apps_own(harness):
    """kombu.serialization.register() adds a serializer."""
    return add.apply_async((1, 2), serializer="rot13").get(timeout=10)


@scenario()
def a_serializer_of_the_apps_own_that_is_not_accepted(harness):
    """It has to be accepted by name, as every other one."""
    result = add.apply_async((1, 2), serializer="rot13")
    harness.settle()
    return outcome(result)


@scenario()
def a_serializer_that_nobody_knows(harness):
    """The caller hears of it."""
    try:
        add.apply_async((1, 2), serializer="klingon")
    except SerializerNotInstalled as error:
        return str(error)


@scenario()
def an_argument_that_json_refuses(harness):
    """The caller hears of it, and nothing is sent."""
    try:
        identity.delay({1})
    except EncodeError:
        return [run.task for run in harness.runs()]


@scenario(accept_content=["json", "yaml"])
def accepted_by_the_worker_alone(harness):
    """What is accepted is what the app accepts, whichever serializer publishes."""
    one, other = (identity.apply_async(("x",), serializer=name) for name in ("yaml", "msgpack"))
    harness.settle()
    return outcome(one, other)


@scenario()
def compressed_by_gzip(harness):
    """compression="gzip" at the call."""
    return len(identity.apply_async(("x" * 5000,), compression="gzip").get(timeout=10))


@scenario()
def compressed_by_bzip2(harness):
    """compression="bzip2" at the call."""
    return len(identity.apply_async(("x" * 5000,), compression="bzip2").get(timeout=10))


@scenario(task_compression="gzip")
def compressed_for_all(harness):
    """task_compression for the whole app."""
    return len(identity.delay("x" * 5000).get(timeout=10))


@task(compression="zlib")
def packed(value):
    return len(value)


@scenario()
def compressed_by_the_task(harness):
    """compression= of the task."""
    return packed.delay("x" * 5000).get(timeout=10)


@scenario(accept_content=["json", "pickle"])
def compressed_and_pickled(harness):
    """Both at once."""
    return kinds.apply_async(({1},), serializer="pickle", compression="bzip2").get(timeout=10)


@scenario()
def a_large_message(harness):
    """A megabyte there, and back."""
    return len(identity.delay("x" * 1_000_000).get(timeout=10))


@scenario(accept_content=["json", "pickle"])
def a_retry_keeps_its_serializer(harness):
    """A retry is sent as the call was."""
    return again.apply_async(((1,),), serializer="pickle").get(timeout=10)


@task(bind=True)
def again(self, value):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return type(value).__name__


@scenario(accept_content=["json", "pickle"])
def a_chain_with_two_serializers(harness):
    """Each link is sent by its own serializer."""
    call = identity.s((1, 2)).set(serializer="pickle") | kinds.s().set(serializer="pickle")
    return call.delay().get(timeout=10)


@scenario(accept_content=["json", "yaml"], task_protocol=1)
def yaml_in_the_old_protocol(harness):
    """Message protocol 1 with another serializer."""
    return echo.apply_async((1,), {"a": 2}, serializer="yaml").get(timeout=10)


@scenario()
def the_content_type_that_a_body_sees(harness):
    """The message's content type and encoding are not hidden from its body."""
    return look.delay().get(timeout=10)


@task(bind=True)
def look(self):
    properties = self.request.properties or {}
    return sorted(properties), self.app is app
