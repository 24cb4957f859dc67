"""In a worker whose clock the test moves: what is held for later waits for that clock, and bodies sleep by it.

Nothing here is imported before the process has found out that its clock is the test's.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["ClockNotMoved", "join_the_clock", "reload_clock"]

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where glibc has it


class ClockNotMoved(Exception):
    """The library was not loaded."""


def join_the_clock(instant: int, *, pid: int | None = None) -> None:
    """Make sure that the clock is the test's, and that nothing stays of how it is faked.

    Args:
        instant: What time it is, in microseconds.
        pid: The process that left files in shared memory; this one.

    Raises:
        ClockNotMoved: It is another time.
    """
    library = os.environ.pop("LD_PRELOAD", "")  # what tasks start has the real clock
    os.environ.pop("FAKETIME_SHARED", None)
    _remove_shared_memory(pid or os.getpid())
    vars(uuid)["_generate_time_safe"] = None  # libuuid waits for the clock to go on
    if time.time_ns() // 1000 != instant:
        raise ClockNotMoved(
            f"libfaketime was not loaded from {os.path.realpath(library)!r}: wrong for this system, or this Python. "
            "Without the extra 'faketime' (and Debian's package) workers have the real clock."
        )
    _mend_sleep()


def _mend_sleep() -> None:
    """Under libfaketime 0.9.10 (Debian's, of 2022) Python's sleep may not work; waiting for nothing does."""
    try:
        time.sleep(1e-6)
    except OSError:
        from ...clock.real import Real

        def sleep(seconds: Any) -> None:
            select.select([], [], [], seconds)

        time.sleep = sleep
        Real.sleep = staticmethod(sleep)


def _remove_shared_memory(pid: int) -> None:
    """Where several processes could agree on a clock; libfaketime leaves it behind."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with suppress(OSError):
            (SHARED_MEMORY / name).unlink()


def reload_clock() -> None:
    """Read the file, where it is not read each time; while no other thread can run."""
    ctypes.PyDLL(None).read_config_file()
