"""Messages as they travel to a RabbitMQ and back, and what we write on them.

AMQP has a property that neither Celery nor RabbitMQ uses: there stands to which harness a message belongs, and when it
was published by the virtual clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import amqp

from ..clock.real import EPOCH
from . import canary
from .queued import Payload, QueuedMessage

__all__ = ["Delivery", "Stamp", "deaths_of", "headers_of", "message_of", "payload_of"]

#: Deprecated in AMQP; RabbitMQ carries it along.
_PLACE = "cluster_id"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Stamp:
    """What stands on a message.

    Attributes:
        harness: Whose it is.
        serial: Which one it is; a copy that the server makes has the same one.
        published: When, by the virtual clock.
        expiration: Its ``expiration`` in milliseconds, which the server is not told; else empty.
        deaths: How often it had been a dead letter when it was published.
    """

    harness: str
    serial: str
    published: datetime
    expiration: str = ""
    deaths: int = 0

    @classmethod
    def read(cls, message: Any) -> Stamp | None:
        """What stands on a message; None where no harness has published it."""
        parts = str(message.properties.get(_PLACE, "")).split("|")
        if len(parts) != 5:
            return None
        harness, serial, published, expiration, deaths = parts
        return cls(harness, serial, EPOCH + int(published) * _MICROSECOND, expiration, int(deaths))

    def write(self, message: Any) -> None:
        """Let it stand on a message, whose expiration the server's clock must not see."""
        message.properties.pop("expiration", None)
        since = (self.published - EPOCH) // _MICROSECOND
        message.properties[_PLACE] = f"{self.harness}|{self.serial}|{since}|{self.expiration}|{self.deaths}"

    def counting(self, message: Any) -> Stamp:
        """The same, for a message that is published once more."""
        return replace(self, deaths=deaths_of(message))


@dataclass
class Delivery(QueuedMessage):
    """A message that was taken off its queue.

    Attributes:
        serial: Which one it is.
        stamp: What stood on it.
        channel: By which it was taken.
        number: The delivery tag there.
    """

    serial: str = ""
    stamp: Stamp | None = None
    channel: Any = field(default=None, repr=False)
    number: int = 0


def deaths_of(message: Any) -> int:
    """How often a message was a dead letter."""
    return sum(death["count"] for death in headers_of(message).get("x-death", ()))


def headers_of(message: Any) -> dict[str, Any]:
    """The headers of a message of py-amqp's."""
    return message.properties.get("application_headers") or {}


def payload_of(message: Any, exchange: str, routing_key: str, *, harness: str = "") -> Payload:
    """A message of py-amqp's as the other transports write it."""
    properties = dict(message.properties)
    headers, content_type, encoding = (
        properties.pop(name, None) for name in ("application_headers", "content_type", "content_encoding")
    )
    properties.pop(_PLACE, None)
    properties["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
    payload = {
        "body": message.body, "headers": headers or {}, "properties": properties, "content-type": content_type,
        "content-encoding": encoding,
    }  # fmt: skip
    return {**payload, canary.STAMP: harness} if harness else payload


def message_of(payload: Mapping[str, Any]) -> Any:
    """The same as py-amqp takes it."""
    properties = {name: value for name, value in payload["properties"].items() if name in _PROPERTIES}
    given = {"content_type": payload["content-type"], "content_encoding": payload["content-encoding"]}
    given = {name: value for name, value in given.items() if value is not None}
    return amqp.Message(payload["body"], application_headers=dict(payload["headers"] or {}), **given, **properties)


_PROPERTIES = frozenset(name for name, _ in amqp.Message.PROPERTIES) - {
    "application_headers", "content_type", "content_encoding", _PLACE,
}  # fmt: skip
