"""The Redis of a test run: one that we start, guard and stop, or one that was given.

Not the module ``redis`` of redis-py: that is imported by its absolute name.
"""

from __future__ import annotations

import atexit
import re
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ..errors import ServerError
from .binary import WAYS_OUT, Binary, find_binary, nothing_found
from .given import KEY_PREFIX, GivenURL
from .guarded import GuardedProcess
from .server import Once, Server, ending, start_somewhere

__all__ = ["KEY_PREFIX", "Binary", "RedisServer", "find_binary", "start_redis", "the_redis"]

#: How long a server may take to accept connections, in real seconds.
PATIENCE = 30.0
DATABASES = 64
#: Lines of a log that a text shows.
SHOWN = 30
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


class RedisServer(Server):
    """A Redis that accepts connections; its URL is for broker and backend."""

    what = "Redis"


def start_redis(binary: Binary, *, env: Mapping[str, str] | None = None) -> RedisServer:
    """Start a server for us alone: on loopback, random port and password, nothing on disk, gone when we are.

    Args:
        binary: Which one.
        env: Its whole environment; this process's by default.

    Raises:
        ServerError: It cannot be run, ends, or does not get ready; the text has the end of its log.
    """
    process, port, password = start_somewhere(
        lambda port, password: run(binary, CONFIG.format(port=port, password=password, databases=DATABASES), env),
        patience=PATIENCE, taken=TAKEN, failed=partial(not_ready, binary),
    )  # fmt: skip
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return RedisServer(url, origin=origin_of(binary, process.log_tail()), process=process)


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


def origin_of(binary: Binary, log: str) -> str:
    """``redis-server 7.0.15 (on PATH), started by us``."""
    version = re.search(r" version=([\w.]+)", log)
    return f"{binary.name} {version[1] if version else ''} ({binary.found}), started by us"


def not_ready(binary: Binary, code: int | None, log: str) -> str:
    """Why there is no server, and what to do."""
    found = f"it did not within {PATIENCE:g} s" if code is None else f"it {ending(code)}"
    what = f"expected {binary.path} ({binary.found}) to accept connections; {found}."
    end = "\n".join(log.splitlines()[-SHOWN:])
    return f"{what}\nThe end of its log:\n{end}\n{WAYS_OUT}"


def the_redis(given: GivenURL | None = None) -> RedisServer:
    """The Redis of this process: started, or checked, when it is first asked for, and closed when the process ends.

    One of ours that has died meanwhile is replaced.

    Args:
        given: A Redis that runs; None: start one.

    Raises:
        ConfigurationError: The URL is not that of a Redis, or of one that looks like somebody's.
        ServerError: There is no server, or it does not start, or does not answer.
    """
    return _once.the(given)


def _started() -> RedisServer:
    binary = find_binary()
    if binary is None:
        raise ServerError(nothing_found())
    server = start_redis(binary)
    atexit.register(server.close)
    return server


def _taken(given: GivenURL) -> RedisServer:
    return RedisServer(given.url, origin=f"{given.check()} at {given}", given=given)


_once: Once[GivenURL, RedisServer] = Once(_started, _taken)
