"""Messages that no worker will ever take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..broker.tampered import id_in
from ..timeline import Run
from ..wording import did_you_mean

__all__ = ["left_behind", "nobody", "stuck"]


def stuck(world: Any, run: Run) -> str | None:
    """Why the message of a run stays where it is; None where a worker could take it."""
    dropped = next((event for event in reversed(list(run.timeline)) if event.kind == "drop"), None)
    if dropped is not None and not run.finished:
        return f"the broker has dropped its message: {dropped.detail['note']}"
    for queue, messages in _left(world):
        if any(id_in(message.payload) == run.id for message in messages):
            world.broker.reported.add(queue)
            return f"its message is in queue {queue!r}{nobody(world, queue)}"
    return None


def left_behind(world: Any, app: Any) -> list[str]:
    """What a test has left in queues that none of its workers consumes: one text for each queue."""
    found = []
    for queue, messages in _left(world):
        tasks = [message.headers["task"] for message in messages if _is_ours(message, app)]
        if tasks and queue not in world.broker.reported:
            names = ", ".join(dict.fromkeys(tasks))
            found.append(
                f"the test ended with {len(tasks)} message{'s' * (len(tasks) > 1)} ({names}) in queue {queue!r}"
                f"{nobody(world, queue)} To fix this, let a worker consume it: harness.worker(…, queues=[{queue!r}])."
            )
    return found


def nobody(world: Any, queue: str) -> str:
    """Who consumes what, where nobody consumes this queue; else nothing."""
    if queue not in dict(_left(world)):
        return ""
    workers = [node for node in world.nodes if node.alive]
    known = "; ".join(f"{node.name}: {', '.join(node.queues())}" for node in workers)
    meant = did_you_mean(queue, [name for node in workers for name in node.queues()])
    return f", which no worker consumes ({known}).{meant}"


def _is_ours(message: Any, app: Any) -> bool:
    """What another service is to run, or what has died, is where it should be."""
    return message.headers.get("task") in app.tasks and "x-death" not in message.headers


def _left(world: Any) -> Iterator[tuple[str, list[Any]]]:
    """What waits in queues that no living worker consumes, unless it was told so."""
    workers = [node for node in world.nodes if node.alive]
    if not workers or any(node.everything for node in workers):
        return  # the default worker consumes every queue; where none lives, a test knows
    consumed = {queue for node in workers for queue in (*node.queues(), *node.told)}
    for queue in world.broker.queues:
        if queue not in consumed and not queue.endswith(".pidbox") and (messages := world.broker.peek(queue)):
            yield queue, messages
