"""Dead letters, as RabbitMQ writes them: https://www.rabbitmq.com/docs/dlx."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .arguments import QueueArguments

__all__ = ["REJECTED", "buried", "goes_round"]

Payload = dict[str, Any]

#: The reason that a consumer gives.
REJECTED = "rejected"


def buried(payload: Mapping[str, Any], queue: str, reason: str, *, at: datetime, arguments: QueueArguments) -> Payload:
    """A message as it goes to the dead letter exchange of its queue: with ``x-death``, and without ``expiration``."""
    properties = dict(payload["properties"])
    info = dict(properties.get("delivery_info") or {})
    expiration = properties.pop("expiration", None)
    headers = _with_death(dict(payload.get("headers") or {}), _death(queue, reason, at, info, expiration))
    key = arguments.dead_letter_routing_key
    properties["delivery_info"] = {
        "exchange": arguments.dead_letter_exchange or "",
        "routing_key": info.get("routing_key", queue) if key is None else key,
    }
    headers.pop("x-delivery-count", None)  # of a quorum queue, which alone counts
    left = {name: value for name, value in payload.items() if name != "redelivered"}
    return {**left, "headers": headers, "properties": properties}


def goes_round(payload: Mapping[str, Any], queue: str) -> bool:
    """Whether a dead letter has been in this queue before, and no consumer has rejected it on its way: it is dropped.

    Without a consumer that decides, the circle would never end.
    """
    deaths = (payload.get("headers") or {}).get("x-death") or []
    return any(death["queue"] == queue for death in deaths) and all(death["reason"] != REJECTED for death in deaths)


def _death(queue: str, reason: str, at: datetime, info: Mapping[str, Any], expiration: Any) -> dict[str, Any]:
    death = {
        "reason": reason,
        "count": 1,
        "queue": queue,
        "time": at.replace(microsecond=0, tzinfo=None),  # whole seconds in UTC: as py-amqp reads an AMQP timestamp
        "exchange": info.get("exchange") or "",
        "routing-keys": [info.get("routing_key") or queue],
    }
    return death if expiration is None else {**death, "original-expiration": expiration}


def _with_death(headers: Payload, death: dict[str, Any]) -> Payload:
    """The last death first; one more in the same queue for the same reason is counted."""
    same = [each for each in headers.get("x-death", ()) if _grave(each) == _grave(death)]
    others = [each for each in headers.get("x-death", ()) if _grave(each) != _grave(death)]
    counted = {**same[0], "count": same[0]["count"] + 1} if same else death
    first = {f"x-first-death-{name}": death[name] for name in ("reason", "queue", "exchange")}
    last = {f"x-last-death-{name}": death[name] for name in ("reason", "queue", "exchange")}
    return {**first, **headers, **last, "x-death": [counted, *others]}


def _grave(death: Mapping[str, Any]) -> tuple[Any, Any]:
    return death["queue"], death["reason"]
