"""The journal: one file that every process of a worker appends to, and a bell that tells the test process to look.

Each record is one ``write`` on a descriptor in append mode, so that records of several processes never mix and none
is lost when its writer is killed a moment later.  Only a writer that is killed inside of a long ``write`` leaves a
torn one, which is passed over.  The bell is a named pipe that is never waited for: whoever writes must not be slowed
down by a test that does not look.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from .packing import pack, unpack

__all__ = ["Journal", "Pen"]

FRAME = struct.Struct("<4sII")
MAGIC = b"\xa5thj"
#: What is read at once.
CHUNK = 1 << 20
CLOSED = -1


class Pen:
    """Writes records; one for each process, and a forked child may go on with its parent's."""

    def __init__(self, directory: Path) -> None:
        """Open the journal of this directory."""
        self._directory = directory
        self.open()

    def open(self) -> None:
        """Once more where somebody has closed all files of this process."""
        directory = self._directory
        self._file = os.open(directory / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._bell = os.open(directory / "bell", os.O_RDWR | os.O_NONBLOCK)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record, and ring."""
        data = pack(record)
        os.write(self._file, FRAME.pack(MAGIC, len(data), zlib.crc32(data)) + data)
        with suppress(BlockingIOError):  # the bell is ringing already
            os.write(self._bell, b"!")


class Journal:
    """The reader's side, in the test process."""

    def __init__(self, directory: Path) -> None:
        """Make the journal of this directory."""
        os.mkfifo(directory / "bell", 0o600)
        # Open for writing too: a pipe without a writer would be at its end, not silent.
        self._bell = os.open(directory / "bell", os.O_RDWR | os.O_NONBLOCK)
        self._file = os.open(directory / "journal", os.O_RDWR | os.O_CREAT, 0o600)
        self._buffer = b""

    def fileno(self) -> int:
        """Readable when the bell has rung since the last :meth:`read`."""
        return self._bell

    def read(self) -> list[dict[str, Any]]:
        """The records that have come, oldest first; none where it is closed."""
        if self._file == CLOSED:
            return []
        with suppress(BlockingIOError):
            while len(os.read(self._bell, CHUNK)) == CHUNK:
                pass
        while data := os.read(self._file, CHUNK):
            self._buffer += data
        return list(self._records())

    def rewind(self) -> None:
        """Begin anew; nobody writes now."""
        self.read()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._buffer = b""

    def _records(self) -> Any:
        offset = 0
        while (end := _end_of_frame(self._buffer, offset)) is not None:
            if end > 0:
                yield unpack(self._buffer[offset + FRAME.size : end])
            offset = end if end > 0 else -end
        self._buffer = self._buffer[offset:]

    def close(self) -> None:
        """Read no more; again does nothing."""
        for descriptor in {self._bell, self._file} - {CLOSED}:
            os.close(descriptor)
        self._bell = self._file = CLOSED


def _end_of_frame(buffer: bytes, offset: int) -> int | None:
    """Where the whole frame at ``offset`` ends; below zero, where to go on after a torn one; None: not there yet."""
    if _is_whole(buffer, offset):
        return offset + FRAME.size + int(FRAME.unpack_from(buffer, offset)[1])
    following = buffer.find(MAGIC, offset + 1)
    while following > 0:
        if _is_whole(buffer, following):
            return -following
        following = buffer.find(MAGIC, following + 1)
    return None


def _is_whole(buffer: bytes, offset: int) -> bool:
    if len(buffer) < offset + FRAME.size:
        return False
    magic, size, checksum = FRAME.unpack_from(buffer, offset)
    data = buffer[offset + FRAME.size : offset + FRAME.size + size]
    return bool(magic == MAGIC and len(data) == size and zlib.crc32(data) == checksum)
