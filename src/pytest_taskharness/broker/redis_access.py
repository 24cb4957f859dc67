"""The connections to one Redis, which all harnesses of this process share: to connect costs more than a whole test."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any, NoReturn

import redis
from kombu.transport import redis as kombu_redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from ..clock.real import Real
from ..errors import ServerError

__all__ = ["RedisAccess", "fake_access", "real_access"]

#: How long a server may take for one answer, in real seconds.  We never ask it to wait for something.
PATIENCE = 30.0

#: For how long nobody asks whether an idle connection still is one, in real seconds.
FRESH = 0.5
_BROKEN = (RedisConnectionError, RedisTimeoutError)
#: Commands of kombu that its own client sends without the prefix (some of them in some versions).
_UNPREFIXED = frozenset({"EXISTS", "EXPIRE", "LRANGE", "PEXPIRE", "ZRANGE", "ZREVRANGEBYSCORE"})


class _Prefixing:
    PREFIXED_SIMPLE_COMMANDS = frozenset(kombu_redis.GlobalKeyPrefixMixin.PREFIXED_SIMPLE_COMMANDS) | _UNPREFIXED


class PrefixingPipeline(_Prefixing, kombu_redis.PrefixedRedisPipeline):  # type: ignore[misc]
    """kombu's, for all commands."""


class PrefixingRedis(_Prefixing, kombu_redis.PrefixedStrictRedis):  # type: ignore[misc]
    """kombu's client for a ``global_keyprefix``, for all commands: nothing is written outside the prefix."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> PrefixingPipeline:
        """Several commands in one round trip."""
        return PrefixingPipeline(
            self.connection_pool,
            self.response_callbacks,
            transaction,
            shard_hint,
            global_keyprefix=self.global_keyprefix,
        )


class Pool(redis.ConnectionPool):  # type: ignore[misc]
    """redis-py's pool, which looks at a connection before it gives it away only if nobody has used it for a while.

    To ask the socket, and to count who asks, takes redis-py half as long as a command.
    """

    def reset(self) -> None:
        """Have no connections: at first, and in a forked child."""
        super().reset()
        self._idle: list[tuple[Any, float]] = []

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is not in use."""
        self._checkpid()
        try:
            connection, used = self._idle.pop()
        except IndexError:
            return super().get_connection(*args, **options)
        if Real.monotonic() - used > FRESH:
            _disconnect_if_stale(connection)
        return connection

    def release(self, connection: Any) -> None:
        """It is not in use any more."""
        self._checkpid()
        if connection.pid == self.pid:
            self._idle.append((connection, Real.monotonic()))


def _disconnect_if_stale(connection: Any) -> None:
    """The server may have closed it; it connects again when it is used."""
    try:
        stale = connection.can_read()
    except (*_BROKEN, OSError):
        stale = True
    if stale:
        connection.disconnect()


class RedisAccess:
    """One server: a pool of connections, and clients on it.

    Attributes:
        url: Where it is, as Celery takes it.
        pool: redis-py's ConnectionPool.
    """

    def __init__(self, url: str, pool: Any) -> None:
        """Connect to nothing yet."""
        self.url = url
        self.pool = pool

    @cached_property
    def client(self) -> Any:
        """A plain client: it adds no prefix."""
        return redis.Redis(connection_pool=self.pool)

    @cached_property
    def decoding(self) -> Any:
        """A plain client that answers with texts, on connections of its own."""
        options = {**self.pool.connection_kwargs, "decode_responses": True}
        return redis.Redis(connection_pool=Pool(connection_class=self.pool.connection_class, **options))

    @cached_property
    def _prefixing(self) -> PrefixingRedis:
        client = PrefixingRedis(connection_pool=self.pool)
        client.ping()
        client.ping = lambda **_: True  # each of kombu's channels asks again
        return client

    def prefixing(self, prefix: str) -> Any:
        """A client of kombu's, which puts this before each key.

        redis-py takes longer to make a client than to use it.
        """
        client = copy(self._prefixing)
        client.global_keyprefix = prefix
        return client

    def derived(self, cls: type[Any]) -> Any:
        """A client of another class on the same pool."""
        client = object.__new__(cls)
        vars(client).update(vars(self.client))
        return client


def real_access(url: str, redis_py_url: str, explain: Callable[[], str | None]) -> RedisAccess:
    """A real server.

    Args:
        url: As Celery takes it.
        redis_py_url: As redis-py takes it.
        explain: Called when a connection breaks; what became of the server, None where it lives.
    """
    pool = Pool.from_url(redis_py_url)
    # Retries of redis-py's would sleep, and a sleep moves the virtual clock.
    patience = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0)}
    pool.connection_kwargs.update(patience, decode_responses=False)  # whatever the URL says
    watched = {"explain": staticmethod(explain)}
    pool.connection_class = type("Connection", (_Watched, pool.connection_class), watched)
    return RedisAccess(url, pool)


def fake_access() -> RedisAccess:
    """A server of fakeredis, in this process, that nobody else knows."""
    import fakeredis

    # The name until fakeredis 2.39 is deprecated since.
    connection_class = getattr(fakeredis, "FakeRedisConnection", None) or fakeredis.FakeConnection
    pool = Pool(connection_class=connection_class, server=fakeredis.FakeServer())
    return RedisAccess("redis://fakeredis/0", pool)


class _Watched:
    """Before a connection of redis-py: where the server is dead, or hangs, the error says so.

    It is no connection error to kombu then, which would try again.
    """

    explain: Callable[[], str | None]

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().connect(*args, **kwargs)  # type: ignore[misc]
        except _BROKEN as error:
            self._explained(error)

    def send_packed_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().send_packed_command(*args, **kwargs)  # type: ignore[misc]
        except _BROKEN as error:
            self._explained(error)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except _BROKEN as error:
            self._explained(error)

    def _explained(self, error: Exception) -> NoReturn:
        explanation = self.explain()
        if explanation is None and isinstance(error, RedisTimeoutError):
            explanation = f"expected an answer of the Redis of this test run within {PATIENCE:g} s: {error}"
        if explanation is None:
            raise error
        raise ServerError(explanation) from None  # the text says it all
