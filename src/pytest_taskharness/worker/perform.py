"""One task, now, without a broker, through the consumer, the request and the tracer, as attempt N."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from celery.exceptions import NotRegistered
from kombu.message import Message
from kombu.serialization import dumps
from kombu.utils.uuid import uuid

from ..errors import NoSuchRun, TaskHarnessError

if TYPE_CHECKING:
    from ..timeline import Run
    from .world import World

__all__ = ["UnknownTask", "perform"]

#: Options that say when and where a message travels; a performed task does not travel.
_TRAVEL = ("countdown", "eta", "expires", "queue", "exchange", "routing_key", "priority", "task_id")


class UnknownTask(TaskHarnessError, NotRegistered):  # type: ignore[misc]
    """The app has no such task."""

    def __str__(self) -> str:
        """The text itself; NotRegistered is a KeyError, which would quote it."""
        return str(self.args[0])


class NoChannel:
    """The channel of a message that came from no broker: nothing to acknowledge."""

    no_ack_consumers = None

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        """Nobody waits for it."""

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Nobody takes it back."""


def perform(world: World, signature: Any, *, attempt: int) -> Run:
    """Run ``signature`` once.

    Raises:
        UnknownTask: The app has no task of this name.
        TypeError: The arguments do not fit the task.
        kombu.exceptions.EncodeError: An argument cannot be serialized; the text has its path.
    """
    if not isinstance(signature, dict) or "task" not in signature:
        raise TypeError(f"perform() takes a Celery signature, such as task.s(1, 2); given: {signature!r}")
    if signature.get("subtask_type"):
        kind = signature["subtask_type"]
        raise TypeError(f"perform() runs one task; given: a {kind}. Call it with .delay(), then harness.settle().")
    app = world.app
    task = app.tasks.get(signature["task"])
    if task is None:
        raise UnknownTask(f"perform(): {world.nodes[0].unregistered(signature['task'])}")
    args, kwargs = tuple(signature.get("args") or ()), dict(signature.get("kwargs") or {})
    if task.typing:
        _check_arguments(task, args, kwargs)
    options = {**task._get_exec_options(), **signature.get("options", {})}
    task_id = str(options.get("task_id") or uuid())
    message = _message(world, task, (args, kwargs), task_id=task_id, attempt=attempt, options=options)
    node = next((node for node in world.nodes if node.alive), world.nodes[0])
    hidden = "argsrepr" in options or "kwargsrepr" in options
    node.receive(message, "perform()", performed=True, args=args, kwargs=kwargs, hidden=hidden)
    run = world.timeline.run(task_id)
    if run is None:
        raise NoSuchRun(f"perform({task.name}) left no trace")
    return run


def _check_arguments(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        task.__header__(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"the arguments do not fit {task.name}{inspect.signature(task.run)}: {error}\n"
            f"given: {', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])}"
        ) from None


def _message(
    world: World, task: Any, call: tuple[Any, Any], *, task_id: str, attempt: int, options: dict[str, Any]
) -> Any:  # fmt: skip
    travelling = {name: value for name, value in options.items() if name not in _TRAVEL}
    serializer = travelling.pop("serializer", None) or world.app.conf.task_serializer
    callbacks, errbacks = travelling.pop("link", None), travelling.pop("link_error", None)
    envelope = world.app.amqp.as_task_v2(
        task_id, task.name, *call, retries=attempt, callbacks=callbacks, errbacks=errbacks,
        ignore_result=travelling.pop("ignore_result", task.ignore_result), **travelling,
    )  # fmt: skip
    try:
        content_type, encoding, body = dumps(envelope.body, serializer)
    except Exception as error:
        options = {"serializer": serializer}
        raise world.recorder.unserializable(world.app, task.name, envelope, options, error) from error
    return Message(
        body=body, channel=NoChannel(), delivery_tag="perform", content_type=content_type, content_encoding=encoding,
        headers=envelope.headers, properties=envelope.properties, delivery_info={"routing_key": "perform()"},
    )  # fmt: skip
