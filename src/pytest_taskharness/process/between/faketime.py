"""libfaketime: finding it, and telling worker processes what time it is.

Only the wall clock of a worker is faked, and it stands still: a process whose monotonic clock stood still could not
wait for anything.  The instant is in a file that libfaketime reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from ...clock.real import EPOCH

__all__ = [
    "CLOCK", "environment", "find_library", "first_instant", "microseconds", "whole_microseconds", "write_instant",
    "write_start",
]  # fmt: skip

CLOCK = "clock"
START = "start"
LIBRARY = "libfaketime.so.1"
#: Where the wheel of the extra ``faketime`` and where Debian's package ``faketime`` have it.
IN_WHEEL = Path("vendor/libfaketime/src") / LIBRARY
OF_THE_SYSTEM = ("/usr/lib", f"*/faketime/{LIBRARY}")


def find_library() -> Path | None:
    """The library, the wheel's first; None where there is none that could be loaded."""
    if sys.platform != "linux":
        return None
    spec = find_spec("libfaketime")
    wheels = [Path(folder) / IN_WHEEL for folder in (spec and spec.submodule_search_locations) or ()]
    root, pattern = OF_THE_SYSTEM
    return next((path for path in [*wheels, *sorted(Path(root).glob(pattern))] if path.is_file()), None)


def environment(library: Path, directory: Path, *, threads: bool) -> Mapping[str, str]:
    """What a worker process needs in its environment.

    Args:
        library: The library; loaded through a link, for the loader takes no path that has a space in it.
        directory: The worker's own.
        threads: Whether several threads will ask for the time: they must not all read the file.
    """
    link = directory / LIBRARY
    link.symlink_to(library)
    cache = {"FAKETIME_CACHE_DURATION": "2000000000"} if threads else {"FAKETIME_NO_CACHE": "1"}
    return {
        "LD_PRELOAD": str(link),
        "FAKETIME_TIMESTAMP_FILE": str(directory / CLOCK),
        "FAKETIME_FMT": "%s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "FAKETIME_DISABLE_SHM": "1",
        "NO_FAKE_STAT": "1",
        **cache,
    }


def microseconds(moment: datetime) -> int:
    """Since the epoch."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def whole_microseconds(seconds: float) -> int:
    """A delay that is surely over after so many of them, and that is one."""
    return max(1, ceil(seconds * 1e6))


def write_start(directory: Path, moment: datetime) -> None:
    """A test begins at this moment, for the worker of this directory."""
    write_instant(directory, moment)
    (directory / START).write_text(str(microseconds(moment)))


def first_instant(directory: Path) -> int:
    """When the test has begun, in microseconds since the epoch."""
    return int((directory / START).read_text())


def write_instant(directory: Path, moment: datetime) -> None:
    """It is this moment from now on, for the worker of this directory."""
    seconds, fraction = divmod(microseconds(moment), 10**6)
    # libfaketime reads a float and cuts it off: a little more keeps it from being one microsecond less.
    new = directory / f"{CLOCK}.new"
    new.write_text(f"{seconds}.{fraction:06d}0005\n")
    os.replace(new, directory / CLOCK)  # noqa: PTH105 - read by other processes at any moment
