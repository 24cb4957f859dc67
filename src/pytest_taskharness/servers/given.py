"""A Redis that somebody else runs: whether tests may use it.  Looks, and never writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from ..errors import ConfigurationError, ServerError
from .somebodys import PATIENCE, SomebodysURL, masked

__all__ = ["KEY_PREFIX", "GivenURL", "masked"]

#: Every key that the harness writes begins so, on any server; a key that does not is somebody else's.
KEY_PREFIX = "taskharness:"


@dataclass(frozen=True)
class GivenURL(SomebodysURL):
    """The URL of a Redis that runs already: ``redis://``, ``rediss://`` or ``redis+socket://``.

    Attributes:
        allow_nonempty: Whether its database may hold keys that are not ours.
    """

    what = "Redis"
    example = "redis://:password@127.0.0.1:6379/15"
    places = "127.0.0.1, ::1 or a unix socket"
    inside = "the database or the password"
    schemes = ("redis", "rediss", "redis+socket")
    port = 6379

    allow_nonempty: bool = field(default=False, kw_only=True)

    def check(self) -> str:
        """Look whether tests may use it.

        Returns:
            What runs there, for people: ``Redis 7.0.15``.

        Raises:
            ConfigurationError: It is no URL of a Redis; it is not on this machine; the database is not empty.
            ServerError: It does not answer, or lets nobody in with this password.
        """
        self._check_form()
        if not (self.allow_remote or self.parts.scheme == "redis+socket"):
            self._check_local()
        return self._ask()

    def explain_silence(self) -> str | None:
        """Why it answers no more; None if it does."""
        try:
            replace(self, allow_nonempty=True, allow_remote=True).check()
        except ServerError as error:
            return f"the Redis of this test run is not the harness's own, and answers no more: {error}"
        return None

    def _check_form(self) -> None:
        self._check_scheme()
        database = self._database()
        if not database.isdecimal():
            raise ConfigurationError(
                f"{self.source} takes the number of a database, such as redis://127.0.0.1:6379/15; "
                f"given: {database!r} in {masked(self.url)!r}"
            )

    def _database(self) -> str:
        if self.parts.scheme == "redis+socket":
            return parse_qs(self.parts.query).get("virtual_host", ["0"])[0].lstrip("/") or "0"
        return self.parts.path.strip("/") or "0"

    def _ask(self) -> str:
        """One connection, a few commands that only read."""
        client = self.connect()
        try:
            client.ping()
            if not self.allow_nonempty:
                self._check_empty(client)
            return self._version(client)
        except redis_errors() as error:
            raise ServerError(self._unreachable(error)) from None
        finally:
            client.close()

    def connect(self) -> Any:
        """A client of redis-py that waits for nothing longer than :data:`PATIENCE`, and tries everything once."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise ConfigurationError(
                f"{self} needs the Redis client that Celery uses, and it is not installed.\n"
                "Install it: pip install 'pytest-taskharness[redis]'"
            ) from None
        return redis.Redis.from_url(
            self.for_redis_py(), socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )

    def for_redis_py(self) -> str:
        """Celery and redis-py write unix sockets, and what a certificate must be, differently."""
        if self.parts.scheme == "redis+socket":
            return f"unix://{self.parts.netloc}{self.parts.path}?db={self._database()}"
        query = {name: values[-1] for name, values in parse_qs(self.parts.query).items()}
        if "ssl_cert_reqs" in query:
            query["ssl_cert_reqs"] = query["ssl_cert_reqs"].removeprefix("CERT_").lower()
        return f"{self.url.partition('?')[0]}{'?' if query else ''}{urlencode(query)}"

    def _check_empty(self, client: Any) -> None:
        """Refuse a database with keys of others; other processes of this test run may have written already."""
        if not client.dbsize():
            return
        mine = KEY_PREFIX.encode()
        if any(not key.startswith(mine) for key in client.scan_iter(count=1000)):
            raise ConfigurationError(
                f"expected an empty database; database {self._database()} of {self} holds {client.dbsize()} keys, and "
                f"not all are ours (ours begin with {KEY_PREFIX!r}).\n"
                "The others would be left alone; but a database in use may be one that somebody needs.\n"
                "Ways out:\n"
                "  - another database of this server: the number at the end of the URL\n"
                "  - no URL: the harness starts a server of its own\n"
                "  - --taskharness-allow-nonempty (ini: taskharness_allow_nonempty = true)"
            )

    @staticmethod
    def _version(client: Any) -> str:
        try:
            info = client.info("server")
        except redis_errors():  # a user that may not ask
            return "a Redis"
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info.get('redis_version', '')}".strip()


def redis_errors() -> type[Exception]:
    """What redis-py raises; it is imported by now."""
    from redis.exceptions import RedisError

    error: type[Exception] = RedisError
    return error
