"""Drives real workers until one run is at a moment, as far as they can be stopped there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ...errors import FidelityError, hide_frames
from ...worker.bringing import missed

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["bring"]

__tracebackhide__ = hide_frames

#: What a worker that nobody steps does before a test can look, and the way out.
_TOO_FAST = {
    "queued": (
        "a worker process takes a message as soon as it is there. To fix this, let no worker consume its queue "
        "(app.control.cancel_consumer(queue, reply=True), or a worker with other queues), or run this test with "
        "mode='redis'."
    ),
    "running": (
        "its body had ended before the test could look. To fix this, let the body sleep or wait for something, or run "
        "this test with mode='redis', which stops it in its beginning."
    ),
}


def bring(world: ProcessWorld, task_id: str, moment: str) -> None:
    """Wait until the run is there.

    Raises:
        MomentMissed: It was there before, or never comes there.
        FidelityError: It was there, and went on before anybody could look.
    """
    limit = world.limit_of(f"bring_to(…, {moment!r})")
    world.hear()
    while not _is_there(world, task_id, moment):
        news = world.ledger.news
        _check(world, task_id, moment)
        if world.ledger.news != news:
            continue  # to look is to hear: perhaps of what would be waited for
        if world.quiescence.approach(limit) and not _is_there(world, task_id, moment):
            due = world.quiescence.next_due()
            if due is None:
                raise missed(cast("Any", world), task_id, moment)
            world.await_due(due, limit)


def _is_there(world: ProcessWorld, task_id: str, moment: str) -> bool:
    if moment == "queued":
        return any(queue not in _consumed(world) for queue in _queues_of(world, task_id))
    mine = [delivery for delivery in world.ledger.deliveries() if delivery.id == task_id]
    run = world.timeline.run(task_id)
    if moment == "running":  # and the story has come so far, too
        has_begun = any(delivery.started is not None and not delivery.done for delivery in mine)
        return has_begun and run is not None and bool(run.attempts)
    return run is not None and run.eta is not None and any(each.waits(world.time.now) for each in mine)


def _check(world: ProcessWorld, task_id: str, moment: str) -> None:
    run = world.timeline.run(task_id)
    if run is None:
        return
    is_too_late = {"queued": _is_taken(world, task_id), "running": bool(run.attempts) and run.finished}
    if is_too_late.get(moment):
        raise FidelityError(f"bring_to({moment!r}) came too late for {run.task}: {_TOO_FAST[moment]}")
    if run.finished:
        raise missed(cast("Any", world), task_id, moment)


def _is_taken(world: ProcessWorld, task_id: str) -> bool:
    """Whether a worker has the message, or is about to: not where it has yet to stop consuming, as it was told."""
    if any(event.kind == "deliver" for event in world.timeline.of(task_id)):
        return True
    return bool(_queues_of(world, task_id)) and not any(node.is_about_to_change for node in world.nodes)


def _queues_of(world: ProcessWorld, task_id: str) -> list[str]:
    broker = world.broker
    return [queue for queue in broker.queues for each in broker.peek(queue) if each.headers.get("id") == task_id]


def _consumed(world: ProcessWorld) -> set[str]:
    held: set[str] = world.broker.on_hold
    return {queue for node in world.nodes if node.goes_on for queue in node.queues()} - held
