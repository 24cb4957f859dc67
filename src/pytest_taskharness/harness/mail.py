"""Messages as they lie on a broker, told as users know them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from ..broker.tampered import Sent, arguments_in, id_in
from ..errors import hide_frames
from ..timeline import Message, Run, TaskName, Timeline

__all__ = ["Stored", "as_message", "copy_of", "in_order", "is_copy", "retries_in", "standing"]

__tracebackhide__ = hide_frames


class Stored(Protocol):
    """A message on a broker of whatever kind."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """As the transport writes it."""

    @property
    def queue(self) -> str:
        """Where it is, or was."""

    @property
    def headers(self) -> dict[str, Any]:
        """The message headers."""


def as_message(stored: Stored, timeline: Timeline) -> Message:
    """The message as it was published, in the queue in which it is."""
    task_id = id_in(stored.payload)
    run = timeline.run(task_id) if task_id is not None else None
    published = [message for message in (run.messages if run else ()) if is_copy(stored, message)]
    return replace(published[-1], queue=stored.queue) if published else _unheard_of(stored, timeline)


def _unheard_of(stored: Stored, timeline: Timeline) -> Message:
    """Published by something else than the app of this harness."""
    args, kwargs = arguments_in(stored.payload)
    headers = stored.headers
    return Message(
        TaskName(headers.get("task") or ""), id_in(stored.payload) or "", timeline.start, args, kwargs,
        headers=headers, queue=stored.queue, retries=retries_in(stored),
        argsrepr=str(headers.get("argsrepr") or ""), kwargsrepr=str(headers.get("kwargsrepr") or ""),
    )  # fmt: skip


def retries_in(stored: Stored) -> int:
    """Which retry a message is: 0 for a first attempt."""
    return int(stored.headers.get("retries") or 0)


def is_copy(stored: Stored, message: Message) -> bool:
    """Whether a message on the broker is this one: retries, and what has replaced a task, have the same id."""
    headers = stored.headers
    if id_in(stored.payload) != message.id:
        return False
    # Protocol 1 has the rest in the body.
    return "task" not in headers or (headers["task"], retries_in(stored)) == (message.task, message.retries)


def copy_of(message: Message, broker: Any, waiting: Iterable[Stored], run: Run) -> Stored | None:
    """What a broker has, or has had, of a message; None where it went another way."""
    found = [*broker.sent.get(message.id, ()), *waiting, *_held(broker, run)]
    return next((stored for stored in found if is_copy(stored, message)), None)


def _held(broker: Any, run: Run) -> list[Stored]:
    queues = [event.detail["queue"] for event in run.timeline if event.kind == "deliver"]
    return [Sent(each.payload, queues[-1]) for each in broker.unacked.values() if queues]


def in_order(ids: list[str], messages: list[Any]) -> list[Any]:
    """Those of these tasks first."""
    rest, first = list(messages), []
    for task_id in ids:
        found = next((stored for stored in rest if id_in(stored.payload) == task_id), None)
        if found is not None:
            rest.remove(found)
            first.append(found)
    return [*first, *rest]


def standing(run: Run, broker: Any, waiting: list[Stored]) -> str:
    """Where the messages of a run are; ``waiting`` are those of them that wait in a queue."""
    if waiting:
        return f"it waits in queue {waiting[0].queue!r}"
    if any(id_in(stored.payload) == run.id for stored in broker.unacked.values()):
        return f"{_holder(run)} holds it, not acknowledged"
    kinds = {event.kind for event in run.timeline}
    if "ack" in kinds or "reject" in kinds:
        return f"{_holder(run)} has taken it and acknowledged it; the run is {run.state}"
    if "expire" in kinds:
        return "it has expired in its queue"
    dropped = any(event.detail.get("dropped") for event in run.timeline)
    return "it was dropped" if dropped else "no queue has ever had it"


def _holder(run: Run) -> str:
    workers = [event.worker for event in run.timeline if event.kind == "deliver"]
    return f"worker {workers[-1]!r}" if workers else "a worker"
