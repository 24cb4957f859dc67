"""Celery's own redis result backend, awaited by driving the world."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import redis
from celery.backends.redis import RedisBackend
from redis.client import Pipeline

from ...broker.redis_broker import RedisBroker
from .awaiting import Awaited, Waiting
from .expiry import Expiry

__all__ = ["HarnessRedisBackend", "SteppedRedisBackend"]


#: What Celery appends to the key of a group for the size of its chord, for the results so far and for the rest.
SIZE = b".s"
CHORD_KEYS = (".s", ".j", ".t", ".d")


class HarnessRedisBackend(Awaited, RedisBackend):  # type: ignore[misc]
    """Keys, transactions and the Lua scripts of chords are Celery's; the connections are the broker's."""

    def __init__(self, app: Any, *, broker: RedisBroker, waits: Waiting, **kwargs: Any) -> None:
        """Be the backend of ``app``."""
        self._broker = broker
        super().__init__(app=app, url=broker.access.url, **kwargs)
        self.await_through(waits)

    def delete_expired(self, keys: list[Any]) -> dict[str, Any]:
        """The time of these keys is over; a chord that is complete has no size any more."""
        with self._broker.client.pipeline() as pipe:
            for key in keys:
                pipe.delete(key)
            deleted = dict(zip(keys, pipe.execute(), strict=True))
        return {self._strip_prefix(key)[: -len(SIZE)]: key for key in keys if key.endswith(SIZE) and deleted[key]}

    @cached_property
    def client(self) -> Any:
        """redis-py's client for all that is stored."""
        return self._broker.access.derived(HarnessRedis)

    def _add_driver_info(self) -> None:
        """Looked up in the installed packages' metadata; our connections have no use for it."""


class HarnessPipeline(Pipeline):  # type: ignore[misc]
    """redis-py's, without its word on SETEX, which Celery sends."""

    def setex(self, name: Any, time: Any, value: Any) -> Any:
        """Deprecated in redis-py 8: not the user's doing, whose warnings may be errors."""
        return self.execute_command("SETEX", name, time, value)


class HarnessRedis(redis.Redis):  # type: ignore[misc]
    """redis-py's client, with another pipeline."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Several commands in one round trip."""
        return HarnessPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Expiring:
    """Before a client of redis-py: seconds until something expires are virtual, and the server is not told."""

    expiry: Expiry

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return super().execute_command(*self.expiry.translated(args), **options)  # type: ignore[misc]


class _ExpiringPipeline(_Expiring, HarnessPipeline):
    """A pipeline on the virtual clock."""


class _ExpiringRedis(_Expiring, HarnessRedis):
    """A client on the virtual clock."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Several commands in one round trip."""
        pipe = _ExpiringPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.expiry = self.expiry
        return pipe


class SteppedRedisBackend(HarnessRedisBackend):
    """The backend where nobody else stores anything, and time is virtual."""

    @cached_property
    def client(self) -> Any:
        """redis-py's client, on the virtual clock."""
        client = self._broker.access.derived(_ExpiringRedis)
        client.expiry = self.expiry
        return client

    def get(self, key: Any) -> Any:
        """The stored bytes, or None; of what was never stored, the answer is known."""
        return super().get(key) if key in self._stored else None

    @cached_property
    def _stored(self) -> set[Any]:
        return set()

    def image(self) -> Any:
        """What is known of the keys; the server has their values."""
        return super().image(), self._stored

    def restore_image(self, image: Any) -> None:
        """Know that instead."""
        known, stored = image
        self._stored.update(stored)
        super().restore_image(known)

    def _set(self, key: Any, *args: Any, **kwargs: Any) -> Any:
        self._stored.add(key)
        return super()._set(key, *args, **kwargs)

    # -- chords, whose scripts (since Celery 5.7) tell the server how long the parts live

    @property
    def chord_expires(self) -> int:
        """For the server: for ever."""
        return 0

    def _set_chord_key(self, key: Any, value: Any) -> Any:
        self._stored.add(key)
        stored = super()._set_chord_key(key, value)
        self.expiry.within(key, self._chord_seconds)
        return stored

    def on_chord_part_return(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a part; while parts come in, the chord lives on."""
        returned = super().on_chord_part_return(request, *args, **kwargs)
        if request.group and request.id:
            for part in ("", *CHORD_KEYS):
                self.expiry.within(self.get_key_for_group(request.group, part), self._chord_seconds)
        return returned

    @property
    def _chord_seconds(self) -> Any:
        own = self.app.conf.get("result_chord_expires")
        return self.expires if own is None else self.prepare_expires(own, type=int)
