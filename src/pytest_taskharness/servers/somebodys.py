"""A server that somebody else runs: whether tests may use it, as far as its URL tells."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import ConfigurationError, ServerError

__all__ = ["PATIENCE", "SomebodysURL", "masked"]

#: How long one answer may take, in real seconds.
PATIENCE = 5.0


def masked(url: str) -> str:
    """The URL without user and password, for texts that people read; rather too much is hidden than too little."""
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", re.sub(r"(?<=://).*@", "***@", url))


@dataclass(frozen=True)
class SomebodysURL:
    """The URL of a server that runs already.

    Attributes:
        url: As Celery takes it.
        source: Where it was given, for people: ``--taskharness-redis-url``.
        allow_remote: Whether it may be on another machine.
    """

    #: What it is, what its URL looks like, and what a wrong one has wrong, for people.
    what: ClassVar[str]
    example: ClassVar[str]
    places: ClassVar[str]
    inside: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    port: ClassVar[int]

    url: str = field(repr=False)
    source: str
    allow_remote: bool = field(default=False, kw_only=True)

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
                f"{self.source} takes a URL, such as {self.example}; given: {masked(self.url)!r}\n"
                "Special characters of a password are written as %40, %2F, … (urllib.parse.quote)."
            ) from None
        return parts

    def _check_scheme(self) -> None:
        if self.parts.scheme not in self.schemes:
            raise ConfigurationError(
                f"{self.source} takes the URL of a {self.what}: {', '.join(f'{each}://' for each in self.schemes)}; "
                f"given: {masked(self.url)!r}"
            )

    def _check_local(self) -> None:
        """Refuse a server that is not on this machine: production is elsewhere."""
        if self.parts.hostname is None:
            return
        addresses = self._addresses(self.parts.hostname)
        if not all(address.is_loopback for address in addresses):
            raise ConfigurationError(
                f"expected a {self.what} on this machine; {self} is at {', '.join(map(str, addresses))}, "
                "and could be one that somebody needs.\n"
                "Ways out:\n"
                f"  - a server on {self.places}\n"
                "  - no URL: the harness starts a server of its own\n"
                "  - --taskharness-allow-remote (ini: taskharness_allow_remote = true), where it is there for tests, "
                "as a service container of CI is"
            )

    def _addresses(self, host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        """Where the host is, by number."""
        try:
            found = socket.getaddrinfo(host, self.parts.port or self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ServerError(self._unreachable(error)) from None
        return [ipaddress.ip_address(each) for each in sorted({str(one[4][0]).partition("%")[0] for one in found})]

    def _unreachable(self, error: Exception) -> str:
        text = str(error)
        if password := self.parts.password:
            text = text.replace(unquote(password), "***")
        return (
            f"expected a {self.what} at {self}; found instead: {type(error).__name__}: {text}\n"
            "Ways out:\n"
            f"  - start that server, or correct the host, the port, {self.inside} in the URL\n"
            "  - no URL: the harness starts a server of its own"
        )
