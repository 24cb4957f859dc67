"""The workers of a world, and the bodies that they run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigurationError
from .company import Company, Lines, Together
from .mortal import Mortal
from .node import Node
from .pool import Execution
from .takeover import connect_anew

if TYPE_CHECKING:
    from .world import World

__all__ = ["Staff"]


class Staff(Mortal):
    """The part of a world that has workers, and knows what runs on them."""

    app: Any

    def __init__(self) -> None:
        """No worker yet; the calling thread is the test's own."""
        super().__init__()
        self.nodes: list[Node] = []
        #: How many bodies have been started.
        self.starts = 0
        #: Those that run, with their threads: each waits for the next one of its thread.
        self.stack: list[tuple[int, Execution]] = []
        #: The bodies that have a thread of their own.
        self.company = Company(self._world)
        self._owner = threading.get_ident()

    @property
    def _world(self) -> World:
        """The whole that this is a part of."""
        return cast("World", self)

    # -- workers

    def add_node(self, name: str, *, queues: list[str] | None = None, concurrency: int, **how: Any) -> Node:
        """Start one more worker; of how there is no choice.

        Raises:
            ConfigurationError: It would try in vain to reach the broker.
        """
        if self.broker.is_out:
            raise ConfigurationError(
                f"worker {name!r} cannot start during an outage: it would try to reach the broker until that is back. "
                "Start it before, or after."
            )
        node = Node(self._world, name, queues=queues, concurrency=concurrency)
        node.start()
        self.nodes.append(node)
        return node

    def dismiss(self, node: Node) -> None:
        """A worker that nobody asks for any more."""
        node.stop()
        self.nodes.remove(node)

    def kill(self, node: Node) -> None:
        """SIGKILL, as it were."""
        node.kill()

    def stop(self, node: Node, *, warm: bool = True) -> None:
        """Stop as on SIGTERM, or as on SIGQUIT: either way what is held goes back to the broker."""
        if warm:
            self.company.finish(node)
            node.stop()
        else:
            node.kill()

    def never_held(self) -> list[tuple[str, str]]:
        """The tasks, and their workers, of which a run was to be held, and none has come."""
        return self.company.never_held()

    def lose_broker(self) -> None:
        """Nobody can reach the broker from now on; what workers were told before, they have heard."""
        self._world.obey()
        for node in self.nodes:
            node.connection.lose()
        self.broker.is_out = True

    def find_broker(self) -> None:
        """It is back, and the workers connect again."""
        self.broker.is_out = False
        connect_anew(self.app)
        for node in self.nodes:
            node.connection.renew()

    def together(
        self, task_id: str, schedule: Sequence[int] | None = None, *, lines: Lines | None = None
    ) -> Together:  # fmt: skip
        """Let the next two deliveries of a task id run at once."""
        return self.company.together(task_id, schedule, lines=lines)

    # -- bodies

    def stay_dead(self) -> None:
        """End the body that asks, where it is dead."""
        execution = self.execution_here()
        if execution is not None:
            execution.stay_dead()

    def lives_here(self) -> bool:
        """Whether the calling thread lives in virtual time: the test's own, and one that runs a task."""
        here = threading.get_ident()
        return here == self._owner or self.execution_here() is not None or self.company.strand_here() is not None

    def execution_here(self) -> Execution | None:
        """The body that the calling thread runs, innermost first."""
        here = threading.get_ident()
        for thread, execution in reversed(self.stack):
            if thread == here:
                return execution
        return None

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """While a body runs."""
        self.starts += 1
        entry = (threading.get_ident(), execution)
        self.stack.append(entry)
        try:
            yield
        finally:
            self.stack.remove(entry)

    def is_running(self, task_id: str) -> bool:
        """Whether a body of this task id runs, and is not dead."""
        return any(
            execution.task_id == task_id and not (execution.killed or execution.held) for _, execution in self.stack
        )
