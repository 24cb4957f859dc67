"""What a queue was declared with: RabbitMQ's ``x-`` arguments, as far as they are heeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NONE", "QueueArguments"]

#: https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling, since RabbitMQ 4.0.
QUORUM_DELIVERY_LIMIT = 20


@dataclass(frozen=True)
class QueueArguments:
    """The arguments of one queue; durations are milliseconds, as RabbitMQ has them.

    Attributes:
        max_priority: ``x-max-priority``.
        ttl: ``x-message-ttl``.
        max_length: ``x-max-length``.
        overflow: ``x-overflow``: ``drop-head``, ``reject-publish`` or ``reject-publish-dlx``.
        dead_letter_exchange: ``x-dead-letter-exchange``; the empty name is the default exchange.
        dead_letter_routing_key: ``x-dead-letter-routing-key``; the message's own if None.
        delivery_limit: ``x-delivery-limit`` of a quorum queue.
        consumer_timeout: ``x-consumer-timeout``.
        is_quorum: ``x-queue-type`` is ``quorum``.
    """

    max_priority: int | None = None
    ttl: float | None = None
    max_length: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    delivery_limit: int | None = None
    consumer_timeout: float | None = None
    is_quorum: bool = False

    @classmethod
    def read(cls, given: Mapping[str, Any] | None, *, heeded: bool) -> QueueArguments:
        """What a declaration says; where the broker has no such thing, only the priorities count."""
        found = given or {}
        maximum = found.get("x-max-priority")
        if not heeded or not found:
            return NONE if maximum is None else cls(max_priority=maximum)
        is_quorum = found.get("x-queue-type") == "quorum"
        return cls(
            max_priority=maximum,
            ttl=found.get("x-message-ttl"),
            max_length=found.get("x-max-length"),
            overflow=found.get("x-overflow") or "drop-head",
            dead_letter_exchange=found.get("x-dead-letter-exchange"),
            dead_letter_routing_key=found.get("x-dead-letter-routing-key"),
            delivery_limit=found.get("x-delivery-limit", QUORUM_DELIVERY_LIMIT) if is_quorum else None,
            consumer_timeout=found.get("x-consumer-timeout"),
            is_quorum=is_quorum,
        )


#: A queue that was declared without any.
NONE = QueueArguments()
