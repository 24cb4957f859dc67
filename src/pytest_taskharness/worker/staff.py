"""The workers of a world, and the bodies that they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..errors import ConfigurationError
from .bodies.company import Company, Lines, Together
from .bodies.pool import Execution, Killed
from .borrowing.takeover import connect_anew
from .mortal import Mortal
from .node import Node

if TYPE_CHECKING:
    from .presence import Presence
    from .world import World

__all__ = ["Staff"]


class Staff(Mortal):
    """The part of a world that has workers, and knows what runs on them."""

    app: Any
    #: Its place in the process.
    presence: Presence
    #: Threads of ``background()`` that a body has kept from their end, and of whom later harnesses must not hear.
    given_up: ClassVar[set[int]] = set()

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
        #: Called before the workers are asked something.
        self.before_answering: Callable[[], object] = lambda: None

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
        return self.employ(Node(self._world, name, queues=queues, concurrency=concurrency))

    def employ(self, node: Node) -> Node:
        """Start a worker.

        Raises:
            ConfigurationError: It would try in vain to reach the broker.
        """
        if self.broker.is_out:
            raise ConfigurationError(
                f"worker {node.name!r} cannot start during an outage: it would try to reach the broker until that is "
                "back. Start it before, or after."
            )
        with self._world.exclusively():
            node.start()
            self.nodes.append(node)
        return node

    def dismiss(self, node: Node) -> None:
        """A worker that nobody asks for any more."""
        with self._world.exclusively():
            node.stop()
            self.nodes.remove(node)

    def kill(self, node: Node) -> None:
        """SIGKILL, as it were."""
        with self._world.exclusively():
            node.kill()

    def stop(self, node: Node, *, warm: bool = True) -> None:
        """Stop as on SIGTERM, or as on SIGQUIT: either way what is held goes back to the broker."""
        with self._world.exclusively():
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
        if self.given_up and threading.get_ident() in self.given_up:
            raise Killed
        execution = self.execution_here()
        if execution is not None:
            execution.stay_dead()

    def lives_here(self) -> bool:
        """Whether the calling thread lives in virtual time: the test's own, one of ``background()``, a body's."""
        here = threading.get_ident()
        if here == self._owner or here in self._world.turn.attendants:
            return True
        return self.execution_here() is not None or self.company.strand_here() is not None

    def can_drive_here(self) -> bool:
        """Whether the calling thread is the test's own, and runs no body."""
        is_open = self._world in self._world.open_worlds
        return is_open and threading.get_ident() == self._owner and self.execution_here() is None

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
