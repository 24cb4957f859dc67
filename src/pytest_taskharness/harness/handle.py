"""What users hold of a worker."""

from __future__ import annotations

from ..errors import hide_frames
from .staging import Node, World

__all__ = ["Worker"]

__tracebackhide__ = hide_frames


class Worker:
    """The handle of one worker."""

    def __init__(self, world: World, node: Node) -> None:
        """Use ``harness.worker()``."""
        self._world = world
        self._node = node

    @property
    def name(self) -> str:
        """What ``run.worker`` says."""
        return self._node.name

    @property
    def queues(self) -> list[str]:
        """The queues that it consumes."""
        return self._node.queues()

    def pause(self) -> None:
        """Take no message and run no timer until :meth:`resume`."""
        self._node.pause()

    def resume(self) -> None:
        """Go on."""
        self._node.resume()

    def kill(self) -> None:
        """Die as a node does: the connection is lost, and what is not acknowledged is redelivered."""
        self._world.kill(self._node)

    def shutdown(self, *, warm: bool = True) -> None:
        """Stop: warm as on SIGTERM, or cold as on SIGQUIT; either way what is held goes back to the broker.

        https://docs.celeryq.dev/en/stable/userguide/workers.html#stopping-the-worker
        """
        self._world.stop(self._node, warm=warm)

    def __repr__(self) -> str:
        """As ``<Worker a>``."""
        return f"<Worker {self.name}>"
