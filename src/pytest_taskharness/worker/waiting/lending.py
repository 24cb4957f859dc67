"""Django's connections of one thread, lent to another one: a body sees what the test has not committed.

Django's own ``LiveServerThread`` does the same with databases that are in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Lent"]


class Lent:
    """The connections of the calling thread, those included that it has yet to open."""

    def __init__(self) -> None:
        """Lend them."""
        self._connections = _connections()
        for each in self._connections.values():
            each.inc_thread_sharing()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """In the other thread: while entered, they are its own."""
        here = sys.modules["django.db"].connections if self._connections else {}
        for alias, connection in self._connections.items():
            here[alias] = connection
        try:
            yield
        finally:
            for alias in self._connections:
                del here[alias]  # and does not close it

    def give_back(self) -> None:
        """The other thread has ended."""
        for each in self._connections.values():
            each.dec_thread_sharing()
        self._connections = {}


def _connections() -> dict[str, Any]:
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if conf is None or db is None or not conf.settings.configured:
        return {}
    return {alias: db.connections[alias] for alias in db.connections}
