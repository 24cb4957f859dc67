"""What is declared on a RabbitMQ, and put off until somebody could notice: most tests never do.

A worker declares a mailbox for remote control, and every exchange of its queues.  The server takes longer for that than
for the rest of a test; and whatever is declared a second time, it has already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Later"]

Key = tuple[str, ...]
Act = Callable[[Any], Any]


class Later:
    """The declarations of one harness.

    Attributes:
        is_over: Nothing is put off any more: the server uses exchanges by itself, for dead letters.
    """

    def __init__(self, channel: Callable[[], Any]) -> None:
        """``channel()`` is the one on which all of it is done at last."""
        self._channel = channel
        self._said: dict[Key, str] = {}
        self._waiting: dict[Key, Act] = {}
        self.is_over = False

    def declare(self, key: Key, how: str, act: Act, *, on: Any) -> None:
        """Declare something, some day; at once, and on this channel, where it contradicts what was said before."""
        said = self._said.get(key)
        if said == how:
            return
        if said is not None or self.is_over:
            self.flush()
            act(on)
        else:
            self._waiting[key] = act
        self._said[key] = how

    def flush(self) -> None:
        """The server is to know all of it, now."""
        while self._waiting:
            key = next(iter(self._waiting))
            self._waiting.pop(key)(self._channel())

    def end(self) -> None:
        """Put off nothing from now on."""
        self.is_over = True
        self.flush()

    def is_waiting(self, kind: str, name: str) -> bool:
        """Whether the server does not know of it yet."""
        return (kind, name) in self._waiting

    def forget(self, kind: str, name: str) -> bool:
        """It is deleted, and what was bound to it; whether the server has known of it."""
        known = not self.is_waiting(kind, name)
        place = 1 if kind == "queue" else 2  # as in ("binding", queue, exchange, …)
        for key in [key for key in self._said if key == (kind, name) or (key[0] == "binding" and key[place] == name)]:
            del self._said[key]
            self._waiting.pop(key, None)
        return known

    def forget_binding(self, queue: str, exchange: str, routing_key: str) -> None:
        """Nothing leads from there to here any more."""
        for key in [key for key in self._said if key[:4] == ("binding", queue, exchange, routing_key)]:
            del self._said[key]
