"""The harness: what users hold.  The only place where the rooms are put together."""

from __future__ import annotations

from .handle import Worker
from .harness import Harness

__all__ = ["Harness", "Worker"]
