"""One body in a thread of its own: it goes on when it has the turn, and stops at a line, asleep, or held."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from celery import _state

from .thread_bound import close_django_connections

if TYPE_CHECKING:
    from .strands import Strands

__all__ = ["NAMES", "Step", "Strand", "StrandState", "is_off_the_processor"]

#: What the strands are called in texts.
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What waits in code of these is on its way to a broker, and will come back.
_OURS = frozenset({"celery", "kombu", __package__.partition(".")[0]})


class Step(NamedTuple):
    """One line that one of the bodies ran.

    Attributes:
        copy: The number of the strand, 0 for the first.
        file: The path of the file.
        line: The number of the line.
        source: Its text, without indentation; empty where there is no source.
    """

    copy: int
    file: str
    line: int
    source: str


class Life(Protocol):
    """What can be dead before its time: a body."""

    killed: bool

    def stay_dead(self) -> None:
        """Raise where it is."""


class StrandState(Enum):
    """Where it is."""

    READY = "waits for its turn"
    RUNNING = "goes on, or waits for something real"
    SLEEPING = "until an instant of the virtual clock"
    HELD = "until somebody releases it"
    ENDED = "has ended"


class Strand:
    """One body in a thread of its own."""

    def __init__(self, strands: Strands, number: int, run: Callable[[Strand], object]) -> None:
        """Not started."""
        self.number = number
        self.state = StrandState.READY
        self.until: datetime | None = None
        self.life: Life | None = None
        self.error: BaseException | None = None
        self._strands = strands
        self._codes: set[int] = set()
        self._left = 0
        self._turn = threading.Lock()
        self._turn.acquire()
        self.thread = threading.Thread(
            target=copy_context().run, args=(self._main, run, _state.task_join_will_block()),
            name=f"taskharness strand {self.name}", daemon=True,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """What texts call it: A, B, C and so on."""
        return NAMES[self.number % len(NAMES)]

    @property
    def transactions(self) -> set[str]:
        """Django's databases in which whoever waits for it has a transaction open."""
        return self._strands.transactions

    @property
    def is_dead(self) -> bool:
        """Whether its body is to do nothing more."""
        return self.life is not None and self.life.killed

    # -- called in its own thread

    def _main(self, run: Callable[[Strand], object], joining: bool) -> None:
        _state._set_task_join_will_block(joining)
        try:
            run(self)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the strands
            self.error = error
        finally:
            close_django_connections()
            self._tell(StrandState.ENDED)

    def on_line(self, code: CodeType, line: int) -> None:
        """A line is about to run: wait for the turn, if it is another one's."""
        if self._left <= 0:
            self.stop(StrandState.READY)
        self._left -= 1
        self._codes.add(id(code))
        self._strands.lines.append((self.number, code, line))

    def on_end(self) -> None:
        """The body has ended: that is a place to stop too, before Celery does anything."""
        if self._left <= 0 and not self.is_dead:
            self.stop(StrandState.READY)

    def sleep(self, until: datetime) -> None:
        """``time.sleep``: the others go on, and time passes where all of them sleep."""
        self.until = until
        self.stop(StrandState.SLEEPING)

    def hold(self) -> None:
        """Stay here until somebody says ``release()``."""
        self.stop(StrandState.HELD)

    def stop(self, state: StrandState) -> None:
        """Give the turn away, and wait for the next one."""
        joining = _state.task_join_will_block()
        if not self._strands.is_over:
            self._tell(state)
            self._turn.acquire()
        _state._set_task_join_will_block(joining)
        if self.life is not None:
            self.life.stay_dead()

    def _tell(self, state: StrandState) -> None:
        with self._strands.news:
            self.state = state
            self._strands.news.notify_all()

    # -- called by whoever waits

    def give_turn(self, lines: int) -> None:
        """Let it run so many lines."""
        self._left = lines
        self.state = StrandState.RUNNING
        if self.thread.ident is None:
            self.thread.start()
        else:
            self._turn.release()

    def is_waiting(self) -> bool:
        """Whether a line of its body waits for something, instead of computing."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        while frame is not None and id(frame.f_code) not in self._codes:
            if str(frame.f_globals.get("__name__")).partition(".")[0] in _OURS:
                return False
            frame = frame.f_back
        return is_off_the_processor(self.thread)

    def lose_turn(self) -> None:
        """It waits for something: where it gets that, it is to stop at its next line."""
        self._left = 0


def is_off_the_processor(thread: threading.Thread) -> bool:
    """Whether a thread neither runs nor is about to; where the system does not tell, that is so."""
    try:
        told = Path(f"/proc/self/task/{thread.native_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return told.rpartition(")")[2].split()[0] == "S"
