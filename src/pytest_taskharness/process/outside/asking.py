"""Asks something of a worker process, through a named pipe that its event loop reads."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..between.words import COMMANDS

__all__ = ["command", "hand_over"]


def command(directory: Path, *words: str) -> None:
    """Ask something of the worker of this directory, which may be dead already."""
    with suppress(BlockingIOError, FileNotFoundError):
        pipe = os.open(directory / COMMANDS, os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(pipe, (" ".join(words) + "\n").encode())
        finally:
            os.close(pipe)


def hand_over(directory: Path, message: Any, *, tag: str, detail: dict[str, Any]) -> None:
    """Have a message dealt with that was never in a queue."""
    fields = ("body", "content_type", "content_encoding", "headers", "properties", "delivery_info")
    parts = {name: getattr(message, name) for name in fields}
    descriptor = os.open(directory / tag, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        pickle.dump(({**parts, "delivery_tag": tag}, detail), file)
    command(directory, "perform", tag)
