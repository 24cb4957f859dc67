"""What consumers of the memory broker hold, and for how long they may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from .arguments import QueueArguments
from .profiles import Profile
from .queued import Overdue, QueuedMessage

__all__ = ["Holding"]


class Holding:
    """The part of a broker that knows who holds what."""

    arguments_of: Callable[[str], QueueArguments]
    on_consumer_timeout: Callable[[Any, list[Any], float], object]

    def __init__(self, now: Callable[[], datetime], profile: Profile) -> None:
        """Nobody holds anything."""
        self._now = now
        self.profile = profile
        #: Delivered and not yet acknowledged, by delivery tag, in order of delivery.
        self.unacked: dict[str, QueuedMessage] = {}

    def hold(self, tag: str, message: QueuedMessage) -> None:
        """A delivery was made, now; on Redis a message has the same tag each time."""
        message.held_since = self._now()
        self.unacked.pop(tag, None)
        self.unacked[tag] = message

    def overdue(self) -> dict[str, QueuedMessage]:
        """The deliveries that have been held for too long, by tag, oldest first."""
        now = self._now()
        dues = ((tag, message, self._lost_at(message)) for tag, message in self.unacked.items())
        return {tag: message for tag, message, due in dues if due is not None and due <= now}

    def held_too_long_at(self) -> datetime | None:
        """The first instant at which that is so, or None."""
        if self.profile.visibility_timeout is not None:  # the first one is the first to be lost
            return next((self._lost_at(message) for message in self.unacked.values()), None)
        if self.profile.consumer_timeout is None:
            return None
        return min(filter(None, map(self._lost_at, self.unacked.values())), default=None)

    def _lost_at(self, message: QueuedMessage) -> datetime | None:
        timeout = self.timeout_of(message)
        if timeout is None or message.held_since is None:
            return None
        try:
            return message.held_since + timedelta(seconds=timeout)
        except OverflowError:  # after the end of time
            return None

    def timeout_of(self, message: QueuedMessage) -> float | None:
        """How long a delivery may be held, in seconds; None: for ever."""
        if self.profile.visibility_timeout is not None or self.profile.consumer_timeout is None:
            return self.profile.visibility_timeout
        if message.holder is None:  # a test has taken it off its queue, which makes no consumer
            return None
        arguments = self.arguments_of(message.queue)
        if arguments.is_quorum and message.headers.get("eta"):
            return None  # it waits in RabbitMQ, by Celery's delayed delivery, and is not delivered yet
        own = arguments.consumer_timeout
        return self.profile.consumer_timeout if own is None else own / 1000

    def close_channels(self, overdue: Mapping[str, QueuedMessage]) -> None:
        """RabbitMQ closes the channels of those who have held something for too long."""
        for channel in dict.fromkeys(message.holder for message in overdue.values()):
            held = [message for message in overdue.values() if message.holder is channel]
            seconds = min(self.timeout_of(message) or 0.0 for message in held)
            self.on_consumer_timeout(channel, list(map(Overdue.of, held)), seconds)
