"""A process that cannot outlive this one: our side of ``guard.py``."""

from __future__ import annotations

import marshal
import os
import select
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..clock.real import Real
from ..errors import ServerError

__all__ = ["GuardedProcess"]

#: Imported, not run as a file: so Python finds it compiled.  Its folder comes last: so it sees none of our modules; and
#: from the environment: so `pkill -f pytest` leaves it alive, to tidy up.
FOLDER = {"TASKHARNESS_GUARD": str(Path(__file__).parent)}
PROGRAM = "import os, sys; sys.path.append(os.environ['TASKHARNESS_GUARD']); import guard; guard.main()"
GUARD = ("-I", "-S", "-c", PROGRAM)
#: Loaded into a command, not into its guard.
PRELOADS = ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES")
#: How long a guard may take to start a command, and to end one that is told to by SIGKILL, in real seconds.
PATIENCE = 30.0
#: How much of a log's end is looked at, in bytes.
TAIL = 65536


class GuardedProcess:
    """A command that runs under a guard, which ends it when this process closes it, or dies of anything.

    Waits are real: their deadlines are on a clock that no freezer touches.  A forked child of this process may read
    what is known about the command, and can neither end it nor keep it alive.

    Attributes:
        pid: The command's process id, and that of its process group and session.
        returncode: None while it runs, as far as was looked; then its exit code, or the signal's number below zero.
        argv: What was run.
        log: The file of its standard output and standard error.
    """

    def __init__(self, argv: Sequence[str], *, log: Path, grace: float) -> None:
        self.argv = list(argv)
        self.log = log
        self.pid = 0
        self.returncode: int | None = None
        self.closed = False
        self._grace = grace
        self._announced = False
        self._error: OSError | None = None
        self._half = b""
        self._speechless = False
        self._log_end = b""
        self._guard: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        pass_fds: Sequence[int] = (),
        directory: str | Path | None = None,
        grace: float = 0.0,
        announcement: str = "",
    ) -> GuardedProcess:
        """Run a command; it runs when this returns.

        Args:
            argv: The command; its first word is looked up on the ``PATH`` of ``env``.
            log: A file that its output is appended to; made with mode 0600.
            env: Its whole environment; this process's by default.
            cwd: Its working directory; this process's by default.
            pass_fds: File descriptors that it inherits, under the same numbers; nobody else keeps them open.
            directory: Removed with all that is in it when the command has ended for good.
            grace: How many real seconds it has between SIGTERM and SIGKILL when it is closed or we die; 0: no SIGTERM.
            announcement: A text that it prints when it is ready, for :meth:`wait_announced`.

        Raises:
            OSError: It cannot be run: no such file, not executable.
            ServerError: The guard itself did not start.  After either, ``directory`` is gone.
        """
        process = cls(argv, log=log, grace=grace)
        order = {
            "argv": process.argv,
            "env": dict(os.environ if env is None else env),
            "cwd": str(Path(cwd or ".").absolute()),
            "pass_fds": list(pass_fds),
            "announcement": announcement.encode(),
            "grace": float(grace),
            "directory": str(Path(directory).absolute()) if directory else "",
        }
        try:
            process._launch(marshal.dumps(order), pass_fds)
        except BaseException:
            if directory:  # a guard that does not run cannot remove it
                shutil.rmtree(directory, ignore_errors=True)
            raise
        return process

    def _launch(self, order: bytes, pass_fds: Sequence[int]) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._guard = subprocess.Popen(  # noqa: S603 - Python itself
                [sys.executable, *GUARD],
                bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, pass_fds=pass_fds,
                env={name: value for name, value in os.environ.items() if name not in PRELOADS} | FOLDER,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(log)
        _open.add(self)
        try:
            self._ask(len(order).to_bytes(8, "big") + order)
            self._check_started()
        except BaseException:
            self.close()
            raise

    def _ask(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it is dead, and has said why in the log
            while data:
                data = data[os.write(self._control, data) :]

    def _check_started(self) -> None:
        self._read_until(lambda: self.pid or self._error, PATIENCE)
        if self._error:
            raise self._error
        if not self.pid:
            raise ServerError(
                f"expected the guard process to start {self.argv[0]} within {PATIENCE:g} s; "
                f"it {'ended' if self._speechless else 'said nothing'}.\nIts log ({self.log}):\n{self.log_tail()}"
            )

    @property
    def _control(self) -> int:
        assert self._guard.stdin is not None
        return self._guard.stdin.fileno()

    def fileno(self) -> int:
        """For ``select`` and ``poll``: readable when there is something to read, such as the command's end.

        Then call :meth:`poll`.
        """
        assert self._guard.stdout is not None
        return self._guard.stdout.fileno()

    def poll(self) -> int | None:
        """The return code, None while the command runs; does not wait."""
        return self.wait(0.0)

    def wait(self, timeout: float | None) -> int | None:
        """The return code; None if the command still runs after this many real seconds."""
        self._read_until(lambda: self.returncode is not None, timeout)
        return self.returncode

    def wait_announced(self, timeout: float) -> bool:
        """Whether it has printed its announcement; False if it ended before, or after this many real seconds."""
        self._read_until(lambda: self._announced or self.returncode is not None, timeout)
        return self._announced

    def _read_until(self, done: Callable[[], object], timeout: float | None) -> None:
        """Take in reports until this holds, nothing more can come, or the time is up."""
        deadline = None if timeout is None else Real.monotonic() + timeout
        while not (done() or self._speechless or self.closed):
            ready = select.poll()
            ready.register(self.fileno(), select.POLLIN)
            if not ready.poll(None if deadline is None else max(0.0, deadline - Real.monotonic()) * 1000):
                return
            self._take(os.read(self.fileno(), 65536))

    def _take(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            self._note(*line.decode().split(" ", 2))
        if not data:
            self._lose_guard()

    def _note(self, kind: str, number: str = "0", about: str = "") -> None:
        if kind == "pid":
            self.pid = int(number)
        elif kind == "exit":
            self.returncode = int(number)
        elif kind == "announced":
            self._announced = True
        elif kind == "error":
            self._error = OSError(int(number), os.strerror(int(number)), about)

    def _lose_guard(self) -> None:
        """Without its guard the command must not live: Linux has killed it already, elsewhere we do."""
        self._speechless = True
        if self.pid and self.returncode is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self.returncode = -signal.SIGKILL

    def kill(self) -> None:
        """SIGKILL to the command alone; its end is there to :meth:`wait` for."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the command alone."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        """Any signal, to the command alone; nothing happens if it has ended."""
        if self.poll() is None and not self.closed:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        """A signal to the command and all that it has started, also when it has ended itself."""
        if not (self._speechless or self.closed):
            with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
                os.killpg(self.pid, number)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the log, also after :meth:`close` has removed it; a text that says so if there are none."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            self._log_end = file.read()
        tail = self._log_end.decode(errors="replace").splitlines()[-lines:]
        return "\n".join(tail) or "(empty)"

    def close(self) -> None:
        """End the command with all that it has started, and remove its directory; again does nothing.

        Raises:
            ServerError: The guard did not do so in time; the command was killed all the same.
        """
        if self.closed:
            return
        self.log_tail()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._read_until(lambda: False, self._grace + PATIENCE)
        late = not self._speechless
        if late:
            self._guard.kill()
            self._lose_guard()
        self._close_pipes()
        self._guard.wait()
        if late:
            raise ServerError(
                f"expected the guard of {self.argv[0]} (process {self.pid}) to end it within "
                f"{self._grace + PATIENCE:g} s; it did not. The process group was killed instead; files may be left."
            )

    def _close_pipes(self) -> None:
        self.closed = True
        _open.discard(self)
        for pipe in (self._guard.stdin, self._guard.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> GuardedProcess:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def let_go(self) -> None:
        """In a forked child: our copy of the pipe must not keep the guard waiting when the test process is dead."""
        self._close_pipes()
        self._guard.returncode = 0  # it is not our child


_open: weakref.WeakSet[GuardedProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_open):
        process.let_go()


os.register_at_fork(after_in_child=_after_fork)
