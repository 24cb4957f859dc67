"""At the end of a test: whether the workers of its world may work for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import hide_frames

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["may_go_on"]

__tracebackhide__ = hide_frames

#: How long workers may take to get ready for another test, in real seconds; later they are not asked any more.
PARTING_SECONDS = 10.0


def may_go_on(world: ProcessWorld) -> bool:
    """Whether the workers have nothing to do, and nothing was done to them; then the world hears no more of them."""
    if world.is_marked or not world.nodes or not all(node.goes_on for node in world.nodes):
        return False
    try:
        is_over = world.quiescence.has_nothing_left() and _part(world) and world.quiescence.has_nothing_left()
    except Exception:  # noqa: BLE001 - whatever it is, they are not what they were
        return False
    world.stop_hearing()
    return is_over


def _part(world: ProcessWorld) -> bool:
    """Have the workers end what bodies may have changed; whether all of them say that nothing else was changed."""
    limit = world.limit_of("the end of the test", PARTING_SECONDS)
    for node in world.nodes:
        node.tell("part")
    while any(node.is_fit is None for node in world.nodes):
        world.quiescence.hear(limit)
    return all(node.is_fit for node in world.nodes)
