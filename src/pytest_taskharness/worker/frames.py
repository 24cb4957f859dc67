"""Copies of the code in tracebacks, made once.

For each error billiard copies the code object of every frame, with the positions of all its instructions.  Celery's
tracer is a long function and a frame of every one of them, so that this is most of what a failure or a retry costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from billiard import einfo

__all__ = ["code_copied_once"]

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
