"""What becomes of workers that are gone, and of what they held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import WorkerDied, hide_frames
from . import explain
from .held import Delivery

if TYPE_CHECKING:
    from .intake import Intake
    from .listening import Ear
    from .node import WorkerProcess
    from .world import ProcessWorld

__all__ = ["bury", "notice_deaths"]

__tracebackhide__ = hide_frames


def notice_deaths(world: ProcessWorld, ear: Ear, intake: Intake) -> bool:
    """Whether a worker has gone meanwhile.

    Raises:
        WorkerDied: The test has not asked for that, or a beat has ended.
        ServerError: The server has gone.
    """
    if ear.has_lost_server():
        world.post.ping()  # raises what became of it
    dead = [node for node in world.nodes if node.alive and node.has_ended()]
    for node in dead:
        intake.take()  # its last words
        held = bury(world, node)
        if not (node.expected_to_end or node.is_leaving):
            raise WorkerDied(explain.death(node, held))
    world.beats.raise_failed()
    return bool(dead)


def bury(world: ProcessWorld, node: WorkerProcess) -> list[Delivery]:
    """Nothing is to be expected of a worker any more; what it held that is in its queue again, is to be delivered."""
    if node.alive:
        world.post.await_loss(node.name)
    node.alive = False
    held = world.ledger.left(node.name)
    world.beats.left(node.name)
    unacked = world.census().unacked if held else {}
    for delivery in held:
        if delivery.tag not in unacked and not delivery.settled:
            world.ledger.returned(delivery)
    return held
