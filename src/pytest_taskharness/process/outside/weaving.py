"""Several processes write down what they do; here it becomes one story, in which causes come before their effects.

What two processes do at the same time has no order: a pool process that starts a body and the main process that
acknowledges the message meanwhile, or a main process that receives a retry before the body that has published it has
ended.  Of the orders that are possible, the story takes the one that a stepped worker gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Weaver"]

Record = dict[str, Any]


@dataclass
class _Thread:
    """One task id, as far as its story has been told."""

    published: Counter[int] = field(default_factory=Counter)
    delivered: Counter[int] = field(default_factory=Counter)
    received: int = 0
    settled: int = 0
    started: int = 0
    ended: int = 0
    acks_late: bool = False
    #: A beat has published it, and is about to tell of that.
    fires: bool = False
    #: Who has received it: in a pool without processes or threads it is the one who runs it.
    receiver: Any = None
    waiting: list[Record] = field(default_factory=list)


class Weaver:
    """Takes records as they were written, and gives them back as they are to be told."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self._threads: dict[str | None, _Thread] = {}

    def published(self, task_id: str, retries: int) -> None:
        """The test process has published a message."""
        self._thread(task_id).published[retries] += 1

    def take(self, record: Record) -> Iterator[Record]:
        """One more record; what can be told now."""
        if record["id"] is None:
            yield record
            return
        thread = self._thread(record["id"])
        thread.waiting.append(record)
        yield from self._told(thread)

    def rest(self) -> Iterator[Record]:
        """Nothing more is to come now that could explain what waits: tell it as it was written."""
        for thread in self._threads.values():
            waiting, thread.waiting = thread.waiting, []
            for record in waiting:
                _note(thread, record)
                yield record

    @property
    def is_waiting(self) -> bool:
        """Whether something waits for its cause."""
        return any(thread.waiting for thread in self._threads.values())

    def _thread(self, task_id: str | None) -> _Thread:
        return self._threads.setdefault(task_id, _Thread())

    def _told(self, thread: _Thread) -> Iterator[Record]:
        while (record := _next(thread)) is not None:
            thread.waiting.remove(record)
            _note(thread, record)
            yield record


def _next(thread: _Thread) -> Record | None:
    """The first record that may be told; what one writer wrote stays in order."""
    blocked = set()
    for record in thread.waiting:
        order = _order(record)
        if order not in blocked and _may_be_told(thread, record):
            return record
        blocked.add(order)
    return None


def _order(record: Record) -> Any:
    """Who wrote it; a main process that deals with two messages of one task writes two stories."""
    return (record["stream"], record["tag"] if record["kind"] in _OF_A_MESSAGE else None)


_OF_A_MESSAGE = frozenset({"deliver", "receive", "ack", "reject", "poison"})


def _may_be_told(thread: _Thread, record: Record) -> bool:
    if record["kind"] == "deliver":
        return not thread.fires and _is_explained(thread, record)
    if record["kind"] == "start":
        concurrent = record["stream"] != thread.receiver and not thread.acks_late
        return thread.received > thread.started and (not concurrent or thread.settled > thread.started)
    if record["kind"] in {"finish", "retry"}:
        return thread.started > thread.ended
    return True


def _is_explained(thread: _Thread, record: Record) -> bool:
    """Whether a delivery's publish has been told, and of a retry also the end of the attempt before."""
    if record["detail"]["redelivered"] or record["detail"].get("performed"):
        return True
    retries = record["about"]["retries"]
    published = thread.published[retries] > thread.delivered[retries]
    return published and (not retries or thread.ended >= thread.started)


def _note(thread: _Thread, record: Record) -> None:
    kind = record["kind"]
    if kind == "publish":
        thread.published[record["detail"]["retries"]] += 1
        thread.fires = bool(record["about"].get("fires"))
    elif kind == "beat fire":
        thread.fires = False
    elif kind == "deliver":
        thread.delivered[record["about"]["retries"]] += 1
        thread.receiver = record["stream"]
    elif kind == "receive":
        thread.received += 1
        thread.acks_late = record["about"]["acks_late"]
    elif kind in {"ack", "reject"}:
        thread.settled += 1
    elif kind == "start":
        thread.started += 1
    elif kind in {"finish", "retry"}:
        thread.ended += 1
