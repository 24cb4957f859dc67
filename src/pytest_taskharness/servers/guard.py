"""Runs one command, and ends it when whoever asked for it is gone.  A program of its own: ``guarded.py`` starts it.

It lives in a session of its own, so what kills the test process leaves it alone.  Its standard input is a pipe whose
other end the test process holds: first comes the order, then nothing, then the end of the file, which says that we are
not wanted any more, or that the test process is dead (the kernel closes the pipe even after ``kill -9``).  Then the
command dies with all that it has started, and its directory is removed.

Standard output carries the reports, one line each::

    pid 4711          the command runs, under this process id, in a process group of its own
    error 13 /bin/x   it could not be run: the errno, and the path that it is about
    announced         it has printed what the order calls its announcement
    exit -9           it has ended: the exit code, or the signal's number below zero

Standard error is the command's log.  Only the standard library's built-in modules are imported: every millisecond here
is one more until the command runs.
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False  # typing.TYPE_CHECKING costs an import
if TYPE_CHECKING:
    from typing import NoReturn, TypedDict

    class Order(TypedDict):
        """What to run, how, and what to clean up afterwards."""

        argv: list[str]
        env: dict[str, str]
        cwd: str
        pass_fds: list[int]
        announcement: bytes
        grace: float
        directory: str


CONTROL, REPORTS, LOG = 0, 1, 2

#: How long what was killed may take to be gone, in seconds.
PATIENCE = 20.0

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Attend to one command from its start to its end."""
    order = read_order()
    wakeup = watch_signals()
    adopt_orphans()
    command = Command(order)
    if command.start():
        attend(command, wakeup)
        command.end(wakeup, order["grace"])
    if order["directory"]:
        remove(order["directory"])
    os._exit(0)  # nothing is left to tidy up


def read_order() -> Order:
    """The length of the order, in eight bytes, and the order."""
    order: Order = marshal.loads(read_exactly(int.from_bytes(read_exactly(8), "big")))  # noqa: S302 - our own pipe
    return order


def read_exactly(size: int) -> bytes:
    """This many bytes of the control pipe; where they cannot come any more, nobody has asked for anything."""
    data = b""
    while len(data) < size:
        more = os.read(CONTROL, size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def watch_signals() -> int:
    """A pipe that holds the number of each signal that has come: a child's end, or a wish that we end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reading


def adopt_orphans() -> None:
    """On Linux: what the command's descendants leave behind becomes our child, which we can end and wait for."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    """Ask the Linux kernel for something that is good to have; nothing here relies on it alone."""
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def report(text: str) -> None:
    """Tell the test process; if it is dead, the control pipe says so too."""
    with suppress(OSError):
        os.write(REPORTS, f"{text}\n".encode())


class Command:
    """The command: a child of ours, in a session and a process group of its own."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.pid = 0
        self.ended = False
        self.announcement: bytes = order["announcement"]
        #: The reading end of its output, where we look out for an announcement; -1 where it writes the log itself.
        self.output = -1
        self._seen = b""

    def start(self) -> bool:
        """Fork and exec; whether it runs now."""
        failed, failing = os.pipe()
        writing = LOG
        if self.announcement:
            self.output, writing = os.pipe()
            os.set_blocking(self.output, False)
        guard = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(guard, writing, failing)
        for fd in {failing, writing, *self.order["pass_fds"]} - {LOG}:
            os.close(fd)
        error = os.read(failed, 4096).decode()  # the end of the file: exec has closed the other end
        os.close(failed)
        report(f"error {error}" if error else f"pid {self.pid}")
        return not error

    def _become(self, guard: int, output: int, failing: int) -> NoReturn:
        """In the child: be the command, or say why not."""
        about = self.order["cwd"]
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)  # it died before the kernel was told
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what is ignored stays so
            self._redirect(output)
            os.chdir(about)
            about = self.order["argv"][0]
            os.execvpe(about, self.order["argv"], self.order["env"])  # noqa: S606 - that is the order
        except (OSError, ValueError) as error:
            os.write(failing, f"{getattr(error, 'errno', errno.EINVAL)} {about}".encode())
        finally:
            os._exit(127)

    @staticmethod
    def _redirect(output: int) -> None:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)

    def pump(self) -> None:
        """Copy what it has printed into the log, and look out for the announcement."""
        while self.output >= 0:
            try:
                data = os.read(self.output, 65536)
            except BlockingIOError:
                return
            if not data:
                os.close(self.output)
                self.output = -1
            with suppress(OSError):  # a full disk must not stop the command
                os.write(LOG, data)
            self._look_out(data)

    def _look_out(self, data: bytes) -> None:
        self._seen += data
        if self.announcement and self.announcement in self._seen:
            self.announcement = b""
            report("announced")
        self._seen = self._seen[-len(self.announcement) :] if self.announcement else b""

    def look(self) -> None:
        """Report its end once, after the last of its output.

        It stays a zombie where the system can leave it so: its process id, and its group's, cannot be another's until
        :meth:`end` has killed the group.
        """
        status = None if self.ended else self._status()
        if status is not None:
            self.ended = True
            self.pump()
            report(f"exit {status}")

    def _status(self) -> int | None:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            pid, raw = os.waitpid(self.pid, os.WNOHANG)
            return os.waitstatus_to_exitcode(raw) if pid else None
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def end(self, wakeup: int, grace: float) -> None:
        """End it: asked first, where there is time for that; then killed, with its group and all of its orphans."""
        if grace and not self.ended:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)
            self._wait(wakeup, grace)
        for kill in (os.killpg, os.kill):
            with suppress(OSError):  # an empty group, or (macOS) one of zombies
                kill(self.pid, signal.SIGKILL)
        self._wait(wakeup, PATIENCE)
        self.pump()
        end_children()

    def _wait(self, wakeup: int, seconds: float) -> None:
        """Until it has ended, or for so long."""
        deadline = time.monotonic() + seconds
        self.look()
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            select.select([fd for fd in (wakeup, self.output) if fd >= 0], [], [], left)
            drained(wakeup)
            self.pump()
            self.look()


def attend(command: Command, wakeup: int) -> None:
    """Report what happens to the command, until the test process or a signal asks for its end."""
    while True:
        ready, _, _ = select.select([fd for fd in (CONTROL, wakeup, command.output) if fd >= 0], [], [])
        if CONTROL in ready or set(drained(wakeup)) - {signal.SIGCHLD}:
            return
        command.pump()
        command.look()


def drained(wakeup: int) -> bytes:
    """The signals that have come."""
    with suppress(BlockingIOError):
        return os.read(wakeup, 4096)
    return b""


def end_children() -> None:
    """Kill and reap every child of ours; the children of those become ours, and are next."""
    while alive := children():
        for pid in alive:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def children() -> list[int]:
    """The process ids of our children, zombies too, where the system lists them: Linux does."""
    with suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as listed:  # noqa: PTH123 - no pathlib here
        return [int(pid) for pid in listed.read().split()]
    return []


def remove(directory: str) -> None:
    """Remove a directory with all that is in it; what cannot be removed stays."""
    for folder, folders, files in os.walk(directory, topdown=False):
        for name in files + folders:
            path = os.path.join(folder, name)  # noqa: PTH118
            with suppress(OSError):
                (os.rmdir if name in folders and not os.path.islink(path) else os.unlink)(path)  # noqa: PTH114
    with suppress(OSError):
        os.rmdir(directory)  # noqa: PTH106
