"""What a test does to a broker on purpose, and what a broker keeps for that."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.serialization import loads
from kombu.utils.encoding import str_to_bytes

from ..errors import Deadlock

__all__ = ["Sent", "Tampered", "arguments_in", "id_in"]

Payload = Mapping[str, Any]

#: How often somebody may try to reach it during one outage.
PATIENCE = 1000


@dataclass(frozen=True)
class Sent:
    """A message as it was put into a queue."""

    payload: Payload
    queue: str

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""
        return dict(self.payload.get("headers") or {})


class Tampered:
    """A broker that a test may interfere with."""

    def __init__(self) -> None:
        """Nobody has."""
        #: The queues that deliver nothing for now.
        self.on_hold: set[str] = set()
        #: Nobody can reach it.
        self.is_out = False
        #: How often it was tried in vain.
        self._refused = 0
        #: What this process has put into a queue, oldest first, by task id: a test may want it there once more.
        self.sent: dict[str, list[Sent]] = {}
        #: The queues of which a text has said already that no worker consumes them.
        self.reported: set[str] = set()
        #: Called with a channel that is to be closed, the deliveries that were held there for too long, and how long.
        self.on_consumer_timeout: Callable[[Any, list[Any], float], object] = lambda channel, held, seconds: None
        #: Why no queue has taken a message, by its task id.
        self.dropped: dict[str, str] = {}
        #: Called with the task id, and the number of the retry, of a message that a test has put into a queue.
        self.on_added: Callable[[str, int], object] = lambda task_id, retries: None
        #: Called with the task id of a message that a test has taken out of one.
        self.on_taken_out: Callable[[str], object] = lambda task_id: None

    def refuse(self, error: Exception) -> None:
        """Raise the error where nobody can reach the broker.

        Raises:
            Deadlock: Somebody goes on trying, and the test that could end the outage waits for him.
        """
        if not self.is_out:
            self._refused = 0
            return
        self._refused += 1
        if self._refused > PATIENCE:
            raise Deadlock(
                f"somebody has tried {PATIENCE} times to reach the broker during an outage, and would go on for ever: "
                "the test waits for him, and could not end the outage. Give the publisher a retry policy that ends "
                "(retry_policy={'max_retries': 3}), or end the outage before."
            )
        raise error

    def expiry_due(self) -> datetime | None:
        """When a message next becomes a dead letter because its time is over: only RabbitMQ has such queues."""
        return None

    def expire_now(self) -> None:
        """There are none."""

    def remember(self, queue: str, payload: Payload) -> None:
        """A message is put into a queue."""
        task_id = id_in(payload)
        if task_id is not None:
            self.sent.setdefault(task_id, []).append(Sent(payload, queue))


def id_in(payload: Payload) -> str | None:
    """The task id of a message, in whichever protocol it was sent; None where it is no task's."""
    found = (payload.get("headers") or {}).get("id") or payload["properties"].get("correlation_id")
    return None if found is None else str(found)


def arguments_in(payload: Payload) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that a message carries; none where its body is no task's."""
    body = payload["body"]
    if payload["properties"].get("body_encoding") == "base64":
        body = b64decode(str_to_bytes(body))
    content_type = payload["content-type"]
    found = loads(body, content_type, payload["content-encoding"], accept=[content_type])
    if isinstance(found, (list, tuple)) and len(found) == 3:
        return tuple(found[0]), dict(found[1])
    return (tuple(found.get("args", ())), dict(found.get("kwargs", {}))) if isinstance(found, dict) else ((), {})
