"""The harness: what users hold.  The only place where the rooms are put together."""

from __future__ import annotations

from .broker_handle import Broker
from .handle import Worker
from .harness import Harness

__all__ = ["Broker", "Harness", "Worker"]
