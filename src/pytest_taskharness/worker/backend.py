"""A result backend for one test, with Redis' semantics: counted chords, last word wins, success is final."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from celery import states
from celery.backends.base import KeyValueStoreBackend
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, allow_join_result

from ..errors import hide_frames

__all__ = ["MemoryBackend", "Waiting"]

__tracebackhide__ = hide_frames


class Waiting(Protocol):
    """What a backend needs of the world: somebody waits for a result, or looks at one."""

    def wait_until(
        self, ready: Callable[[], bool], *, timeout: float | None, waiting_for: list[str],
        on_idle: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Drive until ``ready()``; raise Celery's TimeoutError, or Deadlock, or what ``on_idle()`` raises."""

    def looked_at_pending(self, task_id: str) -> None:
        """Somebody read the state of a task that is not ready: perhaps a polling loop."""


class MemoryBackend(KeyValueStoreBackend):  # type: ignore[misc]
    """Results of one harness; waiting for one drives the world."""

    supports_native_join = True
    supports_autoexpire = True
    supports_result_compression = True
    supports_failure_expires = True
    thread_safe = True
    persistent = True

    def __init__(self, app: Any, *, waits: Waiting, **kwargs: Any) -> None:
        """Be the backend of ``app``."""
        super().__init__(app, max_cached_results=-1, **kwargs)
        self.thread_safe = True
        self._waits = waits
        self._values: dict[Any, Any] = {}
        self._ready: set[str] = set()
        self._transitions: dict[str, list[tuple[str, Any]]] = {}
        self._chords: dict[str, dict[Any, tuple[str, str, Any]]] = {}
        self._sizes: dict[str, int] = {}
        self._added: Counter[str] = Counter()

    def as_uri(self, include_password: bool = False) -> str:
        """What the worker would print at its start."""
        return "taskharness-memory://"

    # -- keys and values

    def get(self, key: Any) -> Any:
        """The stored bytes, or None."""
        return self._values.get(key)

    def mget(self, keys: Any) -> list[Any]:
        """Several at once."""
        return [self._values.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> None:
        """Store."""
        self._values[key] = value

    def delete(self, key: Any) -> None:
        """Forget."""
        self._values.pop(key, None)

    def expire(self, key: Any, value: Any) -> None:
        """Nothing outlives the test."""

    # -- waiting

    def wait_for(self, task_id: str, timeout: float | None = None, **kwargs: Any) -> Any:
        """``AsyncResult.get()``: drive until the result is there; ``timeout`` counts virtual seconds."""
        if not self._is_ready(task_id):
            # on_interval raises what a parent failed with; asking all parents at every step would be quadratic.
            on_idle = kwargs.get("on_interval")
            waiting_for = [task_id]
            self._waits.wait_until(
                lambda: self._is_ready(task_id), timeout=timeout, waiting_for=waiting_for, on_idle=on_idle
            )
        return self._get_task_meta_for(task_id)

    def get_many(self, task_ids: Any, timeout: float | None = None, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """``GroupResult.join_native()``: the same for several, in the order in which they get ready."""
        on_message = kwargs.get("on_message")
        waiting = list(dict.fromkeys(task_ids))
        while waiting:
            done = [task_id for task_id in waiting if self._is_ready(task_id)]
            if not done:
                self._waits.wait_until(lambda: any(map(self._is_ready, waiting)), timeout=timeout, waiting_for=waiting)
            for task_id in done:
                waiting.remove(task_id)
                meta = self._get_task_meta_for(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:
        """``AsyncResult.state`` and friends."""
        if not self._is_ready(task_id):
            self._waits.looked_at_pending(task_id)
        return self._get_task_meta_for(task_id)

    def _is_ready(self, task_id: str) -> bool:
        return task_id in self._ready

    def _store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        self._transitions.setdefault(task_id, []).append((state, result))
        # A SUCCESS is final in Celery's key-value backends: a later state is not stored.
        stored = super()._store_result(task_id, result, state, *args, **kwargs)
        succeeded = task_id in self._ready and self._get_task_meta_for(task_id)["status"] == states.SUCCESS
        if state in states.READY_STATES or succeeded:
            self._ready.add(task_id)
        else:
            self._ready.discard(task_id)
        return stored

    def transitions(self, task_id: str) -> list[tuple[str, Any]]:
        """Every state that was ever stored for a task, with its encoded result: not only the last."""
        return list(self._transitions.get(task_id, ()))

    def _forget(self, task_id: str) -> None:
        super()._forget(task_id)
        self._ready.discard(task_id)

    # -- chords, counted as celery.backends.redis counts them

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Remember the shape of a header whose parts are groups themselves."""
        header = self.app.GroupResult(*header_result_args)
        if any(isinstance(result, GroupResult) for result in header.results):
            header.save(backend=self)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts the chord waits for."""
        self._sizes[group_id] = chord_size

    def add_to_chord(self, group_id: str, result: Any) -> None:
        """One more part, from ``self.add_to_chord()`` in a header task."""
        # Counted apart: in eager mode the header runs before its size is known.
        self._added[group_id] += 1

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a part; the last one publishes the body."""
        group_id, index = request.group, request.group_index
        if not group_id or not request.id:
            return
        parts = self._chords.setdefault(group_id, {})
        key = request.id if index is None else (index, request.id)
        parts[key] = (request.id, state, self.encode_result(result, state))
        # Celery tells the size just before it sends the last part: until then, parts only gather.
        if len(parts) < self._sizes.get(group_id, float("inf")) + self._added[group_id]:
            return
        self._sizes.pop(group_id)
        self._added.pop(group_id, 0)
        self._publish_body(group_id, maybe_signature(request.chord, app=self.app), self._chords.pop(group_id))

    def _publish_body(self, group_id: str, body: Any, parts: dict[Any, tuple[str, str, Any]]) -> None:
        try:
            results = self._joined(group_id, parts)
        except ChordError as error:
            self.chord_error_from_stack(body, error)
        except Exception as error:  # noqa: BLE001 - as in celery.backends.redis
            self.chord_error_from_stack(body, ChordError(f"Join error: {error!r}"))
        else:
            self._delay_body(body, results)

    def _delay_body(self, body: Any, results: list[Any]) -> None:
        try:
            body.delay(results)
        except Exception as error:  # noqa: BLE001 - as in celery.backends.redis
            self.chord_error_from_stack(body, ChordError(f"Callback error: {error!r}"))

    def _joined(self, group_id: str, parts: dict[Any, tuple[str, str, Any]]) -> list[Any]:
        saved = GroupResult.restore(group_id, backend=self, app=self.app)
        if saved is not None:
            saved.on_ready()
            with allow_join_result():
                return list(saved.join_native(timeout=self.app.conf.result_chord_join_timeout, propagate=True))
        ordered = sorted(parts.items(), key=lambda item: item[0][0] if isinstance(item[0], tuple) else float("inf"))
        return [self._unpacked(*part) for _, part in ordered]

    def _unpacked(self, task_id: str, state: str, encoded: Any) -> Any:
        value = self.decode(self.encode(encoded))
        if state in states.EXCEPTION_STATES:
            value = self.exception_to_python(value)
        if state in states.PROPAGATE_STATES:
            error = ChordError(f"Dependency {task_id} raised {value!r}")
            error.__cause__ = value if isinstance(value, BaseException) else None
            raise error
        return value
