"""Hears all workers of a world at once: their journals, and the end of their processes."""

from __future__ import annotations

import os
import select
from typing import Any

from ...clock.real import Real
from ...servers.guarded import GuardedProcess
from .node import WorkerProcess

__all__ = ["Ear"]


class Ear:
    """Reads what has come, and waits for what is to come."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        """Listen to these, and to those that are added to the list."""
        self._workers = workers
        #: The process of the server; None where it is not ours, or gone.
        self.server: GuardedProcess | None = None

    def read(self) -> list[dict[str, Any]]:
        """What has come; does not wait."""
        return [record for worker in self._workers for record in worker.journal.read()]

    def has_lost_server(self) -> bool:
        """Whether the server has ended since somebody asked last."""
        if self.server is None or self.server.poll() is None:
            return False
        self.server = None
        return True

    def wait(self, deadline: float | None, *, bell: int | None = None) -> bool:
        """Until something comes, or a process ends; False where the deadline (``Real.monotonic``) has passed.

        A bell is a pipe that somebody may ring, so that nobody waits here any longer.
        """
        poll = select.poll()
        if bell is not None:
            poll.register(bell, select.POLLIN)
        for worker in self._workers:
            if not worker.process.closed:
                poll.register(worker.journal, select.POLLIN)
            if not worker.has_ended():
                poll.register(worker.process, select.POLLIN)
        if self.server is not None:
            poll.register(self.server, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - Real.monotonic()) * 1000
        rung = poll.poll(left)
        if bell in dict(rung):
            os.read(bell, 4096)
        return bool(rung)
