"""What the servers of a test run have in common, whatever they serve."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import ClassVar, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from ..clock.real import Real
from ..errors import ServerError, TaskHarnessError
from .guarded import GuardedProcess

__all__ = ["Once", "Server", "ending", "free_port", "start_somewhere"]

#: How much later than its connections a dying server may end, in real seconds; and one that nobody can connect to.
PARTING, DYING = 1.0, 30.0
#: How long it may take to see whether somebody can, in real seconds.
KNOCKING = 5.0
#: How often another port is tried, when somebody takes ours between our choice and the server's start.
PORTS = 5
#: Lines of a log that are all of it.
WHOLE = 5000
#: For how long a failure stands before the same is tried again, in real seconds.
AGAIN = 60.0


class Given(Protocol):
    """A server that somebody else runs."""

    def explain_silence(self) -> str | None:
        """Why it answers no more; None if it does."""


class Server:
    """A server that accepts connections: one that we started, or one that was given.

    Attributes:
        url: Where, with the password, as Celery takes it.
        origin: What it is and where it came from, for people; without the password.
        process: The server's process, None where it is not ours.
    """

    #: What it is, for people.
    what: ClassVar[str]

    def __init__(
        self, url: str, *, origin: str, process: GuardedProcess | None = None, given: Given | None = None
    ) -> None:  # fmt: skip
        self.url = url
        self.origin = origin
        self.process = process
        self._given = given

    @property
    def owned(self) -> bool:
        """Whether we started it.  On one that we did not, nothing outside of our prefix is ever touched."""
        return self.process is not None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.origin}>"

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the log; of a server that is not ours we have none, and the text says so."""
        return self.process.log_tail(lines) if self.process else "(not ours: its log is where it runs)"

    def close(self) -> None:
        """Stop it and remove its directory, where it is ours; again does nothing."""
        if self.process:
            self.process.close()

    def is_alive(self) -> bool:
        """Whether our server's process runs; one that was given counts as alive."""
        return self.process is None or self.process.poll() is None

    def explain_death(self) -> str | None:
        """What to add to a connection error: how the server died, and the last it said; None if it lives.

        Waits a moment, because a connection breaks before the process at its other end is gone.
        """
        if self._given:
            return self._given.explain_silence()
        if self.process is None or (code := self._ended(self.process)) is None:
            return None
        return (
            f"expected the {self.what} of this test run to live: {self.origin}, as process {self.process.pid}; "
            f"it {ending(code)}, and the harness did not do that.\n"
            "What was in it is lost; the next test gets another one.\n"
            f"The end of its log:\n{self.log_tail()}"
        )

    def _ended(self, process: GuardedProcess) -> int | None:
        """How, or None; on a busy machine its guard may tell of it long after the kernel has closed its port."""
        code = process.wait(PARTING)
        return code if code is not None or self._listens() else process.wait(DYING)

    def _listens(self) -> bool:
        """Whether somebody can connect; one that hangs does not answer, but the kernel connects."""
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=KNOCKING).close()
        except ConnectionError:
            return False
        except OSError:
            return True
        return True


S = TypeVar("S", bound=Server)
G = TypeVar("G", bound=Hashable)


class Once(Generic[G, S]):
    """The servers of this process: started, or checked, when they are first asked for.

    Attributes:
        servers: By what was given; None: the one that we start.
        failures: What did not work, and when.
    """

    def __init__(self, start: Callable[[], S], take: Callable[[G], S]) -> None:
        """How to start one, and how to take one that runs."""
        self.servers: dict[G | None, S] = {}
        self.failures: dict[G | None, tuple[float, TaskHarnessError]] = {}
        self._start = start
        self._take = take

    def the(self, given: G | None) -> S:
        """The one; one of ours that has died meanwhile is replaced."""
        found = self.servers.get(given)
        if found is None or not found.is_alive():
            if found is not None:
                found.close()
            self.servers[given] = found = self._tried_once(given)
        return found

    def _tried_once(self, given: G | None) -> S:
        """A server that every test of a run would wait for in vain is waited for once."""
        at, error = self.failures.get(given, (0.0, None))
        if error is not None and Real.monotonic() - at < AGAIN:
            raise type(error)(str(error))
        try:
            return self._start() if given is None else self._take(given)
        except TaskHarnessError as error:
            self.failures[given] = (Real.monotonic(), error)
            raise


def start_somewhere(
    run: Callable[[int, str], GuardedProcess], *, patience: float, taken: str,
    failed: Callable[[int | None, str], str],
) -> tuple[GuardedProcess, int, str]:  # fmt: skip
    """Start a server at a port that is free, with a password that nobody knows.

    Args:
        run: Start it at a port, with a password.
        patience: How long it may take to accept connections, in real seconds.
        taken: What its log says where somebody else has the port.
        failed: Why there is none, by its exit code (None: it runs) and its log.

    Returns:
        Its process, which accepts connections, its port and its password.

    Raises:
        ServerError: It cannot be run, ends, or does not get ready.
    """
    text = ""
    for _ in range(PORTS):
        port, password = free_port(), os.urandom(24).hex()
        process = run(port, password)
        if process.wait_announced(patience):
            return process, port, password
        log = process.log_tail(WHOLE)
        text = failed(process.returncode, log)
        process.close()
        if taken not in log:
            break
    raise ServerError(text)


def ending(code: int) -> str:
    """``ended with exit code 1``, ``was ended by SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
