"""A Redis of our own: started, used by Celery, and gone, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import freezegun
import pytest
import redis
import time_machine
from celery import Celery

from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import ServerError
from pytest_taskharness.servers import redis as servers
from pytest_taskharness.servers import server as common
from pytest_taskharness.servers.binary import WAYS_OUT, Binary
from pytest_taskharness.servers.redis import start_redis, the_redis

PATIENCE = 20.0


@pytest.fixture
def start(redis_binary):
    """Start a server; it is closed when the test is over."""
    with ExitStack() as closing:

        def start(binary=redis_binary, **kwargs):
            server = start_redis(binary, **kwargs)
            closing.callback(server.close)
            return server

        yield start


@pytest.fixture
def client():
    """Connect to a URL."""
    with ExitStack() as closing:
        yield lambda url: closing.enter_context(redis.Redis.from_url(url, decode_responses=True))


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not asked for a Redis yet."""
    monkeypatch.setattr(servers._once, "servers", {})
    monkeypatch.setattr(servers._once, "failures", {})
    yield
    for server in servers._once.servers.values():
        server.close()


@pytest.fixture
def tool(tmp_path):
    """A program that stands in for a server."""

    def tool(*lines, mode=0o755):
        path = tmp_path / "redis-server"
        path.write_text("\n".join(["#!/bin/sh", *lines]))
        path.chmod(mode)
        return Binary(str(path), "on PATH")

    return tool


def refused(binary):
    with pytest.raises(ServerError) as caught:
        start_redis(binary)
    return str(caught.value)


# -- what is started


def test_it_answers_as_soon_as_it_is_there(start, client):
    assert client(start().url).ping()


def test_it_says_what_it_is_and_hides_the_password(start, redis_binary):
    server = start()

    version = {"redis-server": "Redis", "valkey-server": "Valkey"}[redis_binary.name]
    assert f"{version} version=" in server.log_tail()
    assert server.origin.startswith(f"{redis_binary.name} ")
    assert server.origin.endswith(f" ({redis_binary.found}), started by us")
    assert repr(server) == f"<RedisServer {server.origin}>"
    assert server.owned


def test_it_lets_nobody_in_without_the_password(start, client):
    parts = urlsplit(start().url)

    for url in (f"redis://127.0.0.1:{parts.port}", f"redis://:{parts.password[::-1]}@127.0.0.1:{parts.port}"):
        with pytest.raises(redis.AuthenticationError):
            client(url).ping()


def test_the_password_stands_in_no_argument_list(start):
    server = start()
    command = ["ps", "-ww", "-o", "args=", "-p", str(server.process.pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert listed.strip()
    assert urlsplit(server.url).password not in listed


def test_its_files_are_for_us_alone_and_it_keeps_no_data(start, client):
    server = start()
    asked = client(server.url)
    asked.set("key", "value")
    directory = Path(asked.config_get("dir")["dir"])

    assert asked.config_get("save", "appendonly", "bind", "databases") == {
        "save": "", "appendonly": "no", "bind": "127.0.0.1", "databases": "64"
    }  # fmt: skip
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == {
        "redis.conf": 0o600, "redis.log": 0o600
    }  # fmt: skip


def test_nothing_is_left_when_it_is_closed(start, client, watch):
    server = start()
    directory = Path(client(server.url).config_get("dir")["dir"])
    watch.add(server.process.pid)

    server.close()
    server.close()

    watch.until_gone(server.process.pid)
    assert not directory.exists()
    assert "Ready to accept connections" in server.log_tail()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's call, redis-py 8
def test_celery_takes_its_url_for_broker_and_backend(start):
    server = start()
    app = Celery("shop", broker=server.url, backend=server.url, set_as_current=False)

    with app.connection_for_write() as connection, connection.SimpleQueue("orders") as queue:
        queue.put({"card": 1})
        message = queue.get(timeout=PATIENCE)
        message.ack()
    app.backend.store_result("some-id", 7, "SUCCESS")

    assert message.payload == {"card": 1}
    assert app.AsyncResult("some-id").result == 7
    app.backend.client.close()


def test_several_live_side_by_side(start, client):
    one, other = start(), start()
    client(one.url).set("key", "value")

    assert one.url != other.url
    assert client(other.url).dbsize() == 0


@pytest.mark.parametrize("freeze", [freezegun.freeze_time, time_machine.travel])
def test_a_frozen_clock_does_not_keep_it_from_getting_ready(start, client, freeze):
    options = {"tick": False} if freeze is time_machine.travel else {}
    with freeze("2001-02-03", **options):
        server = start()
        assert client(server.url).ping()
        server.close()


def test_a_frozen_clock_does_not_keep_us_waiting(tool, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.1)
    with freezegun.freeze_time("2001-02-03"):
        began = Real.monotonic()
        assert "it did not within 0.1 s" in refused(tool("echo starting", "exec sleep 1000000"))

    assert 0.1 <= Real.monotonic() - began < PATIENCE


# -- what does not start


def test_a_port_that_somebody_took_meanwhile_is_exchanged(start, client, monkeypatch):
    taken = urlsplit(start().url).port
    ports = iter([taken, taken, common.free_port()])
    monkeypatch.setattr(common, "free_port", lambda: next(ports))

    server = start()

    assert urlsplit(server.url).port != taken
    assert client(server.url).ping()


def test_when_every_port_is_taken_the_log_says_so(start, redis_binary, monkeypatch):
    taken = urlsplit(start().url).port
    monkeypatch.setattr(common, "free_port", lambda: taken)

    text = refused(redis_binary)

    assert text.startswith(
        f"expected {redis_binary.path} ({redis_binary.found}) to accept connections; it ended with exit code 1.\n"
    )
    assert "Address already in use" in text


def test_a_setting_that_it_does_not_know_is_shown(redis_binary, monkeypatch):
    monkeypatch.setattr(servers, "CONFIG", f"{servers.CONFIG}no-such-setting yes\n")

    text = refused(redis_binary)

    assert "it ended with exit code 1.\nThe end of its log:\n" in text
    assert ">>> 'no-such-setting yes'" in text
    assert text.endswith(WAYS_OUT)


def test_a_server_that_fails_shows_its_log_and_the_ways_out(tool):
    binary = tool("echo no memory >&2", "exit 3")

    assert refused(binary) == (
        f"expected {binary.path} (on PATH) to accept connections; it ended with exit code 3.\n"
        f"The end of its log:\nno memory\n{WAYS_OUT}"
    )


def test_a_server_that_crashes_is_said_to(tool):
    assert "; it was ended by SIGSEGV.\nThe end of its log:\n(empty)\n" in refused(tool("kill -11 $$"))


def test_a_server_that_cannot_be_executed_is_named(tool):
    binary = tool(mode=0o644)

    assert refused(binary) == (
        f"expected redis-server (on PATH) to start; it cannot be run: [Errno 13] Permission denied: {binary.path!r}\n"
        f"{WAYS_OUT}"
    )


def test_a_server_that_does_not_start_leaves_no_directory(tool, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    refused(tool("exit 1"))
    refused(tool(mode=0o644))

    assert [path.name for path in tmp_path.iterdir()] == ["redis-server"]


# -- the one of a test run


@pytest.fixture
def found(monkeypatch, redis_binary):
    monkeypatch.setattr(servers, "find_binary", lambda: redis_binary)
    return redis_binary


@pytest.mark.usefixtures("fresh", "found")
def test_it_is_started_once():
    server = the_redis()

    assert the_redis() is server


@pytest.mark.usefixtures("fresh", "found")
def test_a_server_that_lives_has_no_death_to_explain(monkeypatch):
    monkeypatch.setattr(common, "PARTING", 0.01)

    assert the_redis().explain_death() is None


@pytest.mark.usefixtures("fresh", "found")
def test_its_death_is_explained_and_the_next_test_gets_another_one(client):
    server = the_redis()
    os.kill(server.process.pid, 9)
    assert server.process.wait(PATIENCE) == -9

    text = server.explain_death()
    another = the_redis()

    assert text.startswith(
        f"expected the Redis of this test run to live: {server.origin}, as process {server.process.pid}; "
        "it was ended by SIGKILL, and the harness did not do that.\n"
        "What was in it is lost; the next test gets another one.\nThe end of its log:\n"
    )
    assert "Ready to accept connections" in text
    assert another is not server
    assert client(another.url).ping()


@pytest.mark.usefixtures("fresh", "found")
def test_a_death_of_which_the_guard_tells_late_is_explained(watch, monkeypatch):
    monkeypatch.setattr(common, "PARTING", 0.0)
    server = the_redis()
    process, guard, listens = server.process, server.process._guard, server._listens
    watch.add(process.pid)

    def guard_goes_on_afterwards():
        told = listens()
        guard.send_signal(signal.SIGCONT)
        return told

    monkeypatch.setattr(server, "_listens", guard_goes_on_afterwards)
    guard.send_signal(signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)
    watch.until_gone(process.pid)

    assert "it was ended by SIGKILL, and the harness did not do that." in server.explain_death()


@pytest.mark.usefixtures("fresh", "found")
def test_a_shutdown_by_a_task_is_explained_too(client):
    server = the_redis()
    client(server.url).shutdown(nosave=True)  # comes back when the connection breaks, which is before the server ends

    assert "it ended with exit code 0, and the harness did not do that." in server.explain_death()


@pytest.mark.usefixtures("fresh")
def test_no_server_anywhere_says_where_it_was_looked_for(monkeypatch):
    monkeypatch.setattr(servers, "find_binary", lambda: None)

    with pytest.raises(ServerError, match="^expected a Redis server to start; there is none. Looked for:\n"):
        the_redis()


@pytest.mark.usefixtures("fresh")
def test_a_server_that_does_not_start_is_waited_for_once(tool, monkeypatch, tmp_path):
    binary = tool(f"echo tried >>{tmp_path}/tries", "exit 1")
    monkeypatch.setattr(servers, "find_binary", lambda: binary)
    texts = set()
    for _ in range(3):
        with pytest.raises(ServerError) as caught:
            the_redis()
        texts.add(str(caught.value))

    assert len(texts) == 1
    assert (tmp_path / "tries").read_text() == "tried\n"

    monkeypatch.setattr(common, "AGAIN", 0.0)
    with pytest.raises(ServerError):
        the_redis()
    assert (tmp_path / "tries").read_text() == "tried\n" * 2


# -- whoever dies


TEST_THAT_WAITS = """
import os
from pathlib import Path
import redis
from pytest_taskharness.servers.redis import the_redis

def test_waits():
    server = the_redis()
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        directory = client.config_get("dir")["dir"]
    os.write(1, f"{server.process._guard.pid} {server.process.pid} {directory}\\n".encode())
    os.read(0, 1)  # until it is killed
"""
PYTEST = "import pytest; pytest.main(['-q', '-s', '-p', 'no:cacheprovider', 'test_waits.py'])"


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_sigkill_of_pytest_leaves_no_server_and_no_file(script, watch, tmp_path, group):
    (tmp_path / "test_waits.py").write_text(TEST_THAT_WAITS)
    pytest_run = script(PYTEST)
    guard, server, directory = pytest_run.line().split(" ", 2)
    for pid in (guard, server):
        watch.add(int(pid))
    assert Path(directory).is_dir()

    pytest_run.kill(group=group)

    watch.until_gone(int(server))
    watch.until_gone(int(guard))
    assert not Path(directory).exists()


SESSION = """
import sys
import redis
from pytest_taskharness.servers.redis import the_redis

server = the_redis()
client = redis.Redis.from_url(server.url)
print(server.process.pid, server.url)
name = sys.stdin.readline().strip()
client.set(name, "")
print("written")
sys.stdin.readline()
print(*[key.decode() for key in client.keys()])
client.close()
"""


def test_two_test_runs_at_once_have_a_server_each(script, watch):
    runs = {name: script(SESSION) for name in ("one", "other")}
    servers = {name: run.line().split() for name, run in runs.items()}
    assert servers["one"] != servers["other"]

    for name, run in runs.items():
        watch.add(int(servers[name][0]))
        run.say(name)
        assert run.line() == "written"
    for name, run in runs.items():
        run.say("go on")
        assert run.line() == name

    for pid, _ in servers.values():
        watch.until_gone(int(pid))  # closed when its process ends


FORKED = """
import os
from pytest_taskharness.servers.redis import the_redis

server = the_redis()
child = os.fork()
if child == 0:
    assert the_redis() is server
    raise SystemExit  # through atexit
os.waitpid(child, 0)
import redis
print(redis.Redis.from_url(server.url).ping(), server.is_alive())
"""


def test_a_forked_child_that_exits_closes_nothing(script):
    assert script(FORKED).line() == "True True"
