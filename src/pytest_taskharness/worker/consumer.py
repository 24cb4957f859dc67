"""Celery's worker and consumer, as far as stepping asks for something else than looping."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import celery
from celery.app import trace
from celery.worker import WorkController
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError

from ..errors import TaskHarnessError
from ..faults import Point
from .bodies.body import with_body
from .sharing import own_queues

if TYPE_CHECKING:
    from .node import Node

#: Celery 5.6.3 forgets what is held for its eta in its event loop; before 5.6.1 and since 5.7, ``on_close`` does it.
LOOP_CLEARS_TIMER = (5, 6, 3) <= celery.VERSION[:3] < (5, 7)

__all__ = ["SteppedConsumer", "SteppedController", "Strategies", "WatchedChannel"]


class SteppedController(WorkController):  # type: ignore[misc]
    """Celery's worker without the boot steps that a stepped worker switches off anyway.

    To load them only to find that out costs as much as to boot the others.  Steps that the user's app adds are booted.
    """

    class Blueprint(WorkController.Blueprint):  # type: ignore[misc]
        """No event loop, no beat, no state file, no autoscaler."""

        default_steps = frozenset({
            "celery.worker.components:Pool",
            "celery.worker.components:Timer",
            "celery.worker.components:Consumer",
        })  # fmt: skip

    node: Node
    #: Asked for by remote control; ``--autoscale`` has no pool processes to start here.
    autoscaler = None

    def _process_task(self, req: Any) -> None:
        """Where prefork has a semaphore: what has no free slot waits, and is looked at again when it has one."""
        self.node.admit(req.id, partial(super()._process_task, req))

    def stats(self) -> dict[str, Any]:
        """What ``inspect().stats()`` shows; Celery counts for a process, which all stepped workers share."""
        stats = super().stats()
        return {**stats, "total": self.node.started(), "pool": {**_as_prefork(self.pool), **stats["pool"]}}


def _as_prefork(pool: Any) -> dict[str, Any]:
    """What a prefork pool says of itself, where the bodies run in one process, which is never replaced."""
    return {
        "processes": [os.getpid()],
        "max-tasks-per-child": "N/A",
        "put-guarded-by-semaphore": pool.putlocks,
        "timeouts": [pool.options.get("soft_timeout") or 0, pool.options.get("timeout") or 0],
        "writes": "N/A",
    }


class Strategies(dict):  # type: ignore[type-arg]
    """A task's strategy and tracer, made when its first message comes.

    Celery makes all of them at the start; most tests need one, and tasks that are defined inside a test come later.
    """

    consumer: SteppedConsumer

    def __missing__(self, name: str) -> Any:
        app = self.consumer.app
        if name not in app.tasks:
            raise KeyError(name)  # as of Celery's own dict: receivers of task_unknown see it
        task = app.tasks[name]
        if name not in self.consumer.task_buckets:
            self.consumer.task_buckets[name] = self.consumer.bucket_for_task(task)
        with with_body(task, self.consumer.node.world):
            # By the name in its module: an agent that watches Celery may have replaced it after we were imported.
            task.__trace__ = trace.build_tracer(name, task, app.loader, self.consumer.hostname, app=app)
        self[name] = task.start_strategy(app, self.consumer)
        return self[name]


class SteppedConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, except that nobody loops: its event loop is whoever steps."""

    node: Node
    Strategies = Strategies

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """No mingle, no gossip, no heartbeat, no agent, no delayed delivery."""

        default_steps = (
            "celery.worker.consumer.connection:Connection",
            "celery.worker.consumer.events:Events",
            "celery.worker.consumer.control:Control",
            "celery.worker.consumer.tasks:Tasks",
            "celery.worker.consumer.consumer:Evloop",
        )

    def start(self) -> None:
        """Connect and get ready, once."""
        self.blueprint.start(self)

    def update_strategies(self) -> None:
        """Forget what was made so far; it is made again when it is needed."""
        self.strategies.clear()
        self.strategies.consumer = self

    def loop(self, *args: Any) -> None:
        """In the place of ``celery.worker.loops.synloop``: get ready, then leave the driving to the test."""
        self.task_consumer.on_message = self.create_task_handler()
        self.task_consumer.consume()  # a Broadcast queue gets only what is published after that
        self.on_ready()

    def on_close(self) -> None:
        """Celery 5.7 drops what every worker of the process holds for later; ours drops its own."""
        scheduled: Any = getattr(worker_state, "scheduled_requests", set())
        own = [due.entry for due in self.timer.pending()]
        others = [request for request in scheduled if not any(request._eta_timer_entry is each for each in own)]
        scheduled.difference_update(others)
        super().on_close()
        scheduled.update(others)

    def lose_connection(self) -> None:
        """What ``start`` of Celery's does where the connection breaks, up to the moment at which it tries again."""
        if LOOP_CLEARS_TIMER:
            self.timer.clear()
        self.on_connection_error_after_connected(ConnectionResetError("Connection reset by peer"))
        self.on_close()
        self.blueprint.restart(self)

    def add_task_queue(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """The remote control command ``add_consumer``."""
        with own_queues(self.node):
            super().add_task_queue(queue, *args, **kwargs)
        self.node.told[queue] = True

    def cancel_task_queue(self, queue: str) -> None:
        """The remote control command ``cancel_consumer``."""
        with own_queues(self.node):
            super().cancel_task_queue(queue)
        self.node.told[queue] = False

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's own; what it does not expect of a message ends a worker."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            try:
                return handle(message)
            except (TaskHarnessError, OSError, OperationalError):
                raise
            except Exception as error:
                raise self.node.ended_by(message, error) from error

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message that is no task."""
        self.node.poisoned(message, "not a task message")
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task that this app does not have."""
        self.node.poisoned(message, self.node.unregistered(message.headers.get("task")), error=exc)
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A message that the worker refuses: bad headers, or a content type that is not accepted."""
        self.node.poisoned(message, f"refused: {exc}", error=exc)
        super().on_invalid_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A body that cannot be read."""
        self.node.poisoned(message, f"cannot be decoded: {exc}", error=exc)
        super().on_decode_error(message, exc)


class WatchedChannel:
    """A message's channel, which tells when the message is acknowledged or rejected."""

    def __init__(self, channel: Any, node: Node, identity: dict[str, Any]) -> None:
        """Watch a channel for one message."""
        self._channel = channel
        self._node = node
        self._identity = identity

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        """Acknowledge, and write it down."""
        self._reach("before_ack")
        if getattr(self._channel, "closed", False):
            raise ConnectionResetError("the channel is closed")  # Celery logs it
        self._channel.basic_ack(delivery_tag, multiple=multiple)
        self._node.record("ack", **self._identity)
        self._reach("after_ack")

    def _reach(self, window: str) -> None:
        world, task = self._node.world, self._identity["task"]
        if world.script.armed and task is not None:
            world.reach(Point(window, task, self._identity["id"]), node=self._node, death="node")

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Reject, and write it down."""
        self._node.record("reject", requeue=requeue, **self._identity)  # a dead letter comes after it
        self._channel.basic_reject(delivery_tag, requeue=requeue)
        self._node.world.hearing.rejected(self._identity, requeue=requeue)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)
