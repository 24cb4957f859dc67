"""What the result backends of all modes have in common: waiting for a result drives the world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from celery import states
from celery.backends.base import SyncBackendMixin

from ...errors import hide_frames
from .expiry import Expiry

__all__ = ["Awaited", "Waiting"]

__tracebackhide__ = hide_frames


class Waiting(Protocol):
    """What a backend needs of the world: somebody waits for a result, or looks at one."""

    @property
    def now(self) -> datetime:
        """The current instant."""

    def wait_until(
        self, ready: Callable[[], bool], *, timeout: float | None, waiting_for: list[str],
        on_idle: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Drive until ``ready()``; raise Celery's TimeoutError, or Deadlock, or what ``on_idle()`` raises."""

    def looked_at_pending(self, task_id: str) -> None:
        """Somebody read the state of a task that is not ready: perhaps a polling loop."""


class Listener:
    """Who has passed ``on_message``: what was stored meanwhile, and what he was not told yet."""

    def __init__(self, task_ids: Iterable[str], on_message: Callable[[Any], object]) -> None:
        """Wait for these."""
        self.task_ids = set(task_ids)
        self.news: list[Any] = []
        self._on_message = on_message

    def tell(self) -> None:
        """Call ``on_message`` with each."""
        while self.news:
            self._on_message(self.news.pop(0))


class Awaited(SyncBackendMixin):  # type: ignore[misc]
    """Mixed into one of Celery's key-value backends, before it.

    The backend stores and reads; here is known which results are final, so that nobody has to ask it.
    """

    waits: Waiting
    #: When values leave the backend.
    expiry: Expiry
    _ready: set[Any]

    def await_through(self, waits: Waiting) -> None:
        """Wait by these waits from now on."""
        self.waits = waits
        self.expiry = Expiry(lambda: waits.now, self._expired)
        #: The keys of results that are final.
        self._ready = set()
        self._listeners: list[Listener] = []
        #: The groups whose chord has lost its parts, and when.
        self.lost_chords: dict[str, datetime] = {}

    def delete_expired(self, keys: list[Any]) -> dict[str, Any]:
        """The time of these keys is over; which of them were of a chord that is not complete, by group."""
        raise NotImplementedError

    def image(self) -> Any:
        """All that is known in this process: for :meth:`restore_image`, in another one."""
        return self._ready, self.lost_chords, self.expiry.image()

    def restore_image(self, image: Any) -> None:
        """Know that instead."""
        self._ready, self.lost_chords, expiry = image
        self.expiry.restore_image(expiry)

    def _expired(self, keys: list[Any]) -> None:
        self._ready.difference_update(keys)
        for group_id, key in self.delete_expired(keys).items():
            self.lost_chords[group_id] = self.expiry.expired[key]

    def expired_at(self, task_id: str) -> datetime | None:
        """When the result of a task was thrown away, or None."""
        self.expiry.sweep()
        return self.expiry.expired.get(self.get_key_for_task(task_id))

    def on_task_call(self, *args: Any, **kwargs: Any) -> None:
        """Nobody has to subscribe to a result that is looked up when it is there."""

    def wait_for_pending(self, result: Any, on_message: Any = None, on_interval: Any = None, **kwargs: Any) -> Any:
        """``AsyncResult.get()``; ``on_message`` hears of each state, as soon as nobody has anything to do."""
        with self.hearing([result.id], on_message) as tell:

            def on_idle() -> None:
                tell()
                if on_interval is not None:
                    on_interval()

            return super().wait_for_pending(result, on_interval=on_idle, **kwargs)

    @contextmanager
    def hearing(self, task_ids: list[str], on_message: Callable[[Any], object] | None) -> Iterator[Callable[[], None]]:
        """Listen for somebody; yields what tells him.  Of what is final already, he is told the end."""
        listener = Listener(task_ids, on_message or (lambda meta: None))
        if on_message is not None:
            self.check_hears()
            listener.news += [self._get_task_meta_for(task_id) for task_id in task_ids if self.is_ready(task_id)]
            self._listeners.append(listener)
        listener.tell()
        try:
            yield listener.tell
        finally:
            self._listeners = [each for each in self._listeners if each is not listener]

    def check_hears(self) -> None:
        """Whether each state is stored in this process: it is."""

    def wait_for(self, task_id: str, timeout: float | None = None, **kwargs: Any) -> Any:
        """``AsyncResult.get()``: drive until the result is there; ``timeout`` counts virtual seconds."""
        if not self.is_ready(task_id):
            # on_interval raises what a parent failed with; asking all parents at every step would be quadratic.
            on_idle = kwargs.get("on_interval")
            waiting_for = [task_id]
            self.waits.wait_until(
                lambda: self.is_ready(task_id), timeout=timeout, waiting_for=waiting_for, on_idle=on_idle
            )
        return self._get_task_meta_for(task_id)

    def get_many(self, task_ids: Any, timeout: float | None = None, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """``GroupResult.join_native()``: the same for several, in the order in which they get ready."""
        waiting = list(dict.fromkeys(task_ids))
        with self.hearing(waiting, kwargs.get("on_message")) as tell:
            while waiting:
                tell()
                done = [task_id for task_id in waiting if self.is_ready(task_id)]
                if not done:
                    self._await_any(waiting, timeout, tell)
                for task_id in done:
                    waiting.remove(task_id)
                    yield task_id, self._get_task_meta_for(task_id)

    def _await_any(self, waiting: list[str], timeout: float | None, tell: Callable[[], None]) -> None:
        self.waits.wait_until(
            lambda: any(map(self.is_ready, waiting)), timeout=timeout, waiting_for=waiting, on_idle=tell
        )  # fmt: skip

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:
        """``AsyncResult.state`` and friends."""
        if not self.is_ready(task_id):
            self.waits.looked_at_pending(task_id)
        return self._get_task_meta_for(task_id)

    def is_ready(self, task_id: str) -> bool:
        """Whether a final state of this task is stored, and has not expired."""
        self.expiry.sweep()
        return self.get_key_for_task(task_id) in self._ready

    def _store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        # A SUCCESS is final in Celery's key-value backends: a later state is not stored.
        stored = super()._store_result(task_id, result, state, *args, **kwargs)
        if state in states.READY_STATES or self._has_succeeded(task_id):
            self._ready.add(self.get_key_for_task(task_id))
        else:
            self._ready.discard(self.get_key_for_task(task_id))
        self._tell_listeners(task_id, state)
        return stored

    def _tell_listeners(self, task_id: str, state: str) -> None:
        for listener in self._listeners:
            meta = self._get_task_meta_for(task_id) if task_id in listener.task_ids else {"status": None}
            if meta["status"] == state:  # else a SUCCESS has stayed
                listener.news.append(meta)

    def _has_succeeded(self, task_id: str) -> bool:
        return self.is_ready(task_id) and self._get_task_meta_for(task_id)["status"] == states.SUCCESS

    def _forget(self, task_id: str) -> None:
        super()._forget(task_id)
        self._ready.discard(self.get_key_for_task(task_id))
