"""Each message says which harness it belongs to; a consumer of another one raises the alarm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from typing import Any
from uuid import uuid4

from ..errors import ForeignMessage

__all__ = ["check", "new_name", "stamped"]

#: Beside the headers and the properties, where neither Celery nor the user's code looks.
STAMP = "taskharness"

_process = uuid4().hex[:12]
_numbers = count(1)


def new_name() -> str:
    """What no other harness is called, in this process or any other: a forked child has a number of its own."""
    return f"{_process}-{os.getpid()}-{next(_numbers)}"


def stamped(payload: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A message that says to which harness it belongs."""
    return {**payload, STAMP: name}


def check(payload: Mapping[str, Any], name: str, *, queue: str) -> None:
    """Look at a message on its way to a consumer; one that no harness has published says nothing.

    Raises:
        ForeignMessage: It belongs to another harness.
    """
    found = payload.get(STAMP, name)
    if found != name:
        raise ForeignMessage(_alarm(payload, queue, f"expected a message of harness {name}; found one of {found}"))


def _alarm(payload: Mapping[str, Any], queue: str, what: str) -> str:
    headers = payload.get("headers") or {}
    return (
        f"a message of another test came out of queue {queue!r}: {headers.get('task') or 'no task'} "
        f"{headers.get('id') or ''}\n"
        f"{what} (a process, its id, and the number of the harness in it).\n"
        "Two tests have seen each other, so what this session says about any of its tests cannot be trusted: it ends "
        "here.\n"
        "Ways out:\n"
        "  - somebody copies messages between queues or servers (SHOVEL, RESTORE, a raw Redis client): let it keep to "
        "the keys of its own test\n"
        "  - nobody does: then it is a bug of pytest-taskharness, please report it with this text"
    )
