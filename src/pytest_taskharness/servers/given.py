"""A Redis that somebody else runs: whether tests may use it.  Looks, and never writes."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from ..errors import ConfigurationError, ServerError

__all__ = ["KEY_PREFIX", "GivenURL", "masked"]

#: Every key that the harness writes begins so, on any server; a key that does not is somebody else's.
KEY_PREFIX = "taskharness:"
#: How long one answer may take, in real seconds.
PATIENCE = 5.0

SCHEMES = ("redis", "rediss", "redis+socket")


def masked(url: str) -> str:
    """The URL without user and password, for texts that people read; rather too much is hidden than too little."""
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", re.sub(r"(?<=://).*@", "***@", url))


@dataclass(frozen=True)
class GivenURL:
    """The URL of a Redis that runs already.

    Attributes:
        url: As Celery takes it: ``redis://``, ``rediss://`` or ``redis+socket://``.
        source: Where it was given, for people: ``--taskharness-redis-url``.
        allow_nonempty: Whether its database may hold keys that are not ours.
        allow_remote: Whether it may be on another machine.
    """

    url: str = field(repr=False)
    source: str
    allow_nonempty: bool = False
    allow_remote: bool = False

    def __str__(self) -> str:
        """As ``redis://***@127.0.0.1:6379/15 (--taskharness-redis-url)``."""
        return f"{masked(self.url)} ({self.source})"

    @cached_property
    def parts(self) -> SplitResult:
        """The URL taken apart.

        Raises:
            ConfigurationError: It is no URL.  Python's own text would show a part of the password.
        """
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018 - computed, and checked, when it is read
        except ValueError:
            raise ConfigurationError(
                f"{self.source} takes a URL, such as redis://:password@127.0.0.1:6379/15; given: {masked(self.url)!r}\n"
                "Special characters of a password are written as %40, %2F, … (urllib.parse.quote)."
            ) from None
        return parts

    def check(self) -> str:
        """Look whether tests may use it.

        Returns:
            What runs there, for people: ``Redis 7.0.15``.

        Raises:
            ConfigurationError: It is no URL of a Redis; it is not on this machine; the database is not empty.
            ServerError: It does not answer, or lets nobody in with this password.
        """
        self._check_form()
        if not self.allow_remote:
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
        if self.parts.scheme not in SCHEMES:
            raise ConfigurationError(
                f"{self.source} takes the URL of a Redis: {', '.join(f'{each}://' for each in SCHEMES)}; "
                f"given: {masked(self.url)!r}"
            )
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

    def _check_local(self) -> None:
        """Refuse a server that is not on this machine: production is elsewhere."""
        if self.parts.scheme == "redis+socket" or self.parts.hostname is None:
            return
        addresses = self._addresses(self.parts.hostname)
        if not all(address.is_loopback for address in addresses):
            raise ConfigurationError(
                f"expected a Redis on this machine; {self} is at {', '.join(map(str, addresses))}, "
                "and could be one that somebody needs.\n"
                "Ways out:\n"
                "  - a server on 127.0.0.1, ::1 or a unix socket\n"
                "  - no URL: the harness starts a server of its own\n"
                "  - --taskharness-allow-remote (ini: taskharness_allow_remote = true), where it is there for tests, "
                "as a service container of CI is"
            )

    def _addresses(self, host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        """Where the host is, by number."""
        try:
            found = socket.getaddrinfo(host, self.parts.port or 6379, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ServerError(self._unreachable(error)) from None
        return [ipaddress.ip_address(each) for each in sorted({str(one[4][0]).partition("%")[0] for one in found})]

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

    def _unreachable(self, error: Exception) -> str:
        text = str(error)
        if password := self.parts.password:
            text = text.replace(unquote(password), "***")
        return (
            f"expected a Redis at {self}; found instead: {type(error).__name__}: {text}\n"
            "Ways out:\n"
            "  - start that server, or correct the host, the port, the database or the password in the URL\n"
            "  - no URL: the harness starts a server of its own"
        )


def redis_errors() -> type[Exception]:
    """What redis-py raises; it is imported by now."""
    from redis.exceptions import RedisError

    error: type[Exception] = RedisError
    return error
