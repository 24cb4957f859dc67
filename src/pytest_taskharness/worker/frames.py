"""What the frames of a traceback hold: code, which is copied once, and what a dead process would not hold any more.

For each error billiard copies the code object of every frame, with the positions of all its instructions.  Celery's
tracer is a long function and a frame of every one of them, so that this is most of what a failure or a retry costs.
"""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from billiard import einfo

__all__ = ["close_all", "code_copied_once"]

#: So many are kept, in a process; a test session meets a few hundred.
MOST = 1_000
#: By the id of the code object, which is kept beside its copy: code objects of two files can be equal.
_copies: dict[int, tuple[CodeType, Any]] = {}


def _copied(copy: Any) -> Any:
    """What ``copy(code)`` returns, made once for each code object; nobody changes such a copy."""

    def copied(code: CodeType) -> Any:
        known = _copies.get(id(code))
        if known is None:
            if len(_copies) >= MOST:
                _copies.clear()
            known = _copies[id(code)] = (code, copy(code))
        return known[1]

    return staticmethod(copied)


@contextmanager
def code_copied_once() -> Iterator[None]:
    """While entered, billiard's copies of frames share the copies of their code."""
    frame = einfo._Frame
    before = frame.__dict__["Code"]
    frame.Code = _copied(before)
    try:
        yield
    finally:
        frame.Code = before


def close_all(death: BaseException) -> None:
    """A dead process holds no file and no connection open: let go of what its frames hold."""
    frames = [frame for frame, _ in traceback.walk_tb(death.__traceback__)]
    cyclic = any(map(_holds_sqlite, frames))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a dead process warns of nothing
        traceback.clear_frames(death.__traceback__)
        for frame in frames:
            frame.f_locals  # noqa: B018 - up to Python 3.12 it is a snapshot: this makes it anew, of nothing
        death.__traceback__ = death.__context__ = None
        if cyclic:
            gc.collect(1)  # since Python 3.11 a connection is in a cycle with its own cache


def _holds_sqlite(frame: FrameType) -> bool:
    sqlite3 = sys.modules.get("sqlite3")
    return sqlite3 is not None and any(isinstance(value, sqlite3.Connection) for value in frame.f_locals.values())
