"""Which RabbitMQ there is to start: what is looked for, where, in which order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .binary import Binary

__all__ = ["WAYS_OUT", "find_rabbitmq", "nothing_found", "without_plugins"]

NAME = "rabbitmq-server"
#: Where packages put it that is not on PATH: of Linux distributions, Homebrew, the official image, FreeBSD.
PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/usr/local/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/sbin",
    "/usr/local/sbin",
)
#: What lies beside the program itself, and not beside what packages put in front of it: that changes to another user.
NEIGHBOUR = "rabbitmq-env"
#: The plugin that is a part of the server.
PART = "rabbitmq_prelaunch"

WAYS_OUT = """\
Ways out:
  - apt install rabbitmq-server, dnf install rabbitmq-server, brew install rabbitmq: a rabbitmq-server is found
  - --taskharness-rabbitmq-url=amqp://guest:guest@127.0.0.1:5672// (ini: taskharness_rabbitmq_url) names one that runs
  - mode memory needs no server, and follows RabbitMQ's rules for an app whose broker_url is amqp://"""


def find_rabbitmq() -> Binary | None:
    """``rabbitmq-server`` on PATH, then where packages put it; None: there is none."""
    if (path := _program(shutil.which(NAME))) is not None:
        return Binary(str(path), "on PATH")
    for folder in PLACES:
        if (path := _program(shutil.which(f"{folder}/{NAME}"))) is not None:
            return Binary(str(path), f"in {folder}")
    return None


def _program(found: str | None) -> Path | None:
    """The program itself; None where this is only what a package puts in front of it."""
    if found is None:
        return None
    path = Path(found).resolve()
    return path if path.name == NAME and (path.parent / NEIGHBOUR).is_file() else None


def nothing_found() -> str:
    """What was looked for, where, and what to do."""
    return (
        "expected a RabbitMQ to start; there is none. Looked for:\n"
        f"  - {NAME} on PATH ({os.environ.get('PATH', '')})\n"
        f"  - {NAME} in {', '.join(PLACES)}\n{WAYS_OUT}"
    )


def without_plugins(binary: Binary, directory: Path) -> dict[str, str]:
    """Where the server finds its own code and no plugins: it reads all that there are when it starts, for seconds.

    Returns:
        Variables of its environment; none where the server does not lie there as RabbitMQ packs it.
    """
    home = Path(binary.path).parent.parent
    with suppress(OSError):
        slim = directory / "home"
        (slim / "plugins").mkdir(parents=True)
        for entry in _wanted(home):
            (slim / entry.relative_to(home)).symlink_to(entry)
        return {"RABBITMQ_SCRIPTS_DIR": str(slim / Path(binary.path).parent.name)}
    return {}


def _wanted(home: Path) -> Iterator[Path]:
    """What of it is needed."""
    yield from (entry for entry in home.iterdir() if entry.name != "plugins")
    for entry in (home / "plugins").iterdir():
        if not entry.name.startswith("rabbitmq_") or entry.name.startswith(PART):
            yield entry
