"""What is lost on its way to the broker and to the result backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.app import trace
from kombu.exceptions import OperationalError

from ..faults import Point

if TYPE_CHECKING:
    from .world import World

__all__ = ["FINAL", "losing_answers", "losing_results", "silent_when_dead"]

#: The states after which nothing more is stored.
FINAL = frozenset({"SUCCESS", "FAILURE"})


def losing_answers(world: World, amqp: Any) -> None:
    """A publish whose confirmation gets lost: the broker has the message, and the sender does not know."""
    send = amqp.send_task_message

    def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
        sent = send(producer, name, message, **options)
        if world.script.armed and world.script.strikes("publish_unknown", name):
            task_id = message.headers.get("id") or message.body["id"]
            world.record_fault("the broker has the message, the sender gets an error", Point("publish", name, task_id))
            raise OperationalError("the connection was lost after the message had been sent (harness.faults)")
        return sent

    amqp.send_task_message = send_task_message


@contextmanager
def silent_when_dead(world: World) -> Iterator[None]:
    """While entered, a body that is dead sends no ``task_postrun``, which Celery's tracer sends whatever happens.

    One that was told to end, by SIGTERM, does: it leaves its body as on ``SystemExit``.
    """
    send = trace.send_postrun

    def send_postrun(**named: Any) -> Any:
        execution = world.execution_here()
        is_silent = execution is not None and execution.killed and not execution.was_told
        return [] if is_silent else send(**named)

    trace.send_postrun = send_postrun
    try:
        yield
    finally:
        trace.send_postrun = send


def losing_results(world: World, backend: Any) -> None:
    """A result that never arrives, and a worker that dies just before it stores one."""
    store = backend.store_result

    def store_result(task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        execution = world.execution_here() if world.script.armed else None
        if execution is not None and state in FINAL and execution.task_id == task_id:
            point = Point("before_result", execution.task_name, task_id)
            world.reach(point, execution)
            if world.script.strikes("lose_result", execution.task_name):
                world.record_fault(f"its result is lost: {state}", point, worker=execution.node.name)
                return result
        return store(task_id, result, state, *args, **kwargs)

    backend.store_result = store_result
