"""When a message was made.  In real time its publish is over a moment later, when a worker may have it already.

The moment is the one from which Celery counts the countdown, to the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

__all__ = ["Moments"]


class Moments:
    """Of the messages that one app publishes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """By this clock."""
        self._now = now
        self._made: dict[str, datetime] = {}
        self._countdowns: dict[str, float] = {}

    def watch(self, amqp: Any) -> None:
        """Remember when this ``app.amqp`` makes a message."""
        create = amqp.create_task_message

        def create_task_message(
            task_id: str, name: str, args: Any = None, kwargs: Any = None, countdown: float | None = None,
            *rest: Any, **options: Any,
        ) -> Any:  # fmt: skip
            self._made[task_id] = self._now()
            if countdown:
                self._countdowns[task_id] = countdown
            return create(task_id, name, args, kwargs, countdown, *rest, **options)

        amqp.create_task_message = create_task_message

    def of(self, task_id: str, *, eta: datetime | None, otherwise: datetime) -> datetime:
        """When the message that is being published was made."""
        made = self._made.pop(task_id, otherwise)
        countdown = self._countdowns.pop(task_id, None)
        return made if countdown is None or eta is None else eta - timedelta(seconds=countdown)
