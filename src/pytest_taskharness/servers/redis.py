"""The Redis of a test run: one that we start, guard and stop, or one that was given.

Not the module ``redis`` of redis-py: that is imported by its absolute name.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..clock.real import Real
from ..errors import ServerError, TaskHarnessError
from .binary import WAYS_OUT, Binary, find_binary, nothing_found
from .given import KEY_PREFIX, GivenURL
from .guarded import GuardedProcess

__all__ = ["KEY_PREFIX", "Binary", "RedisServer", "find_binary", "start_redis", "the_redis"]

#: How long a server may take to accept connections, in real seconds.
PATIENCE = 30.0
#: How often another port is tried, when somebody takes ours between our choice and the server's start.
PORTS = 5
#: How much later than its connections a dying server may end, in real seconds.
PARTING = 1.0
#: For how long a failure stands before the same is tried again, in real seconds.
AGAIN = 60.0
DATABASES = 64
READY = "Ready to accept connections"
TAKEN = "Address already in use"

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
databases {databases}
save ""
appendonly no
daemonize no
logfile ""
loglevel notice
"""


class RedisServer:
    """A Redis that accepts connections: one that we started, or one that was given.

    Attributes:
        url: Where, with the password, as Celery takes it for broker and backend.
        origin: What it is and where it came from, for people; without the password.
        process: The server's process, None where it is not ours.
    """

    def __init__(
        self, url: str, *, origin: str, process: GuardedProcess | None = None, given: GivenURL | None = None
    ) -> None:
        self.url = url
        self.origin = origin
        self.process = process
        self._given = given

    @property
    def owned(self) -> bool:
        """Whether we started it.  On one that we did not, nothing outside of our key prefix is ever touched."""
        return self.process is not None

    def __repr__(self) -> str:
        return f"<RedisServer {self.origin}>"

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
        if self.process is None or (code := self.process.wait(PARTING)) is None:
            return None
        return (
            f"expected the Redis of this test run to live: {self.origin}, as process {self.process.pid}; "
            f"it {ending(code)}, and the harness did not do that.\n"
            "What was in it is lost; the next test gets another one.\n"
            f"The end of its log:\n{self.log_tail()}"
        )


def ending(code: int) -> str:
    """``ended with exit code 1``, ``was ended by SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def start_redis(binary: Binary, *, env: Mapping[str, str] | None = None) -> RedisServer:
    """Start a server for us alone: on loopback, random port and password, nothing on disk, gone when we are.

    Args:
        binary: Which one.
        env: Its whole environment; this process's by default.

    Raises:
        ServerError: It cannot be run, ends, or does not get ready; the text has the end of its log.
    """
    text = ""
    for _ in range(PORTS):
        port, password = free_port(), os.urandom(24).hex()
        process = run(binary, CONFIG.format(port=port, password=password, databases=DATABASES), env)
        ready = process.wait_announced(PATIENCE)
        log = process.log_tail()
        if ready:
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            return RedisServer(url, origin=origin_of(binary, log), process=process)
        text = not_ready(binary, process.returncode, log)
        process.close()
        if TAKEN not in log:
            break
    raise ServerError(text)


def run(binary: Binary, config: str, env: Mapping[str, str] | None) -> GuardedProcess:
    """The server's process, in a directory of its own; the password stands in a file there, never in argv."""
    directory = Path(tempfile.mkdtemp(prefix="taskharness-redis-"))  # mode 0700
    try:
        configured = directory / "redis.conf"
        configured.touch(mode=0o600)
        configured.write_text(config, encoding="utf-8")
        return GuardedProcess.start(
            [binary.path, "redis.conf"],
            log=directory / "redis.log", env=env, cwd=directory, directory=directory, announcement=READY,
        )  # fmt: skip
    except OSError as error:
        raise ServerError(f"expected {binary} to start; it cannot be run: {error}\n{WAYS_OUT}") from None


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def origin_of(binary: Binary, log: str) -> str:
    """``redis-server 7.0.15 (on PATH), started by us``."""
    version = re.search(r" version=([\w.]+)", log)
    return f"{binary.name} {version[1] if version else ''} ({binary.found}), started by us"


def not_ready(binary: Binary, code: int | None, log: str) -> str:
    """Why there is no server, and what to do."""
    found = f"it did not within {PATIENCE:g} s" if code is None else f"it {ending(code)}"
    what = f"expected {binary.path} ({binary.found}) to accept connections; {found}."
    return f"{what}\nThe end of its log:\n{log}\n{WAYS_OUT}"


#: By the URL that was given; None: the one that we start.
_servers: dict[GivenURL | None, RedisServer] = {}
_failures: dict[GivenURL | None, tuple[float, TaskHarnessError]] = {}


def the_redis(given: GivenURL | None = None) -> RedisServer:
    """The Redis of this process: started, or checked, when it is first asked for, and closed when the process ends.

    One of ours that has died meanwhile is replaced.

    Args:
        given: A Redis that runs; None: start one.

    Raises:
        ConfigurationError: The URL is not that of a Redis, or of one that looks like somebody's.
        ServerError: There is no server, or it does not start, or does not answer.
    """
    found = _servers.get(given)
    if found is None or not found.is_alive():
        if found is not None:
            found.close()
        _servers[given] = found = _tried_once(given)
    return found


def _tried_once(given: GivenURL | None) -> RedisServer:
    """A server that every test of a run would wait for in vain is waited for once."""
    at, error = _failures.get(given, (0.0, None))
    if error is not None and Real.monotonic() - at < AGAIN:
        raise type(error)(str(error))
    try:
        return _started() if given is None else _taken(given)
    except TaskHarnessError as error:
        _failures[given] = (Real.monotonic(), error)
        raise


def _started() -> RedisServer:
    binary = find_binary()
    if binary is None:
        raise ServerError(nothing_found())
    server = start_redis(binary)
    atexit.register(server.close)
    return server


def _taken(given: GivenURL) -> RedisServer:
    return RedisServer(given.url, origin=f"{given.check()} at {given}", given=given)
