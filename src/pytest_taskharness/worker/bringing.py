"""Drives until one run is at a moment, and not one step further."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FidelityError, MomentMissed, RunBudgetExceeded, hide_frames
from ..timeline import Event, short_id
from ..timeline.table import offset
from . import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

__all__ = ["MOMENTS", "bring", "missed"]

__tracebackhide__ = hide_frames

#: Where a run can be, and what that means.
MOMENTS = {
    "queued": "its message lies in a queue",
    "held_for_eta": "a worker has its message, and holds it for its eta",
    "running": "its body has begun",
}
#: How many bodies may start on the way there.
MAX_RUNS = 10_000


def bring(world: World, task_id: str, moment: str) -> None:
    """Drive until the run is there.

    Raises:
        MomentMissed: It was there before, or never comes there.
        FidelityError: The mode has no such moment.
    """
    if world.eager and moment != "held_for_eta":
        raise FidelityError(
            f"bring_to({moment!r}) needs a worker that waits for the test; in eager mode the body has run when the "
            "call returns. Run this test with mode='memory'."
        )
    hold = world.company.hold_run(task_id) if moment == "running" else None
    try:
        _drive(world, task_id, moment)
    finally:
        if hold is not None:
            hold.release()  # with the next step the body goes on


def _drive(world: World, task_id: str, moment: str) -> None:
    limit = world.starts + MAX_RUNS
    is_there = _THERE[moment]
    while not is_there(world, task_id):
        if has_missed(world, task_id, moment):
            raise missed(world, task_id, moment)
        if world.starts > limit:
            raise RunBudgetExceeded(explain.run_budget(world, MAX_RUNS))
        if not world.take_step():
            due = world.next_due()
            if due is None:
                raise missed(world, task_id, moment)
            world.move_to(due)


def _is_queued(world: World, task_id: str) -> bool:
    return any(
        message.headers.get("id") == task_id for queue in world.broker.queues for message in world.broker.peek(queue)
    )


def _is_held(world: World, task_id: str) -> bool:
    return any(request.id == task_id for node in world.nodes if node.alive for request in node.held_for_eta())


def _is_running(world: World, task_id: str) -> bool:
    return any(execution.task_id == task_id and not execution.killed for _, execution in world.stack)


_THERE: dict[str, Callable[[World, str], bool]] = {
    "queued": _is_queued, "held_for_eta": _is_held, "running": _is_running,
}  # fmt: skip


def has_missed(world: World, task_id: str, moment: str) -> bool:
    """Whether to drive on would be in vain: it has ended; or it is taken, where it was to be found in its queue."""
    run = world.timeline.run(task_id)
    if run is None or _is_queued(world, task_id):
        return False
    return run.finished or (moment == "queued" and _last(world, task_id).kind != "publish")


def _last(world: World, task_id: str) -> Event:
    told = {"publish", "deliver", "receive", "start", "retry", "finish", "revoke", "poison", "expire"}
    return next(event for event in reversed(world.timeline.of(task_id)) if event.kind in told)


def missed(world: World, task_id: str, moment: str) -> MomentMissed:
    """What happened instead, and what to do."""
    run = world.timeline.run(task_id)
    name = f"{run.task} {short_id(task_id)}" if run is not None else short_id(task_id)
    expected = f"expected {name} to come to {moment!r} ({MOMENTS[moment]})"
    if run is None:
        return MomentMissed(f"{expected}; nothing was published under this id, and nothing more can happen.")
    last = _last(world, task_id)
    where = f" on {last.worker}" if last.worker else ""
    found = f"it is {run.state} since {offset(world.timeline.start, last.at)}{where}"
    return MomentMissed(f"{expected}; {found}.\n{_advice(world, task_id, moment)}")


def _advice(world: World, task_id: str, moment: str) -> str:
    run = world.timeline.run(task_id)
    assert run is not None
    if moment == "held_for_eta" and run.eta is None:
        return "No message of it has an eta. To fix this, publish it with countdown= or eta=."
    if run.finished or moment == "queued":
        return (
            "It has been there before, or never was. To fix this, call bring_to() before anything drives: settle(), "
            "result.get(), clock.advance()."
        )
    return explain.deadlock(world, [task_id])
