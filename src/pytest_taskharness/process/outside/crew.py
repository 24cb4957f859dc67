"""Workers that go on from one test to the next: to start one takes longer than most tests.

A worker is left for others only when it has provably nothing to do, and has had nothing done to it that the next test
could notice.  It keeps its prefix on the server, because it cannot be told another one; what lies there is deleted.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

from .node import WorkerProcess

__all__ = ["Crew", "dismiss_all", "engage", "leave"]

#: How many crews wait for somebody who needs them.
ROOM = 2

Command = tuple[str, ...]
#: Where nobody edits files between two tests.
_INSTALLED = (sys.prefix, sys.base_prefix)


@dataclass
class Crew:
    """The workers of one world, which share what they have on the server.

    Attributes:
        prefix: What their keys begin with; None as long as nobody has a worker.
        waiting: Those of an earlier test that nobody has asked for yet, by their command line.
        working: The others.
        clean: Deletes what they have on the server, when they are gone.
        is_served: Whether their server lives.
    """

    prefix: str | None = None
    waiting: dict[Command, WorkerProcess] = field(default_factory=dict)
    working: dict[Command, WorkerProcess] = field(default_factory=dict)
    clean: Callable[[], object] = lambda: None
    is_served: Callable[[], bool] = lambda: True
    #: When each file of the user's was changed last, as far as it was imported when they were engaged.
    files: dict[str, int] = field(default_factory=lambda: _changes(_imported_files()))

    def take(self, command: Command) -> WorkerProcess | None:
        """A worker with this command line, None where there is none that lives."""
        node = self.waiting.pop(command, None)
        if node is None or node.has_ended():
            if node is not None:
                node.close()
            self.send_others_home()
            return None
        self.working[command] = node
        node.renew()
        return node

    def send_others_home(self) -> None:
        """The test begins: nobody but those that it has asked for may take its messages."""
        while self.waiting:
            self.waiting.popitem()[1].close()

    def close(self) -> None:
        """End them all."""
        with ExitStack() as stack:
            stack.callback(self.clean)
            for node in [*self.waiting.values(), *self.working.values()]:
                stack.callback(node.close)


#: The crews that wait, the one that has waited longest first.
_waiting: dict[bytes, Crew] = {}
_owner = os.getpid()


def engage(key: bytes | None) -> Crew:
    """The crew that waits under this key, or a new one."""
    for waits in [waits for waits, crew in _waiting.items() if not crew.is_served()]:
        _waiting.pop(waits).close()
    crew = _waiting.pop(key, None) if key is not None else None
    if crew is not None and crew.files != _changes(crew.files):
        crew.close()
        crew = None
    return crew or Crew()


def _imported_files() -> Iterator[str]:
    """Of modules that are no part of Python, and of no installed package."""
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if type(module) is ModuleType else None
        if isinstance(file, str) and not file.startswith(_INSTALLED):
            yield file


def _changes(files: Iterable[str]) -> dict[str, int]:
    changes = {}
    for file in files:
        with suppress(OSError):
            changes[file] = Path(file).stat().st_mtime_ns
    return changes


def leave(key: bytes, crew: Crew) -> None:
    """Leave a crew for others; who has waited too long goes home."""
    _dismiss_at_exit()
    crew.waiting, crew.working = {**crew.waiting, **crew.working}, {}
    if key in _waiting:
        _waiting.pop(key).close()
    _waiting[key] = crew
    while len(_waiting) > ROOM:
        _waiting.pop(next(iter(_waiting))).close()


def dismiss_all() -> None:
    """Nobody needs them any more."""
    while _waiting and os.getpid() == _owner:
        _waiting.popitem()[1].close()


@cache
def _dismiss_at_exit() -> None:
    """Registered late, and so called early: before their server ends."""
    atexit.register(dismiss_all)
