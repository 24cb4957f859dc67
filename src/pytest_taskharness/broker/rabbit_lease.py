"""What a killed run leaves on a RabbitMQ of somebody else's goes away by itself.

The server can be told to delete a queue that nobody uses, and no such thing of an exchange; but an exchange can go with
the last one that it leads to.  So each leads to one more exchange, and that one to a queue whose time is limited: when
the queue is gone, all of them are.  Nothing comes to the queue, and what an exchange leads nowhere else is still
returned to who has sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.transport import pyamqp

from .rabbit_names import Names

__all__ = ["LEASE", "Lease"]

#: How long the server keeps a queue that nobody uses, in milliseconds, where a killed run could leave it behind.
LEASE = 6 * 3600 * 1000
#: What counts seconds by the server's clock.
_TIMED_BY_SERVER = ("x-expires", "x-message-ttl")
#: What the queue, the exchange that leads to it, and the key that nobody uses are called.
_NAME = "~lease"


class Lease:
    """The time of what one harness declares on a server that it shares with others."""

    def __init__(self, names: Names, *, is_shared: bool, clock_moves: bool = True) -> None:
        """Nothing is declared yet; on a server of our own nothing has to be.

        Where the test moves the clock, the server hears of no other time.
        """
        self.queue = names.queue(_NAME)
        self.is_shared = is_shared
        self._withheld = _TIMED_BY_SERVER if clock_moves else ()
        self._has_begun = False

    def of_queue(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What the server is told of a queue: its time, where that is not told already, and no virtual seconds."""
        told = {name: value for name, value in arguments.items() if name not in self._withheld}
        return {"x-expires": LEASE, **told} if self.is_shared else told

    def declare_exchange(self, channel: Any, name: str, *args: Any, auto_delete: bool, **how: Any) -> Any:
        """Make an exchange, by the server's own name for it.

        One that is deleted when it is unused goes with its queues; and one with an alternate would find nothing to be
        unroutable any more: that one stays.
        """
        leased = self.is_shared and not auto_delete and "alternate-exchange" not in (how.get("arguments") or {})
        if leased:
            self._begin(channel)
        declared = pyamqp.Channel.exchange_declare(channel, name, *args, auto_delete=auto_delete or leased, **how)
        if leased:
            pyamqp.Channel.exchange_bind(channel, self.queue, name, self.queue)
        return declared

    def _begin(self, channel: Any) -> None:
        if not self._has_begun:
            timed = self.of_queue({})
            pyamqp.Channel.queue_declare(channel, self.queue, durable=True, auto_delete=False, arguments=timed)
            pyamqp.Channel.exchange_declare(channel, self.queue, "direct", durable=True, auto_delete=True)
            pyamqp.Channel.queue_bind(channel, self.queue, self.queue, self.queue)
            self._has_begun = True

    def end(self, channel: Any) -> None:
        """The harness ends: delete the queue, and with it what is left; all that was told here before is done."""
        if self.is_shared:
            pyamqp.Channel.queue_delete(channel, self.queue)
