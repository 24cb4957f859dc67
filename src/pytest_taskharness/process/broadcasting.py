"""Remote control is a broadcast: nobody knows of it but who has sent it, and who obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import hide_frames
from .telling import LEAVES_NO_TRACE

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["watch_control"]

__tracebackhide__ = hide_frames


def watch_control(world: ProcessWorld) -> None:
    """Let each worker be expected to obey what ``app.control`` sends."""
    control, broadcast = world.app.control, world.app.control.broadcast

    def counted(
        command: str, arguments: Any = None, destination: Any = None, *args: Any, **kwargs: Any
    ) -> Any:  # fmt: skip
        world.recorder.before_effect()
        world.is_marked |= command not in LEAVES_NO_TRACE
        for node in world.nodes:
            if node.goes_on:
                is_meant = destination is None or f"{node.name}@taskharness" in destination
                node.expect_command(command if is_meant else "", arguments or {})
        return broadcast(command, arguments, destination, *args, **kwargs)

    control.broadcast = counted
