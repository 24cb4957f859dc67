"""What queues, exchanges and routing keys of one harness are called on a RabbitMQ.

Users see the names without the prefix, also in what the server writes itself: ``x-death``, and its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PREFIX", "Names"]

#: What the names of all harnesses begin with.
PREFIX = "taskharness:"
#: Queue arguments that name an exchange, or a routing key; the same argument names the alternate of an exchange.
_EXCHANGES = ("x-dead-letter-exchange", "alternate-exchange")
_KEYS = ("x-dead-letter-routing-key",)
#: The word that begins the name of an exchange by which a message goes back to one queue.
_BACK = "~"
_DEATHS = ("x-first-death", "x-last-death")


class Names:
    """The prefix of one harness, put before names and taken off again.

    Routing keys have it too, whatever their exchange: the default exchange routes by names of queues, a dead letter
    keeps its key from one exchange to another, and to a topic exchange the prefix is a first word.

    Attributes:
        prefix: Ends with a dot, and has no other.
    """

    def __init__(self, name: str) -> None:
        """``name`` is what no other harness is called."""
        self.prefix = f"{PREFIX}{name}."

    def queue(self, name: str) -> str:
        """A queue, or a routing key, on the server."""
        return f"{self.prefix}{name}"

    def exchange(self, name: str) -> str:
        """An exchange; the default one is called by the empty name."""
        return f"{self.prefix}{name}" if name else ""

    def back_to(self, queue: str, exchange: str) -> str:
        """The exchange by which a message that came from another one goes back to a queue, and nowhere else."""
        return f"{self.prefix}{_BACK}{len(exchange)}{_BACK}{exchange}{queue}"

    def arguments(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The arguments of a queue, or of an exchange."""
        changed = {key: self.exchange(value) for key, value in (given or {}).items() if key in _EXCHANGES}
        changed |= {key: self.queue(value) for key, value in (given or {}).items() if key in _KEYS}
        return {**(given or {}), **changed}

    def headers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The headers of a message that is published; one that has died before says so."""
        return _renamed(given, self.exchange, self.queue)

    # -- and back

    def seen_queue(self, name: str) -> str:
        """A queue, or a routing key, as users know it."""
        return name.removeprefix(self.prefix)

    def seen_exchange(self, name: str) -> str:
        """An exchange as users know it; of one that led a message back, the one that it had come from."""
        seen = self.seen_queue(name)
        if not seen.startswith(_BACK):
            return seen
        length, _, rest = seen[len(_BACK) :].partition(_BACK)
        return rest[: int(length)]

    def seen_headers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The headers of a message that has come."""
        return _renamed(given, self.seen_exchange, self.seen_queue)

    def seen_text(self, text: str) -> str:
        """What the server says of them."""
        return text.replace(self.prefix, "")


def _renamed(headers: Mapping[str, Any], exchange: Any, queue: Any) -> dict[str, Any]:
    if "x-death" not in headers:
        return dict(headers)
    changed: dict[str, Any] = {"x-death": [_renamed_death(each, exchange, queue) for each in headers["x-death"]]}
    for name in _DEATHS:
        for part, rename in (("exchange", exchange), ("queue", queue)):
            if f"{name}-{part}" in headers:
                changed[f"{name}-{part}"] = rename(headers[f"{name}-{part}"])
    return {**headers, **changed}


def _renamed_death(death: Mapping[str, Any], exchange: Any, queue: Any) -> dict[str, Any]:
    return {
        **death,
        "queue": queue(death["queue"]),
        "exchange": exchange(death["exchange"]),
        "routing-keys": [queue(key) for key in death["routing-keys"]],
    }
