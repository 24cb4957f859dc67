"""Where the exchanges of one harness lead to, as far as this process has declared them.

The server routes.  This only tells: which queue a message was meant for, and which one a dead letter goes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kombu.transport.virtual.exchange import STANDARD_EXCHANGE_TYPES

from .arguments import NONE, QueueArguments

__all__ = ["Routes"]


@dataclass
class Routes:
    """Queues, exchanges and bindings, by the names that users know.

    Attributes:
        queues: What each queue was declared with, in the order of declaration.
        exchanges: The type of each exchange.
        bindings: For each exchange: routing key, queue and arguments of what is bound to it.
    """

    queues: dict[str, QueueArguments] = field(default_factory=dict)
    exchanges: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = field(default_factory=dict)

    def declare_queue(self, name: str, arguments: Mapping[str, Any] | None) -> None:
        """A queue is there now."""
        self.queues.setdefault(name, QueueArguments.read(arguments, heeded=True))

    def delete_queue(self, name: str) -> None:
        """It is gone, and what was bound to it."""
        self.queues.pop(name, None)
        for bound in self.bindings.values():
            bound[:] = [each for each in bound if each[1] != name]

    def delete_exchange(self, name: str) -> None:
        """An exchange is gone."""
        self.exchanges.pop(name, None)
        self.bindings.pop(name, None)

    def bind(self, queue: str, exchange: str, key: str, arguments: Mapping[str, Any] | None) -> None:
        """A queue is bound to an exchange."""
        self.bindings.setdefault(exchange, []).append((key, queue, arguments or {}))

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """It is no longer."""
        bound = self.bindings.get(exchange, [])
        bound[:] = [each for each in bound if each[:2] != (key, queue)]

    def bound_to(self, queue: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        """By which exchange, with which key and arguments, messages come to a queue."""
        return [
            (name, key, arguments)
            for name, bound in self.bindings.items()
            for key, each, arguments in bound
            if each == queue
        ]

    def targets(self, exchange: str, key: str) -> list[str]:
        """The queues to which an exchange leads what has this key; of a headers exchange that cannot be told."""
        if not exchange:
            return [key] if key in self.queues else []
        kind = STANDARD_EXCHANGE_TYPES.get(self.exchanges.get(exchange, ""))
        if kind is None:
            return []
        found = kind(None)
        table = [found.prepare_bind(queue, exchange, bound, args) for bound, queue, args in self._table(exchange)]
        return sorted(found.lookup(table, exchange, key, None))

    def _table(self, exchange: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        return self.bindings.get(exchange, [])

    def is_fanout(self, exchange: str) -> bool:
        """Whether whoever listens gets a copy."""
        return self.exchanges.get(exchange) == "fanout"

    def arguments_of(self, queue: str) -> QueueArguments:
        """What a queue was declared with."""
        return self.queues.get(queue, NONE)
