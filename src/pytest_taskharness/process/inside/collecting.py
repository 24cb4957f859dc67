"""In a worker: strategies of the user's own, which may collect messages and hand over many at once (celery-batches).

Whoever counts is told what such a strategy keeps, and when one of its timers will go on with it; on a clock that the
test moves, those timers go by that clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any

from celery import Task

from ..between.faketime import whole_microseconds
from .deliveries import tag_of
from .scribe import Scribe

__all__ = ["Collection", "watch_strategies"]


class Collection:
    """What the strategies of this worker keep."""

    def __init__(self, scribe: Scribe) -> None:
        """Nothing."""
        self._scribe = scribe
        #: The tags of the messages, by task id.
        self._tags: dict[str, str] = {}
        #: When each timer will go off.
        self.dues: dict[Any, datetime] = {}

    def arrived(self, task_id: str, tag: str) -> None:
        """A strategy is about to be given a message."""
        self._tags[task_id] = tag

    def knows(self, task_id: str) -> bool:
        """Whether a strategy keeps its message."""
        return task_id in self._tags

    def gone(self, task_id: str) -> str | None:
        """A message was handed to the pool, or settled; its tag, where a strategy had it."""
        return self._tags.pop(task_id, None)

    def settled(self, tag: str) -> None:
        """It was acknowledged or rejected: nobody waits for it any more."""
        self._tags = {task_id: each for task_id, each in self._tags.items() if each != tag}

    def tell(self) -> None:
        """What is kept, and until when."""
        waiting = [due for entry, due in self.dues.items() if not entry.canceled]
        if self._tags:
            self._scribe.note("collected", tags=list(self._tags.values()), due=min(waiting, default=None))

    def after(self, secs: float) -> datetime:
        """The instant that long after now."""
        return self._scribe.time.now + timedelta(microseconds=whole_microseconds(secs))


def watch_strategies(scribe: Scribe) -> Collection:
    """Give strategies of the user's own a consumer whose timer is watched."""
    collection, start_strategy = Collection(scribe), Task.start_strategy

    @wraps(start_strategy)
    def start_watched(task: Any, app: Any, consumer: Any, **kwargs: Any) -> Any:
        if task.Strategy == Task.Strategy:
            return start_strategy(task, app, consumer, **kwargs)
        handle = start_strategy(task, app, _Seen(consumer, timer=_Timer(consumer, collection)), **kwargs)
        return partial(_handle, collection, handle)

    Task.start_strategy = start_watched
    return collection


def _handle(collection: Collection, handle: Callable[..., Any], message: Any, *args: Any, **kwargs: Any) -> Any:
    collection.arrived((message.headers or {}).get("id") or "", tag_of(message))
    try:
        return handle(message, *args, **kwargs)
    finally:
        if message.acknowledged:
            collection.settled(tag_of(message))
        collection.tell()


class _Seen:
    """A consumer, some of whose attributes are others."""

    def __init__(self, original: Any, **others: Any) -> None:
        self.__dict__.update(others)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Timer:
    """The worker's timer, as a strategy sees it."""

    def __init__(self, consumer: Any, collection: Collection) -> None:
        self._consumer = consumer
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer.timer, name)

    def call_after(self, secs: float, fun: Any, args: Any = (), kwargs: Any = None, priority: int = 0) -> Any:
        """Once."""
        entry = self._consumer.timer.Entry(fun, args, kwargs)
        entry.fun = partial(self._call, entry, fun, None)
        return self._enter(entry, secs)

    def call_repeatedly(self, secs: float, fun: Any, args: Any = (), kwargs: Any = None, priority: int = 0) -> Any:
        """Again and again."""
        entry = self._consumer.timer.Entry(fun, args, kwargs)
        entry.fun = partial(self._call, entry, fun, secs)
        return self._enter(entry, secs)

    def _enter(self, entry: Any, secs: float) -> Any:
        self._collection.dues[entry] = due = self._collection.after(secs)
        enter = getattr(self._consumer.timer, "enter_at_wall", None)
        if enter is not None:
            enter(entry, due)
        else:
            self._consumer.timer.enter_after(secs, entry)
        return entry

    def _call(self, entry: Any, fun: Callable[..., Any], again: float | None, *args: Any, **kwargs: Any) -> Any:
        self._collection.dues.pop(entry, None)
        try:
            return fun(*args, **kwargs)
        finally:
            if again is not None and not entry.canceled:
                self._enter(entry, again)
            self._collection.tell()
