"""What brokers do differently: the memory broker follows the one that the app is configured for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError

__all__ = ["AMQP", "RABBITMQ", "REDIS", "Profile", "profile_for", "visibility_timeout_in"]

#: kombu's own default for Redis: one hour.
VISIBILITY_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Profile:
    """How a real broker treats what AMQP leaves to it.

    Attributes:
        name: ``amqp``, ``rabbitmq`` or ``redis``.
        highest_first: Whether a greater priority goes first (AMQP) or last (kombu on Redis).
        steps: The priorities that exist; others are rounded down to one of them.  None: all of them.
        declared_only: Whether priorities count only on queues declared with ``x-max-priority``.
        expires_messages: Whether a message whose ``expiration`` has passed leaves the queue undelivered.
        visibility_timeout: Seconds after which its clients take an unacknowledged delivery for lost, instead of
            hearing at once that a connection is; None: there is no such thing.
        consumer_timeout: Seconds after which it closes the channel of a consumer that has not acknowledged.
        heeds_arguments: Whether queues have a time to live, a length, dead letters, …
        drops_unroutable: Whether a message for which no queue is bound is gone; kombu has a queue for those.
        ranks_across_queues: Whether the more urgent of two messages goes first also where they wait in two queues.
    """

    name: str
    highest_first: bool = True
    steps: tuple[int, ...] | None = None
    declared_only: bool = False
    expires_messages: bool = True
    visibility_timeout: float | None = None
    consumer_timeout: float | None = None
    heeds_arguments: bool = False
    drops_unroutable: bool = True
    ranks_across_queues: bool = False

    def rank(self, priority: int, maximum: int | None) -> int:
        """Where a priority stands: the lowest rank is delivered first."""
        if self.declared_only and maximum is None:
            return 0
        if self.steps is not None:
            priority = max((step for step in self.steps if step <= priority), default=self.steps[0])
        if maximum is not None:
            priority = min(priority, maximum)
        return -priority if self.highest_first else priority


#: Where the app names no broker that we know: AMQP as the protocol describes it.
AMQP = Profile("amqp")
#: https://www.rabbitmq.com/docs/priority, https://www.rabbitmq.com/docs/ttl and
#: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
RABBITMQ = Profile("rabbitmq", declared_only=True, consumer_timeout=1800.0, heeds_arguments=True)
#: ``kombu.transport.redis``: four lists a queue, 0 first; ``expiration`` is not looked at, the worker revokes.
REDIS = Profile(
    "redis", highest_first=False, steps=(0, 3, 6, 9), expires_messages=False, visibility_timeout=VISIBILITY_TIMEOUT,
    drops_unroutable=False, ranks_across_queues=True,
)  # fmt: skip

_BY_SCHEME = {
    "amqp": RABBITMQ, "amqps": RABBITMQ, "pyamqp": RABBITMQ, "librabbitmq": RABBITMQ,
    "redis": REDIS, "rediss": REDIS, "sentinel": REDIS, "valkey": REDIS, "valkeys": REDIS,
}  # fmt: skip


def profile_for(broker_url: str | None) -> Profile:
    """The profile of the broker that the app is configured for: a test meets the rules of production."""
    return _BY_SCHEME.get((broker_url or "").partition("://")[0].partition("+")[0], AMQP)


def visibility_timeout_in(options: Mapping[str, Any]) -> float:
    """Seconds, by the transport options of an app on Redis.

    Raises:
        ConfigurationError: They are no number of seconds.
    """
    timeout = options.get("visibility_timeout", VISIBILITY_TIMEOUT)
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0:
        return float(timeout)
    raise ConfigurationError(
        f"broker_transport_options['visibility_timeout'] is a number of seconds above 0; the app has {timeout!r}"
    )
