"""The RabbitMQ of a test run: one that we start, guard and stop, or one that was given.

A RabbitMQ is a node of Erlang, and an Erlang node wants to be found by others: by a port mapper (epmd) for all nodes of
the machine, by a port that it listens at, by a cookie in the home directory.  Ours has none of that: it has a name,
nobody can reach it but by AMQP, and its home is a directory that goes away with it.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..errors import ServerError
from .binary import Binary
from .given_rabbitmq import GivenRabbitMQ, amqp_errors, ask
from .guarded import GuardedProcess
from .rabbitmq_binary import WAYS_OUT, find_rabbitmq, nothing_found, without_plugins
from .server import Once, Server, ending, free_port, start_somewhere

__all__ = ["GivenRabbitMQ", "RabbitServer", "find_rabbitmq", "start_rabbitmq", "the_rabbitmq"]

#: How long a server may take to accept connections, in real seconds; it is five on a machine that is not busy.
PATIENCE = 60.0
USER = "taskharness"
READY = "Server startup complete"
TAKEN = "eaddrinuse"
FAILED = "BOOT FAILED"
#: Lines of a log that a text shows.
SHOWN = 30
#: A file system in memory: RabbitMQ writes each durable queue to the disk, and waits for the disk.
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it
#: How much of it must be free, in bytes.
ROOM = 200 * 2**20

#: Erlang's own language; a disk that is nearly full must not stop the tests, which write next to nothing.
CONFIG = """\
[
  {{rabbit, [
    {{tcp_listeners, [{{"127.0.0.1", {port}}}]}},
    {{default_user, <<"{user}">>}},
    {{default_pass, <<"{password}">>}},
    {{loopback_users, []}},
    {{disk_free_limit, 0}}
  ]}},
  {{ra, [{{wal_max_size_bytes, 16777216}}]}}
].
"""

#: What is taken over from the environment; RABBITMQ_… and ERL_… of the user's would lead the server elsewhere.
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class RabbitServer(Server):
    """A RabbitMQ that accepts connections; its URL is for the broker."""

    what = "RabbitMQ"


def start_rabbitmq(binary: Binary, *, env: Mapping[str, str] | None = None) -> RabbitServer:
    """Start a server for us alone: on loopback, random port and password, gone when we are.

    Args:
        binary: Which one.
        env: The environment from which it gets what it needs; this process's by default.

    Raises:
        ServerError: It cannot be run, ends, does not get ready, or is too old; the text has the end of its log.
    """
    process, port, password = start_somewhere(
        lambda port, password: run(binary, CONFIG.format(port=port, user=USER, password=password), env),
        patience=PATIENCE, taken=TAKEN, failed=partial(not_ready, binary),
    )  # fmt: skip
    return _asked(f"amqp://{USER}:{password}@127.0.0.1:{port}//", binary, process)


def _asked(url: str, binary: Binary, process: GuardedProcess) -> RabbitServer:
    """It says that it is ready: what is it?"""
    try:
        version = ask(url, where=f"in {binary.path}")
    except BaseException as error:
        process.close()
        if isinstance(error, amqp_errors()):
            raise ServerError(_failed(binary, f"found instead: {error!r}", process.log_tail())) from None
        raise
    return RabbitServer(url, origin=f"{version} ({binary.found}), started by us", process=process)


def run(binary: Binary, config: str, env: Mapping[str, str] | None) -> GuardedProcess:
    """The server's process, in a directory of its own; the password stands in a file there, never in argv."""
    directory = Path(tempfile.mkdtemp(prefix="taskharness-rabbitmq-", dir=_folder()))  # mode 0700
    try:
        configured = directory / "rabbitmq.config"
        configured.touch(mode=0o600)
        configured.write_text(config, encoding="utf-8")
        (directory / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        (directory / "rabbitmq-env.conf").touch()
        return GuardedProcess.start(
            [binary.path],
            log=directory / "rabbitmq.log", env=environment(binary, directory, os.environ if env is None else env),
            cwd=directory, directory=directory, announcement=READY,
        )  # fmt: skip
    except OSError as error:
        raise ServerError(f"expected {binary} to start; it cannot be run: {error}\n{WAYS_OUT}") from None


def _folder() -> Path | None:
    """Where its directory is made: in memory, where there is room; None: where temporary files are."""
    with suppress(OSError):
        room = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= ROOM:
            return MEMORY
    return None


def environment(binary: Binary, directory: Path, env: Mapping[str, str]) -> dict[str, str]:
    """All that leads it: nothing of the user's, and nothing of the machine's own RabbitMQ."""
    node = node_name()
    beside = Path(binary.path).parent.parent / "bin"  # of Homebrew: Erlang, where PATH has only the system's
    return {
        **{name: env[name] for name in KEPT if name in env},
        "PATH": f"{env.get('PATH', os.defpath)}{os.pathsep}{beside}",
        "HOME": str(directory),
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, instead of waiting for it
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq",
        "RABBITMQ_CONFIG_FILES": f"{directory}/conf.d/*.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{directory}/rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
        "RABBITMQ_GENERATED_CONFIG_DIR": f"{directory}/generated",
        "RABBITMQ_MNESIA_BASE": f"{directory}/data",
        "RABBITMQ_LOG_BASE": f"{directory}/log",
        "RABBITMQ_LOGS": "-",
        **without_plugins(binary, directory),
        **_unreachable(node),
    }


def node_name() -> str:
    """A name that no other node of the machine has, and that needs no name of the machine."""
    return f"taskharness-{os.urandom(6).hex()}@localhost"


def _unreachable(node: str) -> dict[str, str]:
    """A name, which other programs of the node's inherit no more than its ways: no epmd, no port for other nodes.

    Where Erlang is so old that it listens all the same (23), it does so on loopback, at a port that was free.
    """
    return {
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-sname {node}",
        "ERL_AFLAGS": (
            f"-start_epmd false -dist_listen false -erl_epmd_port {free_port()} "
            "-kernel inet_dist_use_interface {127,0,0,1}"
        ),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": "1",  # nobody's
        "ERL_CRASH_DUMP_SECONDS": "0",
    }


def telling(log: str) -> str:
    """Its last word where it has one, for what it prints before and after fills pages; else the end of its log."""
    lines = log.splitlines()
    if FAILED in lines:
        word = len(lines) - 1 - lines[::-1].index(FAILED)
        return "\n".join(lines[word : word + SHOWN])
    return "\n".join(lines[-SHOWN:])


def not_ready(binary: Binary, code: int | None, log: str) -> str:
    """Why there is no server, and what to do."""
    return _failed(binary, f"it did not within {PATIENCE:g} s" if code is None else f"it {ending(code)}", telling(log))


def _failed(binary: Binary, found: str, log: str) -> str:
    what = f"expected {binary.path} ({binary.found}) to accept connections; {found}."
    return f"{what}\nThe end of its log:\n{log}\n{WAYS_OUT}"


def the_rabbitmq(given: GivenRabbitMQ | None = None) -> RabbitServer:
    """The RabbitMQ of this process: started, or checked, when it is first asked for, and closed when the process ends.

    One of ours that has died meanwhile is replaced.

    Args:
        given: A RabbitMQ that runs; None: start one.

    Raises:
        ConfigurationError: The URL is not that of a RabbitMQ, or of one on another machine.
        ServerError: There is no server, or it does not start, does not answer, or is too old.
    """
    return _once.the(given)


def _started() -> RabbitServer:
    binary = find_rabbitmq()
    if binary is None:
        raise ServerError(nothing_found())
    server = start_rabbitmq(binary)
    atexit.register(server.close)
    return server


def _taken(given: GivenRabbitMQ) -> RabbitServer:
    return RabbitServer(given.url, origin=f"{given.check()} at {given}", given=given)


_once: Once[GivenRabbitMQ, RabbitServer] = Once(_started, _taken)
