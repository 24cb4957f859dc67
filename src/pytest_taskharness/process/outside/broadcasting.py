"""Remote control is a broadcast: nobody knows of it but who has sent it, and who obeys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.app.control import Control

from ...errors import hide_frames
from ..between.words import LEAVES_NO_TRACE

if TYPE_CHECKING:
    from .world import ProcessWorld

__all__ = ["control_watched"]

__tracebackhide__ = hide_frames

#: Those that are open, with what each has lent its app: of two harnesses of one app, that says whose it is now.
_worlds: list[tuple[ProcessWorld, Any]] = []
_kept = {"broadcast": Control.broadcast}


@contextmanager
def control_watched(world: ProcessWorld) -> Iterator[None]:
    """While entered, each worker is expected to obey what is sent by a ``Control`` of this app.

    It may be an older one than ``app.control``: somebody has kept it, or an ``inspect()``, in a module.
    """
    if Control.broadcast is not _counted:
        _kept["broadcast"] = Control.broadcast
    Control.broadcast = _counted
    ours = (world, world.app.amqp)
    _worlds.append(ours)
    try:
        yield
    finally:
        _worlds.remove(ours)
        if not _worlds:
            Control.broadcast = _kept["broadcast"]


def _counted(
    control: Any, command: str, arguments: Any = None, destination: Any = None, *args: Any, **kwargs: Any
) -> Any:  # fmt: skip
    for world, amqp in _worlds:
        if control.app is world.app and control.app.amqp is amqp:
            _expect(world, command, arguments or {}, destination=destination)
    return _kept["broadcast"](control, command, arguments, destination, *args, **kwargs)


def _expect(world: ProcessWorld, command: str, arguments: Any, *, destination: Any) -> None:
    world.recorder.before_effect()
    world.is_marked |= command not in LEAVES_NO_TRACE
    for node in world.nodes:
        if node.goes_on:
            is_meant = destination is None or f"{node.name}@taskharness" in destination
            node.expect_command(command if is_meant else "", arguments)
