"""A RabbitMQ that somebody else runs: whether tests may use it.  Connects once, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ServerError
from .somebodys import PATIENCE, SomebodysURL

__all__ = ["OLDEST", "GivenRabbitMQ", "ask"]

#: The oldest RabbitMQ that is used: it has quorum queues, and its listeners say when they are there.
OLDEST = (3, 8)


@dataclass(frozen=True)
class GivenRabbitMQ(SomebodysURL):
    """The URL of a RabbitMQ that runs already: ``amqp://``, ``amqps://`` or ``pyamqp://``.

    Whether its virtual host is empty cannot be asked over AMQP.  What the harness declares there has a prefix of its
    own, so that what belongs to others is neither read nor changed.
    """

    what = "RabbitMQ"
    example = "amqp://user:password@127.0.0.1:5672//"
    places = "127.0.0.1 or ::1"
    inside = "the virtual host, the user or the password"
    schemes = ("amqp", "amqps", "pyamqp")
    port = 5672

    def check(self) -> str:
        """Look whether tests may use it.

        Returns:
            What runs there, for people: ``RabbitMQ 3.12.1``.

        Raises:
            ConfigurationError: It is no URL of a RabbitMQ; it is not on this machine.
            ServerError: It does not answer, lets nobody in with this password, or is too old.
        """
        self._check_scheme()
        if not self.allow_remote:
            self._check_local()
        try:
            return ask(self.url, where=f"at {self}")
        except amqp_errors() as error:
            raise ServerError(self._unreachable(error)) from None

    def explain_silence(self) -> str | None:
        """Why it answers no more; None if it does."""
        try:
            replace(self, allow_remote=True).check()
        except ServerError as error:
            return f"the RabbitMQ of this test run is not the harness's own, and answers no more: {error}"
        return None


def ask(url: str, *, where: str) -> str:
    """Connect as Celery would, once, and be told what runs there: ``RabbitMQ 3.12.1``.

    Args:
        url: Where.
        where: The same for people, without the password.

    Raises:
        ServerError: It is too old.
    """
    from kombu import Connection

    patience = {"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "write_timeout": PATIENCE}
    transport = Connection(_named(url), connect_timeout=PATIENCE, transport_options=patience).transport
    connection = transport.establish_connection()
    try:
        return _checked(connection.server_properties, where)
    finally:
        transport.close_connection(connection)


def _named(url: str) -> str:
    """Where librabbitmq is installed, kombu would take it for ``amqp://``."""
    return re.sub("^amqp://", "pyamqp://", url)


def _checked(properties: Mapping[str, Any], where: str) -> str:
    """What the server says of itself; others that speak AMQP are taken as they are."""
    product, version = str(properties.get("product", "an AMQP server")), str(properties.get("version", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if product == "RabbitMQ" and numbers < OLDEST:
        raise ServerError(
            f"expected RabbitMQ {'.'.join(map(str, OLDEST))} or newer {where}; found instead: {product} {version}.\n"
            "Ways out:\n"
            "  - a newer RabbitMQ, on PATH or by --taskharness-rabbitmq-url (ini: taskharness_rabbitmq_url)\n"
            "  - mode memory needs no server, and follows RabbitMQ's rules for an app whose broker_url is amqp://"
        )
    return f"{product} {version}".strip()


def amqp_errors() -> tuple[type[Exception], ...]:
    """What a connection can raise; py-amqp is imported with kombu's transport, if at all."""
    from amqp.exceptions import AMQPError

    return AMQPError, OSError
