"""One worker process, as the test holds it."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kombu.utils.uuid import uuid

from ...clock.real import Real
from ...errors import ConfigurationError, WorkerDied, hide_frames
from ...servers.guarded import GuardedProcess
from ...worker.borrowing.apps import unregistered
from ..between.journal import Journal
from ..between.spec import WorkerSpec
from ..between.words import COMMANDS
from .asking import command, hand_over
from .held import Delivery

__all__ = ["WorkerProcess"]

__tracebackhide__ = hide_frames

#: How long a worker may take until it is ready, and to stop when it is asked to, in real seconds.
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
CHILD = "pytest_taskharness.process.inside.child"
#: The program, where the package may have been found by a path that only the test process knows.
PROGRAM = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv[2]]; from {} import main; sys.exit(main(sys.argv[1]))"
)
#: A clock that the test process itself lives by is not the workers'.
NOT_INHERITED = ("FAKETIME", "NO_FAKE_STAT")
PACKAGE = Path(__file__).parents[3]


class WorkerProcess:
    """A real ``celery worker`` with its journal, its log and its guard.

    Attributes:
        app: The app, in the test process.
        name: What ``run.worker`` says.
        everything: Whether it is to consume every queue, those included that publishing creates.
        concurrency: The size of its pool.
        running: What its pool has, as far as is known.
        paused: Stopped by SIGSTOP.
        alive: Ready, and not gone as far as was looked.
        expected_to_end: The test has asked for its end.
        marked: The last mark that it has answered.
        has_room: Whether it would take one more message.
        is_fit: Whether it may go on for another test; None: it has not been asked.
    """

    def __init__(
        self, app: Any, spec: WorkerSpec, *, everything: bool, concurrency: int,
        prepare: Callable[[Path], Mapping[str, str]] = lambda directory: {},
    ) -> None:  # fmt: skip
        """Start it; :meth:`await_ready` has to follow."""
        self.app = app
        self._clock_moves = spec.instant is not None
        self.name = spec.name
        self.everything = everything
        self.concurrency = concurrency
        self.running: list[Delivery] = []
        #: Set by whoever listens to it: returns when a message that was handed over is dealt with.
        self.await_closed: Callable[[str], object]
        self.paused = False
        self.alive = False
        self.expected_to_end = False
        self.is_leaving = False
        self.failure: dict[str, Any] | None = None
        self.marked = self.asked_to_mark = 0
        self.has_room = True
        self.is_fit: bool | None = None
        #: What it consumes from the start; known when it is fit.
        self.initial: list[str] = []
        self._obeys = False
        self._asked = self._obeyed = 0
        self._polled: list[str] = []
        self._told: set[str] = set()
        self._wanted: set[str] = set()
        self._unwanted: set[str] = set()
        self.directory = Path(tempfile.mkdtemp(prefix="taskharness-worker-"))
        self.journal = Journal(self.directory)
        os.mkfifo(self.directory / COMMANDS, 0o600)
        spec.write(self.directory)
        argv = [sys.executable, "-c", PROGRAM.format(CHILD), str(self.directory), str(PACKAGE)]
        self.process = GuardedProcess.start(
            argv, log=self.directory / "log", env={**_inherited(), "C_FORCE_ROOT": "1", **prepare(self.directory)},
            directory=self.directory,
        )  # fmt: skip

    def renew(self) -> None:
        """It goes on for another test, which is not to see what it has told in this one."""
        self.journal.rewind()
        os.truncate(self.process.log, 0)
        self.is_fit = None
        self.marked = self.asked_to_mark = self._asked = self._obeyed = 0
        self._told, self._wanted, self._unwanted = set(), set(), set()

    @property
    def pid(self) -> int:
        """Of its main process, and of the process group."""
        return self.process.pid

    @property
    def goes_on(self) -> bool:
        """Whether anything is to be expected of it."""
        return self.alive and not self.paused

    # -- what it tells

    def take(self, record: dict[str, Any]) -> None:
        """A note about itself."""
        note, about = record["note"], record["about"]
        if note == "ready":
            self.alive, self._obeys = True, about["obeys"]
        elif note == "failed":
            self.failure = about
        elif note == "polls":
            self._polled = about["queues"]
            self._wanted.difference_update(self._polled)
            self._unwanted.intersection_update(self._polled)
            self._told.update(self._polled)
        elif note == "mark":
            self.marked, self.has_room = max(self.marked, about["token"]), about["has_room"]
        elif note == "obeyed":
            self._obeyed += 1
        elif note == "parted":
            self.is_fit, self.initial = about["is_fit"], about["queues"]
        elif note == "leaving":
            self.is_leaving = True

    @property
    def told(self) -> set[str]:
        """The queues that it has consumed, or has been told to."""
        return self._told

    def queues(self) -> list[str]:
        """The names of the queues that it consumes, or has been told to."""
        return [*self._polled, *sorted(self._wanted.difference(self._polled))]

    @property
    def is_about_to_change(self) -> bool:
        """Whether it has yet to obey a command, or does not consume all the queues yet that it has been told to."""
        wanted = self._wanted.difference(self._polled) | self._unwanted.intersection(self._polled)
        return self._obeyed < self._asked or (bool(wanted) and self.has_room)

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    # -- what it is asked

    def consume(self, queue: str) -> None:
        """Consume one more queue; to be told so once, also where somebody has it stop again."""
        if queue not in self._told:
            self._told.add(queue)
            self._wanted.add(queue)
            self.tell("consume", queue)

    def expect_command(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Remote control was used; whether a command is for this worker, it says itself."""
        self._asked += self._obeys
        if command == "shutdown":
            self.expected_to_end = True
        elif command in {"add_consumer", "cancel_consumer"}:
            queue = str(arguments.get("queue"))
            self._told.add(queue)
            # Before Celery 5.4 it obeys a moment after it has said so.
            self._expect(queue, consumed=command == "add_consumer")

    def _expect(self, queue: str, *, consumed: bool) -> None:
        """The last word counts: what was taken away and given back is not to be waited for to go."""
        wished, opposite = (self._wanted, self._unwanted) if consumed else (self._unwanted, self._wanted)
        wished.add(queue)
        opposite.discard(queue)

    def tell(self, *words: str) -> None:
        """Ask something of its event loop."""
        command(self.directory, *words)

    def restore(self) -> None:
        """Look for what nobody has acknowledged for the visibility timeout."""
        self.tell("restore")

    def receive(self, message: Any, queue: str, **detail: Any) -> None:
        """Deal with one message that comes from no broker, and is told to come from ``queue``."""
        tag = f"perform-{uuid()}"
        hand_over(self.directory, message, tag=tag, detail={**detail, "queue": queue})
        self.await_closed(tag)

    def unregistered(self, name: str) -> str:
        """What is wrong with a task's name, and which one was meant."""
        return unregistered(self.app, name)

    # -- life and death

    def await_ready(self, pump: Callable[[float], object]) -> None:
        """Take in what it tells, by ``pump(deadline)``, until it is ready.

        Raises:
            ConfigurationError: It cannot import the app, or its command line is wrong.
            WorkerDied: It has ended, or was stopped because it did not get ready in time.
        """
        deadline = Real.monotonic() + READY_SECONDS
        while not self.alive:
            if self.failure is not None:
                raise self._closed_with(ConfigurationError(self._cannot_start()))
            if self.has_ended():
                pump(0.0)
                if self.failure is None:
                    raise self._closed_with(WorkerDied(f"the worker {self.name!r} {self.ending()} before it was ready"))
            elif Real.monotonic() >= deadline:
                text = f"the worker {self.name!r} was not ready after {READY_SECONDS:g} s, and was stopped"
                raise self._closed_with(WorkerDied(text))
            else:
                pump(deadline)

    def _cannot_start(self) -> str:
        assert self.failure is not None
        text = f"the worker process {self.name!r} cannot start: {self.failure['error']}"
        return f"{text}\n\n{self.failure['traceback']}" if self.failure["traceback"] else text

    def _closed_with(self, error: Exception) -> Exception:
        is_told = self.failure is not None and not self.failure["traceback"]
        text = str(error) if is_told else f"{error}\n{self.log_section()}"
        self.close()
        return type(error)(text)

    def ending(self) -> str:
        """As ``ended with exit code 1`` or ``was killed by SIGSEGV``."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def log_section(self) -> str:
        """The end of its log, with a heading."""
        return f"The end of its log:\n{self.process.log_tail()}"

    def pause(self) -> None:
        """SIGSTOP to all of its processes: they take no message and run nothing, and know nothing of it."""
        self.paused = True
        self.process.kill_group(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.paused = False
        self.process.kill_group(signal.SIGCONT)
        if self._clock_moves:
            self.tell("moved", "0")

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        self.expected_to_end = True
        self.process.kill_group(signal.SIGKILL)
        self._await_end("SIGKILL")

    def stop(self, *, warm: bool = True) -> None:
        """SIGTERM, or SIGQUIT, to its main process; returns when it has ended.

        Raises:
            WorkerDied: It did not end in time, and was killed.
        """
        if self.paused:
            self.resume()
        self.expected_to_end = True
        number = signal.SIGTERM if warm else signal.SIGQUIT
        self.process.send_signal(number)
        self._await_end(number.name)

    def _await_end(self, asked: str) -> None:
        if self.process.wait(STOP_SECONDS) is None:
            text = f"the worker {self.name!r} did not end within {STOP_SECONDS:g} s of {asked}, and was killed"
            raise self._closed_with(WorkerDied(text))

    def close(self) -> None:
        """Kill what is left of it, and remove its directory; again does nothing."""
        self.alive = False
        self.process.close()
        self.journal.close()


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
