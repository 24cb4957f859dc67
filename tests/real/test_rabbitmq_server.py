"""A RabbitMQ of our own: started, used by Celery, and gone, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import freezegun
import pytest
from celery import Celery

from pytest_taskharness.errors import ServerError
from pytest_taskharness.servers import rabbitmq as servers
from pytest_taskharness.servers import server as common
from pytest_taskharness.servers.binary import Binary
from pytest_taskharness.servers.given_rabbitmq import GivenRabbitMQ
from pytest_taskharness.servers.rabbitmq import start_rabbitmq, the_rabbitmq
from pytest_taskharness.servers.rabbitmq_binary import WAYS_OUT

PATIENCE = 20.0
SOURCE = "--taskharness-rabbitmq-url"
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")


@pytest.fixture(scope="module")
def one():
    """A server for all tests that only look at it."""
    with ExitStack() as closing:
        started = []

        def server(binary):
            if not started:
                started.append(start_rabbitmq(binary))
                closing.callback(started[0].close)
            return started[0]

        yield server


@pytest.fixture
def server(one, rabbitmq_binary):
    return one(rabbitmq_binary)


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not asked for a RabbitMQ yet."""
    monkeypatch.setattr(servers._once, "servers", {})
    monkeypatch.setattr(servers._once, "failures", {})
    yield
    for each in servers._once.servers.values():
        each.close()


@pytest.fixture
def tool(tmp_path):
    """A program that stands in for a server."""

    def tool(*lines, mode=0o755):
        path = tmp_path / "rabbitmq-server"
        path.write_text("\n".join(["#!/bin/sh", *lines]))
        path.chmod(mode)
        return Binary(str(path), "on PATH")

    return tool


def refused(binary):
    with pytest.raises(ServerError) as caught:
        start_rabbitmq(binary)
    return str(caught.value)


def connected(url, **changed):
    """A connection of py-amqp; it has answered."""
    parts = urlsplit(url)
    login = {"userid": parts.username, "password": parts.password, **changed}
    connection = amqp.Connection(f"127.0.0.1:{parts.port}", connect_timeout=PATIENCE, read_timeout=PATIENCE, **login)
    connection.connect()
    return connection


def directory_of(server):
    return server.process.log.parent


def environments(directory):
    """The processes that have a path of this directory in their environment: their ids and names."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if f"HOME={directory}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "comm").read_text().strip()
    return found


def listens_at(pids):
    """The addresses, as the kernel writes them, at which these processes listen."""
    held = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                held.add(str(handle.readlink()))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held]


# -- what is started


def test_it_says_what_it_is_and_hides_the_password(server, rabbitmq_binary):
    assert server.origin.startswith("RabbitMQ ")
    assert server.origin.endswith(f" ({rabbitmq_binary.found}), started by us")
    assert repr(server) == f"<RabbitServer {server.origin}>"
    assert server.owned
    assert server.is_alive()


@pytest.mark.parametrize("login", [{"password": "not-this-one"}, {"userid": "guest", "password": "guest"}])
def test_it_lets_nobody_else_in(server, login):
    with pytest.raises(amqp.AccessRefused):
        connected(server.url, **login)


def test_the_password_stands_in_no_argument_list(server):
    command = ["ps", "-ww", "-o", "args=", "-p", str(server.process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "beam" in listed
    assert urlsplit(server.url).password not in listed
    assert urlsplit(server.url).password not in server.log_tail(5000)


@needs_proc
def test_it_listens_at_one_port_of_loopback_and_starts_no_port_mapper(server):
    running = environments(directory_of(server))

    assert "epmd" not in running.values()
    assert server.process.pid in running
    assert listens_at(running) == [f"0100007F:{urlsplit(server.url).port:04X}"]


def test_its_files_are_for_us_alone(server):
    directory = directory_of(server)

    assert directory.stat().st_mode & 0o777 == 0o700
    for name in ("rabbitmq.config", "rabbitmq.log", ".erlang.cookie"):
        assert not (directory / name).stat().st_mode & 0o077
    assert sorted(path.name for path in directory.iterdir()) == [
        ".erlang.cookie", "data", "enabled_plugins", "home", "log", "rabbitmq-env.conf", "rabbitmq.config",
        "rabbitmq.log",
    ]  # fmt: skip


def test_celery_takes_its_url_for_the_broker(server):
    app = Celery("shop", broker=server.url, set_as_current=False)

    with app.connection_for_write() as connection, connection.SimpleQueue("orders") as queue:
        queue.put({"card": 1})
        message = queue.get(timeout=PATIENCE)
        message.ack()

    assert message.payload == {"card": 1}


@needs_proc
def test_neither_the_users_environment_nor_a_frozen_clock_leads_it_elsewhere(server, watch, rabbitmq_binary, tmp_path):
    elsewhere = {
        name: str(tmp_path)
        for name in ("HOME", "RABBITMQ_MNESIA_BASE", "RABBITMQ_MNESIA_DIR", "RABBITMQ_LOG_BASE", "RABBITMQ_HOME")
    }
    port = urlsplit(server.url).port
    misleading = {
        "RABBITMQ_NODENAME": "rabbit@localhost", "RABBITMQ_NODE_PORT": str(port), "ERL_AFLAGS": "-no_such_flag +no",
        "RABBITMQ_ENABLED_PLUGINS": "rabbitmq_management", "RABBITMQ_SERVER_START_ARGS": "-detached",
        "RABBITMQ_BASE": str(tmp_path), "NOTIFY_SOCKET": "x", "LD_PRELOAD": "/no/such/library.so",
    }  # fmt: skip
    with freezegun.freeze_time("2001-02-03"):
        other = start_rabbitmq(rabbitmq_binary, env={**os.environ, **elsewhere, **misleading})
    directory = directory_of(other)
    running = environments(directory)
    for pid in running:
        watch.add(pid)
    connected(other.url).close()
    assert list(tmp_path.iterdir()) == []
    assert urlsplit(other.url).port != port

    other.close()
    other.close()

    for pid in running:
        watch.until_gone(pid)
    assert not directory.exists()
    assert "Server startup complete" in other.log_tail(5000)


# -- what does not start


def test_a_port_that_somebody_took_meanwhile_is_exchanged(server, rabbitmq_binary, monkeypatch):
    taken = urlsplit(server.url).port
    ports = iter([taken, common.free_port()])
    monkeypatch.setattr(common, "free_port", lambda: next(ports))

    other = start_rabbitmq(rabbitmq_binary)
    other.close()

    assert urlsplit(other.url).port != taken


def test_a_node_that_cannot_have_its_name_says_so_at_once(rabbitmq_binary, monkeypatch):
    monkeypatch.setattr(servers, "node_name", lambda: "taskharness@no.short.name")

    text = refused(rabbitmq_binary)

    assert text.startswith(
        f"expected {rabbitmq_binary.path} ({rabbitmq_binary.found}) to accept connections; it ended with exit code 1.\n"
        "The end of its log:\n"
    )
    assert "Can't set short node name!" in text
    assert text.endswith(WAYS_OUT)


def test_a_server_that_fails_shows_its_last_word_and_the_ways_out(tool):
    lines = ["echo starting", "echo BOOT FAILED", "echo out of luck >&2", "exit 3"]
    binary = tool(*lines)

    assert refused(binary) == (
        f"expected {binary.path} (on PATH) to accept connections; it ended with exit code 3.\n"
        f"The end of its log:\nBOOT FAILED\nout of luck\n{WAYS_OUT}"
    )


def test_a_server_that_is_not_ready_in_time_is_ended(tool, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.1)

    assert "it did not within 0.1 s.\nThe end of its log:\n" in refused(tool("echo starting", "exec sleep 1000000"))


def test_a_server_that_says_that_it_is_ready_and_is_not_is_ended(tool):
    text = refused(tool("echo Server startup complete", "exec sleep 1000000"))

    assert "to accept connections; found instead: ConnectionRefusedError(" in text
    assert "The end of its log:\nServer startup complete\n" in text


def test_a_server_that_is_too_old_is_ended(tool, monkeypatch, tmp_path):
    def too_old(url, where):
        raise ServerError(f"expected RabbitMQ 3.8 or newer {where}; found instead: RabbitMQ 3.7.28.")

    monkeypatch.setattr(servers, "ask", too_old)
    monkeypatch.setattr(servers, "MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    binary = tool("echo Server startup complete", "exec sleep 1000000")

    assert refused(binary).startswith(f"expected RabbitMQ 3.8 or newer in {binary.path}; found instead: ")
    assert [path.name for path in tmp_path.iterdir()] == ["rabbitmq-server"]


def test_a_server_that_cannot_be_executed_is_named(tool):
    binary = tool(mode=0o644)

    assert refused(binary) == (
        "expected rabbitmq-server (on PATH) to start; it cannot be run: "
        f"[Errno 13] Permission denied: {binary.path!r}\n{WAYS_OUT}"
    )


def test_a_server_that_does_not_start_leaves_no_directory(tool, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(servers, "MEMORY", tmp_path / "none")

    refused(tool("exit 1"))
    refused(tool(mode=0o644))

    assert [path.name for path in tmp_path.iterdir()] == ["rabbitmq-server"]


# -- the one of a test run


@pytest.mark.usefixtures("fresh")
def test_no_server_anywhere_says_where_it_was_looked_for(monkeypatch):
    monkeypatch.setattr(servers, "find_rabbitmq", lambda: None)

    with pytest.raises(ServerError, match="^expected a RabbitMQ to start; there is none. Looked for:\n"):
        the_rabbitmq()


@pytest.mark.usefixtures("fresh")
def test_a_server_that_does_not_start_is_waited_for_once(tool, monkeypatch, tmp_path):
    binary = tool(f"echo tried >>{tmp_path}/tries", "exit 1")
    monkeypatch.setattr(servers, "find_rabbitmq", lambda: binary)
    texts = set()
    for _ in range(3):
        with pytest.raises(ServerError) as caught:
            the_rabbitmq()
        texts.add(str(caught.value))

    assert len(texts) == 1
    assert (tmp_path / "tries").read_text() == "tried\n"


@pytest.mark.usefixtures("fresh")
def test_it_is_started_once_and_replaced_when_it_has_died(rabbitmq_binary):
    server = the_rabbitmq()
    assert the_rabbitmq() is server
    os.kill(server.process.pid, 9)
    assert server.process.wait(PATIENCE) == -9

    text = server.explain_death()
    another = the_rabbitmq()

    assert text.startswith(
        f"expected the RabbitMQ of this test run to live: {server.origin}, as process {server.process.pid}; "
        "it was ended by SIGKILL, and the harness did not do that.\n"
        "What was in it is lost; the next test gets another one.\nThe end of its log:\n"
    )
    assert another is not server
    connected(another.url).close()


# -- one that was given


@pytest.mark.usefixtures("fresh")
def test_one_that_runs_is_taken_and_closing_does_not_stop_it(server):
    given = the_rabbitmq(GivenRabbitMQ(server.url, SOURCE))
    given.close()

    assert not given.owned
    port = urlsplit(server.url).port
    assert given.origin == f"{server.origin.partition(' (')[0]} at amqp://***@127.0.0.1:{port}// ({SOURCE})"
    assert given.explain_death() is None
    connected(server.url).close()


@pytest.mark.parametrize(
    "changed, reason",
    [
        (lambda url: url.replace("taskharness:", "taskharness:no"), "AccessRefused"),
        (lambda url: url.removesuffix("//") + "/nowhere", "NotAllowed"),
    ],
    ids=["password", "virtual host"],
)
def test_a_password_or_a_virtual_host_that_is_wrong_is_refused_and_not_shown(server, fresh, changed, reason):
    with pytest.raises(ServerError, match=f"found instead: {reason}: ") as caught:
        the_rabbitmq(GivenRabbitMQ(changed(server.url), SOURCE))

    assert "correct the host, the port, the virtual host, the user or the password in the URL" in str(caught.value)
    assert urlsplit(server.url).password not in str(caught.value)


# -- whoever dies


TEST_THAT_WAITS = """
import os
from pytest_taskharness.servers.rabbitmq import the_rabbitmq

def test_waits():
    process = the_rabbitmq().process
    os.write(1, f"{process._guard.pid} {process.pid} {process.log.parent}\\n".encode())
    os.read(0, 1)  # until it is killed
"""
PYTEST = "import pytest; pytest.main(['-q', '-s', '-p', 'no:cacheprovider', 'test_waits.py'])"


@needs_proc
def test_sigkill_of_pytest_leaves_no_process_and_no_file(script, watch, tmp_path, rabbitmq_binary):
    (tmp_path / "test_waits.py").write_text(TEST_THAT_WAITS)
    pytest_run = script(PYTEST)
    guard, server, directory = pytest_run.line().split(" ", 2)
    running = {int(guard), *environments(directory)}
    assert int(server) in running
    for pid in running:
        watch.add(pid)

    pytest_run.kill(group=True)

    for pid in running:
        watch.until_gone(pid)
    assert not Path(directory).exists()
