"""Which queues there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ConfigurationError, hide_frames
from ..wording import did_you_mean

__all__ = ["known_queue", "queue_names"]

__tracebackhide__ = hide_frames


def known_queue(queue: Any, app: Any, world: Any) -> str:
    """The name of a queue.

    Raises:
        ConfigurationError: There is none of this name; the text names the nearest.
    """
    name = str(getattr(queue, "name", queue))
    names = queue_names(app, world)
    if name in names:
        return name
    meant = did_you_mean(name, names)
    raise ConfigurationError(f"there is no queue {name!r}.{meant} Queues: {', '.join(map(repr, names))}.")


def queue_names(app: Any, world: Any) -> list[str]:
    """The queues of tasks: those of the app, of its workers, and those that something was published to."""
    declared = [queue.name for queue in list(app.amqp.queues.values())]
    consumed = [name for node in world.nodes for name in node.queues()]
    written = [name for name in world.broker.queues if not name.endswith(".pidbox")]
    routed = [str(getattr(queue, "name", queue)) for queue in _targets(app) if queue]
    return list(dict.fromkeys([*declared, *consumed, *written, *routed]))


def _targets(app: Any) -> Iterator[Any]:
    """What routes and tasks name as their queue, as far as that can be read off them."""
    routes = app.conf.task_routes
    for table in routes if isinstance(routes, (list, tuple)) else [routes]:
        for target in table.values() if isinstance(table, dict) else ():
            yield target.get("queue") if isinstance(target, dict) else target
    yield from (getattr(task, "queue", None) for task in app.tasks.values())
