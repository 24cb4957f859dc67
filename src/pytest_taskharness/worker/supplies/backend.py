"""A result backend for one test, with Redis' semantics: counted chords, last word wins, success is final."""

from __future__ import annotations

from collections import Counter
from typing import Any

import celery
from celery import states
from celery.backends.base import KeyValueStoreBackend
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, allow_join_result

from ...errors import hide_frames
from .awaiting import Awaited, Waiting

__all__ = ["MemoryBackend"]

#: Since Celery 5.7 a part of a chord counts once, with its first result.  Before, a second delivery that returns
#: something else counts as another part: the body gets both, and not the part that is still missing.
COUNTS_IDS = celery.VERSION >= (5, 7)
#: Since Celery 5.6 a ChordError is told from what.
TELLS_CAUSES = celery.VERSION >= (5, 6)
INFINITE = float("inf")

__tracebackhide__ = hide_frames


class MemoryBackend(Awaited, KeyValueStoreBackend):  # type: ignore[misc]
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
        self.await_through(waits)
        self._values: dict[Any, Any] = {}
        self._chords: dict[str, dict[Any, tuple[str, str, Any]]] = {}
        self._sizes: dict[str, int] = {}
        self._added: Counter[str] = Counter()

    def as_uri(self, include_password: bool = False) -> str:
        """What the worker would print at its start."""
        return "taskharness-memory://"

    # -- as a whole, for a forked child

    def image(self) -> Any:
        """Everything that is kept here."""
        return super().image(), (self._values, self._chords, self._sizes, self._added)

    def restore_image(self, image: Any) -> None:
        """Keep that instead."""
        known, (self._values, self._chords, self._sizes, self._added) = image
        super().restore_image(known)

    # -- keys and values

    def get(self, key: Any) -> Any:
        """The stored bytes, or None."""
        self.expiry.sweep()
        return self._values.get(key)

    def mget(self, keys: Any) -> list[Any]:
        """Several at once."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> None:
        """Store."""
        self._values[key] = value
        self.expiry.within(key, self.expires)

    def _set_with_state(self, key: Any, value: Any, state: str) -> None:
        self.set(key, value)
        failures = self.app.conf.get("result_failure_expires")  # since Celery 5.7
        if state == states.FAILURE and failures is not None:
            self.expiry.within(key, self.prepare_expires(failures))

    def delete(self, key: Any) -> None:
        """Forget."""
        self._values.pop(key, None)
        self.expiry.never(key)

    def expire(self, key: Any, value: Any) -> None:
        """Store no longer than for so many seconds."""
        self.expiry.within(key, value)

    def delete_expired(self, keys: list[Any]) -> dict[str, Any]:
        """The time of these keys is over; of a chord, that of all that was gathered."""
        lost = {key: key for key in keys if key in self._chords or key in self._sizes}
        for key in keys:
            for values in (self._values, self._chords, self._sizes, self._added):
                values.pop(key, None)
        return lost

    # -- chords, counted as celery.backends.redis counts them

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Remember the shape of a header whose parts are groups themselves."""
        header = self.app.GroupResult(*header_result_args)
        if any(isinstance(result, GroupResult) for result in header.results):
            header.save(backend=self)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts the chord waits for."""
        self._sizes[group_id] = chord_size
        self._prolong(group_id)

    def _prolong(self, group_id: str) -> None:
        own = self.app.conf.get("result_chord_expires")  # since Celery 5.7
        self.expiry.within(group_id, self.expires if own is None else self.prepare_expires(own))

    def add_to_chord(self, group_id: str, result: Any) -> None:
        """One more part, from ``self.add_to_chord()`` in a header task."""
        # Counted apart: in eager mode the header runs before its size is known.
        self._added[group_id] += 1

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a part; the last one publishes the body."""
        group_id, index = request.group, request.group_index
        if not group_id or not request.id:
            return
        self.expiry.sweep()
        parts = self._chords.setdefault(group_id, {})
        encoded = self.encode_result(result, state)
        member = "" if COUNTS_IDS else str(self.encode(encoded))
        parts.setdefault((INFINITE if index is None else index, request.id, member), (request.id, state, encoded))
        self._prolong(group_id)
        # Celery tells the size just before it sends the last part: until then, parts only gather.
        if len(parts) < self._sizes.get(group_id, INFINITE) + self._added[group_id]:
            return
        self._sizes.pop(group_id)
        self._added.pop(group_id, 0)
        self.expiry.never(group_id)
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
        ordered = sorted(parts, key=lambda key: (key[0], key[2]))
        return [self._unpacked(*parts[key]) for key in ordered]

    def _unpacked(self, task_id: str, state: str, encoded: Any) -> Any:
        value = self.decode(self.encode(encoded))
        if state in states.EXCEPTION_STATES:
            value = self.exception_to_python(value)
        if state in states.PROPAGATE_STATES:
            error = ChordError(f"Dependency {task_id} raised {value!r}")
            error.__cause__ = value if TELLS_CAUSES and isinstance(value, Exception) else None
            raise error
        return value
