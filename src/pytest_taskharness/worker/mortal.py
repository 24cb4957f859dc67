"""What goes wrong in a world on purpose, and what becomes of the workers that die of it."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import FidelityError
from ..faults import CrashWindow, Point, Script
from ..timeline import Event
from .bodies.forked import Ferry
from .bodies.pool import Execution, Killed

if TYPE_CHECKING:
    from ..broker.queued import Overdue
    from ..recorder import Recorder
    from .node import Node
    from .supplies.supply import Broker

__all__ = ["Mortal"]


class Mortal:
    """The part of a world that faults strike."""

    recorder: Recorder
    broker: Broker
    eager: bool
    nodes: list[Node]
    employ: Callable[[Node], Node]
    execution_here: Callable[[], Execution | None]

    def __init__(self) -> None:
        """Nothing goes wrong yet."""
        #: What is to go wrong.
        self.script = Script()
        self._fallen: list[Node] = []
        #: Called with what is about to die, and where, before it does.
        self.on_death: Callable[[CrashWindow, Point], object] = lambda window, point: None
        #: What carries messages and results back from a forked child; None where nothing can.
        self.ferry: Ferry | None = None
        #: How many lines a body that is watched may run before it is taken for endless; None: any number.
        self.most_lines: int | None = None

    def sent_out(self, event: Event) -> None:
        """A message is out: by bad luck twice, or the last one that its sender lives to send."""
        if not self.script.armed:
            return
        if self.script.luck and not self.eager and event.id is not None and self.script.luck.duplicates():
            self._duplicate(event.id)
        execution = self.execution_here()
        if execution is not None and execution.body_done:
            execution.callbacks += 1
            point = Point("between_callbacks", execution.task_name, execution.task_id, hit=execution.callbacks)
            self.reach(point, execution)

    def _duplicate(self, task_id: str) -> None:
        if task_id not in self.broker.sent:
            return  # a broadcast, which no queue keeps
        sent = self.broker.sent[task_id][-1]
        self.broker.add(sent.queue, sent.payload)
        self.broker.on_added(task_id, sent.headers.get("retries") or 0)
        note = f"duplicated by chance: a second copy at the end of queue {sent.queue!r}"
        self.recorder.record("fault", task=sent.headers.get("task"), id=task_id, note=note, copies=1)

    def reach(
        self, point: Point, execution: Execution | None = None, *, node: Node | None = None, death: str | None = None,
        body: CodeType | None = None,
    ) -> None:  # fmt: skip
        """A delivery comes to a window; whatever is to die there dies.

        Raises:
            Killed: It has, and nothing more of it is to happen.
        """
        window = self.script.reach(point, death=death, body=body)
        if window is not None:
            self.on_death(window, point)
            self.die(window, point, execution, node=node)

    def die(
        self, window: CrashWindow, point: Point, execution: Execution | None = None, *, node: Node | None = None
    ) -> NoReturn:  # fmt: skip
        """Let die what the window says.

        Raises:
            Killed: Always.
        """
        node = execution.node if execution is not None else node
        assert node is not None
        if window.death == "child" and execution is not None:
            self.record_fault(f"its pool process dies at {window}", point, worker=node.name)
            execution.killed = execution.lost = True
            execution.stay_dead()
        self._fallen.append(node)
        node.kill(f"dies at {window}: its connection is lost", task=point.task, id=point.id)
        raise Killed

    def close_channel(self, channel: Any, held: list[Overdue], seconds: float) -> None:
        """The broker closes the channel of a worker that has held these deliveries for too long."""
        node = next(node for node in self.nodes if node.alive and node.consumer.task_consumer.channel is channel)
        node.connection.lose_channel(held, seconds)
        if not node.alive:
            self._fallen.append(node)

    def ferry_or_refuse(self) -> Ferry:
        """What carries messages and results back from a forked child.

        Raises:
            FidelityError: Broker and backend are in this process, and cannot be copied back.
        """
        if self.ferry is None:
            raise FidelityError(
                "forked=True: what a forked child publishes and stores in fakeredis cannot be brought back, because "
                "its server lives in the test's process. Run this test with mode='memory' or mode='redis'."
            )
        return self.ferry

    def record_fault(self, note: str, point: Point, *, worker: str | None = None) -> None:
        """Write down that something went wrong on purpose."""
        self.recorder.record("fault", task=point.task, id=point.id, worker=worker, note=note)

    def raise_the_fallen(self) -> None:
        """Start workers anew that a fault has killed, as a supervisor does; one that the test has killed stays dead."""
        while self._fallen:
            node = self._fallen.pop()
            place = self.nodes.index(node)
            self.employ(node.again())
            self.nodes[place] = self.nodes.pop()
