"""Several workers in one process: what Celery keeps for the only one is made each one's own.

``celery.worker.state`` is of the module, and so of all stepped workers together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any

from celery.worker import state

if TYPE_CHECKING:
    from .node import Node

__all__ = ["others_aside", "own_queues", "prefetch_as_one_of_several", "requests_aside"]

_NOTHING = nullcontext()
#: What is reserved, active, or held for its eta (since Celery 5.7).
_SETS = ("reserved_requests", "active_requests", "scheduled_requests")


def others_aside(node: Node) -> AbstractContextManager[None]:
    """While entered, Celery knows of the requests of one worker alone: it answers for it, or closes it."""
    others = []
    if len(node.world.nodes) > 1 or node.world.has_company:
        others = [request for request in list(state.requests.values()) if not _is_of(request, node)]
    return _aside(others) if others else _NOTHING


def requests_aside(app: Any) -> AbstractContextManager[None]:
    """While entered, Celery knows of no request of this app: it closes a worker of another one, in a thread."""
    known = {id(request): request for name in _SETS for request in getattr(state, name, ())}
    known |= {id(request): request for request in list(state.requests.values())}
    return _aside([request for request in known.values() if request.task.app is app])


@contextmanager
def _aside(others: list[Any]) -> Iterator[None]:
    before = [(found, found.intersection(others)) for found in (getattr(state, name, None) for name in _SETS) if found]
    listed = [request for request in others if state.requests.pop(request.id, None) is not None]
    for found, aside in before:
        found.difference_update(aside)
    try:
        yield
    finally:
        state.requests.update({request.id: request for request in listed})
        for found, aside in before:
            found.update(aside)


def _is_of(request: Any, node: Node) -> bool:
    return bool(request.hostname == node.worker.hostname and request.task.app is node.app)


def prefetch_as_one_of_several(consumer: Any) -> None:
    """``worker_disable_prefetch`` counts what the whole process has reserved; our workers look at their own slots."""
    vars(consumer.task_consumer.channel.qos).pop("can_consume", None)


@contextmanager
def own_queues(node: Node) -> Iterator[None]:
    """While entered, the app consumes what this worker does: -Q is for it alone, and not for app.control.purge()."""
    queues = node.app.amqp.queues
    before = {name: copy(vars(queues).get(name)) for name in ("_consume_from", "_default_consume_from")}
    if node.only:
        queues.select(node.only)
    try:
        yield
    finally:
        vars(queues).update(before)
