"""Reads one publish off the arguments of Celery's own ``send_task_message``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..clock.real import plain
from ..timeline import Event
from .callsite import call_site

__all__ = ["describe_publish", "snapshot"]

#: ``apply_async`` options that reach ``send_task_message`` under their own names.
_PLAIN_OPTIONS = (
    "priority", "serializer", "compression", "delivery_mode", "exchange", "routing_key", "reply_to", "retry",
    "retry_policy", "shadow", "headers",
)  # fmt: skip


def snapshot(value: Any) -> Any:
    """The value as it is now: containers are copied, so that a later change does not rewrite history."""
    if type(value) is list:
        return [snapshot(item) for item in value]
    if type(value) is tuple:
        return tuple(snapshot(item) for item in value)
    if type(value) is dict:
        return {key: snapshot(item) for key, item in value.items()}
    return value


def describe_publish(
    name: str, message: Any, *, options: Mapping[str, Any], default_queue: str, earlier: list[Event]
) -> dict[str, Any]:  # fmt: skip
    """The detail of a ``publish`` event.

    Args:
        name: The task's name.
        message: Celery's ``task_message`` tuple, after it was sent.
        options: What ``send_task_message`` was given.
        default_queue: Where a message goes that names no queue and no exchange.
        earlier: The events of the same id: a retry does not repeat that its arguments are hidden.
    """
    headers, args, kwargs, embed = _parts(message)
    hidden = "argsrepr" in options or "kwargsrepr" in options
    shown = {"argsrepr": headers.get("argsrepr", ""), "kwargsrepr": headers.get("kwargsrepr", "")}
    for event in earlier:
        if event.kind == "publish" and event.detail.get("hidden"):
            hidden, shown = True, {key: event.detail[key] for key in shown}
            break
    return {
        "args": tuple(snapshot(list(args))),
        "kwargs": snapshot(dict(kwargs)),
        **shown,
        "hidden": hidden,
        "options": _options(headers, options, embed),
        "headers": dict(headers),
        "queue": _queue(options, default_queue),
        "eta": _instant(headers.get("eta")),
        "retries": headers.get("retries") or 0,
        "parent_id": headers.get("parent_id"),
        "root_id": headers.get("root_id"),
        "group_id": headers.get("group"),
        "embed": dict(embed),
        "call_site": call_site(),
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


def _queue(options: Mapping[str, Any], default_queue: str) -> str:
    queue = options.get("queue")
    if queue is not None:
        return str(getattr(queue, "name", queue))
    exchange = options.get("exchange")
    if exchange:
        return f"{getattr(exchange, 'name', exchange)}/{options.get('routing_key') or ''}"
    return str(options.get("routing_key") or default_queue)


def _options(headers: dict[str, Any], options: Mapping[str, Any], embed: dict[str, Any]) -> dict[str, Any]:
    hard, soft = headers.get("timelimit") or (None, None)
    found: dict[str, Any] = {name: options.get(name) for name in _PLAIN_OPTIONS}
    found["shadow"] = headers.get("shadow")
    found["exchange"] = getattr(found["exchange"], "name", found["exchange"])
    found |= {"expires": options.get("expiration"), "time_limit": hard, "soft_time_limit": soft}
    found |= {"link": embed.get("callbacks"), "link_error": embed.get("errbacks")}
    found["ignore_result"] = headers.get("ignore_result") or None
    return {name: value for name, value in found.items() if value is not None}
