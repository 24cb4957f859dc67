"""What users hold of a worker."""

from __future__ import annotations

from typing import Any

from ..errors import FaultNeverStruck, FidelityError, hide_frames
from .staging import Node, World

__all__ = ["Held", "Worker", "check_held"]

__tracebackhide__ = hide_frames


class Held:
    """A body that stays in its beginning, from :meth:`Worker.hold_in`."""

    def __init__(self, hold: Any) -> None:
        """Use ``harness.worker().hold_in(task)``."""
        self._hold = hold

    def release(self) -> None:
        """Let the body go on with the next step; where none has come, hold none.  Releasing twice is fine."""
        self._hold.release()

    def __enter__(self) -> Held:
        """It holds already."""
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        """Release.

        Raises:
            FaultNeverStruck: No run has come, and no thread of ``background()`` was about to start one.
        """
        if not self._hold.release() and exc_type is None:
            raise FaultNeverStruck(_never_held([(self._hold.task, self._hold.worker)], "before its block ends"))

    def __repr__(self) -> str:
        """As ``<Held shop.charge on worker>``."""
        return f"<Held {self._hold.task} on {self._hold.worker}>"


class Worker:
    """The handle of one worker."""

    def __init__(self, world: World, node: Node) -> None:
        """Use ``harness.worker()``."""
        self._world = world
        self.__node = node

    @property
    def _node(self) -> Node:
        """The worker of this name: another one, where a fault has killed the first and it was started anew."""
        name = self.__node.name
        return next((node for node in self._world.nodes if node.name == name), self.__node)

    @property
    def name(self) -> str:
        """What ``run.worker`` says."""
        return self.__node.name

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

    def hold_in(self, task: Any) -> Held:
        """Keep the next run of ``task`` on this worker in the beginning of its body, until it is released.

        It has begun as far as anybody can see: ``STARTED`` is stored where that is asked for, it occupies a slot, with
        a late acknowledgement it is not acknowledged, and the death of the worker is its own.  Everything else goes
        on.  Use it as a context manager, or call :meth:`Held.release`.

        Args:
            task: The task, or its name.

        Raises:
            ConfigurationError: There is no such task.
            FidelityError: The worker is a real process.
        """
        hold = getattr(self._node, "hold_in", None)
        if hold is None:
            raise FidelityError(
                "hold_in() stops a body at its first line, which only a worker that is stepped can do; this one is a "
                "process. Run this test with mode='redis', or let the task wait for something of the test's (a file, a "
                "key)."
            )
        return Held(hold(getattr(task, "name", task)))

    def __repr__(self) -> str:
        """As ``<Worker a>``."""
        return f"<Worker {self.name}>"


def check_held(world: World) -> None:
    """Complain of bodies that were to be held, and never came.

    Raises:
        FaultNeverStruck: The text lists them.
    """
    missing = world.never_held()
    if missing:
        raise FaultNeverStruck(_never_held(missing, "before the test ends"))


def _never_held(missing: list[tuple[str, str]], when: str) -> str:
    listed = "\n".join(f"  {task} on {worker}" for task, worker in missing)
    return (
        f"expected {len(missing)} run{'s' * (len(missing) != 1)} to be held by hold_in(); none has begun:\n"
        f"{listed}\n"
        f"Let the task run on that worker {when} (harness.drain()), or release() what is not needed."
    )
