"""Reads one publish off the arguments of Celery's own ``send_task_message``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kombu.transport.virtual.exchange import TopicExchange

from ..clock.real import plain
from .callsite import call_site

__all__ = ["describe_publish", "snapshot"]

#: ``apply_async`` options that reach ``send_task_message`` under their own names.
_PLAIN_OPTIONS = frozenset({
    "priority", "serializer", "compression", "delivery_mode", "exchange", "routing_key", "reply_to", "retry",
    "retry_policy", "headers",
})  # fmt: skip


def snapshot(value: Any) -> Any:
    """The value as it is now: containers are copied, so that a later change does not rewrite history."""
    if type(value) is list:
        return [snapshot(item) for item in value]
    if type(value) is tuple:
        return tuple(snapshot(item) for item in value)
    if type(value) is dict:
        return {key: snapshot(item) for key, item in value.items()}
    return value


def describe_publish(message: Any, *, options: Mapping[str, Any], amqp: Any, root: str) -> dict[str, Any]:
    """The detail of a ``publish`` event.

    Args:
        message: Celery's ``task_message`` tuple, after it was sent.
        options: What ``send_task_message`` was given.
        amqp: The ``app.amqp`` that sent it.
        root: The directory that call sites are told from.
    """
    headers, args, kwargs, embed = _parts(message)
    return {
        "args": tuple(snapshot(list(args))),
        "kwargs": snapshot(dict(kwargs)),
        "argsrepr": headers.get("argsrepr", ""),
        "kwargsrepr": headers.get("kwargsrepr", ""),
        "hidden": "argsrepr" in options or "kwargsrepr" in options,
        "options": _options(headers, options, embed),
        "headers": dict(headers),
        "queue": _queue(options, amqp),
        "eta": _instant(headers.get("eta")),
        "retries": headers.get("retries") or 0,
        "parent_id": headers.get("parent_id"),
        "root_id": headers.get("root_id"),
        "group_id": headers.get("group"),
        "embed": dict(embed),
        "call_site": call_site(root),
    }


def _parts(message: Any) -> tuple[dict[str, Any], Any, Any, dict[str, Any]]:
    """Headers, args, kwargs and embed, in whichever protocol the app speaks."""
    headers, _, body, _ = message
    if isinstance(body, tuple):
        args, kwargs, embed = body
        return headers, args, kwargs, embed
    embed = {key: body.get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
    return {**body, **headers}, body["args"], body["kwargs"], embed


def _instant(text: Any) -> datetime | None:
    # Python 3.10 cannot read every ISO text, but Celery writes what isoformat() gives.
    if not text:
        return None
    return plain(datetime.fromisoformat(text) if isinstance(text, str) else text)


def _queue(options: Mapping[str, Any], amqp: Any) -> str:
    queue, exchange, key = options.get("queue"), options.get("exchange"), options.get("routing_key")
    exchange, own = getattr(exchange, "name", exchange), getattr(queue, "exchange", None)
    if exchange is None and key and own is not None and own.type != "direct":
        exchange = own.name
    if exchange and not _is_for(queue, exchange, key):  # it wins over the queue
        return _bound(amqp, exchange, key or "")
    if queue is not None:
        return str(getattr(queue, "name", queue))
    return str(key or amqp.app.conf.task_default_queue)


def _is_for(queue: Any, exchange: str, routing_key: str | None) -> bool:
    """Whether the queue that Celery has chosen, maybe by default, is where the exchange puts the message."""
    if getattr(getattr(queue, "exchange", None), "name", None) != exchange:
        return False
    return not routing_key or any(_leads_to(each, exchange, routing_key) for each in (*(queue.bindings or ()), queue))


def _bound(amqp: Any, exchange: str, routing_key: str) -> str:
    """The one queue that the app has bound there, or the exchange and the routing key."""
    declared = {queue.name: queue for queue in list(amqp.queues.values())}
    found = [name for name, queue in declared.items() if any(_leads_to(each, exchange, routing_key) for each in (
        *(queue.bindings or ()), queue))]  # fmt: skip
    return found[0] if len(found) == 1 else f"{exchange}/{routing_key}"


def _leads_to(binding: Any, exchange: str, routing_key: str) -> bool:
    if getattr(binding.exchange, "name", None) != exchange:
        return False
    if binding.exchange.type != "topic":
        return bool(binding.exchange.type == "fanout" or binding.routing_key == routing_key)
    topic = TopicExchange(None)
    return topic._match(topic.key_to_pattern(binding.routing_key), routing_key) is not None


def _options(headers: dict[str, Any], options: Mapping[str, Any], embed: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in options.items() if name in _PLAIN_OPTIONS}
    if "exchange" in found:
        found["exchange"] = getattr(found["exchange"], "name", found["exchange"])
    hard, soft = headers.get("timelimit") or (None, None)
    found["shadow"] = headers.get("shadow")
    found["expires"] = options.get("expiration")
    found["time_limit"], found["soft_time_limit"] = hard, soft
    found["link"], found["link_error"] = embed.get("callbacks"), embed.get("errbacks")
    found["ignore_result"] = headers.get("ignore_result") or None
    return {name: value for name, value in found.items() if value is not None}
