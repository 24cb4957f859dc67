"""Bodies that run at once: threads, of which one goes on while the others wait for their turn.

They take turns at the lines of the watched code, by a schedule of line counts, so that the same schedule gives the
same interleaving each time.  A strand that waits for something real, such as a lock that another one has, never comes
to its next line: after a moment without one the next strand goes on, and the waiting one stops at its next line.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import CodeType
from typing import NoReturn

from celery import _state

from ...clock.real import Real
from ...errors import Deadlock
from ...faults.lines import source_line
from .strand import Step, Strand, StrandState, is_off_the_processor
from .thread_bound import django_connections

__all__ = ["Strands"]

#: Real seconds after which a line that has not ended, and does not compute, waits for something.
GRACE = 0.03
#: Real seconds that strands which all wait for something are given; SQLite's own patience is 5 s.
PATIENCE = 6.0
#: The same for one alone, whose others have ended: a slow service, or a lock that one of them has left locked.
LONE_PATIENCE = 30.0
#: The lines of a turn that only the end of the body ends.
_TO_THE_END = sys.maxsize


class Strands:
    """Some strands that take turns, and the thread that waits for them."""

    def __init__(
        self, schedule: Iterable[int] = (), *, now: Callable[[], datetime], pass_until: Callable[[datetime], object]
    ) -> None:  # fmt: skip
        """The first runs as many lines as the first number of the schedule says, the next one as the second, and so on.

        After the last number each runs to its end, beginning with the one whose turn it is.
        """
        self.strands: list[Strand] = []
        #: The lines in the order in which they ran.
        self.lines: list[tuple[int, CodeType, int]] = []
        self.news = threading.Condition()
        #: Somebody waits in go_on().
        self.is_going = False
        #: Nobody gives turns any more.
        self.is_over = False
        #: Django's databases in which the thread that waits has a transaction open: no strand sees what is in it.
        self.transactions = {each.alias for each in django_connections() if each.in_atomic_block}
        self._schedule = iter(schedule)
        self._next = 0
        self._now = now
        self._pass_until = pass_until

    def add(self, run: Callable[[Strand], object]) -> Strand:
        """One more."""
        self.strands.append(Strand(self, len(self.strands), run))
        return self.strands[-1]

    @property
    def steps(self) -> list[Step]:
        """The lines in the order in which they ran."""
        return [Step(copy, code.co_filename, line, source_line(code, line)) for copy, code, line in self.lines]

    def strand_here(self) -> Strand | None:
        """The one that calls."""
        return next((each for each in self.strands if each.thread.ident == threading.get_ident()), None)

    def go_on(self) -> None:
        """Let them take turns until each has ended or is held, and raise what one of them has raised.

        Raises:
            Deadlock: All wait for something real, and go on waiting.
        """
        self.is_going = True
        try:
            with _globals_kept():
                while (strand := self._choose()) is not None:
                    self._next = strand.number + 1
                    strand.give_turn(next(self._schedule, _TO_THE_END))
                    self._wait_for(strand)
        except BaseException:
            self.end()
            raise
        finally:
            self.is_going = False
        self._clear_up()

    def release(self) -> None:
        """Whoever is held may go on, when it is let."""
        for strand in self._in(StrandState.HELD):
            strand.state = StrandState.READY

    @property
    def has_ended(self) -> bool:
        """Whether nobody will need a turn any more."""
        return all(strand.state in {StrandState.ENDED, StrandState.RUNNING} for strand in self.strands)

    @property
    def can_go_on(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._in(StrandState.READY))

    def end(self) -> None:
        """End each as if its process had died; one that waits for something real ends when it gets it."""
        self.is_over = True
        with _globals_kept():
            for strand in self.strands:
                if strand.life is not None:
                    strand.life.killed = True
                if strand.thread.ident is None:
                    strand.state = StrandState.ENDED
                while strand.state not in {StrandState.ENDED, StrandState.RUNNING}:
                    strand.give_turn(_TO_THE_END)
                    self._hear([strand], PATIENCE)
                for _ in range(int(PATIENCE / GRACE)):
                    if self._hear([strand], GRACE) or strand.is_waiting():
                        break
        for strand in self._in(StrandState.ENDED):
            strand.error = None
        self._clear_up()

    def _in(self, state: StrandState) -> list[Strand]:
        return [strand for strand in self.strands if strand.state is state]

    def _clear_up(self) -> None:
        ended = self._in(StrandState.ENDED)
        for strand in ended:
            if strand.thread.ident is not None:
                strand.thread.join()
        for strand in ended:
            if strand.error is not None:
                error, strand.error = strand.error, None
                raise error

    # -- whose turn it is

    def _choose(self) -> Strand | None:
        while True:
            ready = self._ready()
            asleep = [strand.until for strand in self._in(StrandState.SLEEPING) if strand.until is not None]
            waiting = self._in(StrandState.RUNNING)
            # What ran meanwhile may have given it what it waits for: then it comes to its next line now.
            if waiting and self._come_back(waiting, for_ever=not (ready or asleep)):
                continue
            if ready:
                return ready[0]
            if not asleep:
                return None
            self._pass_until(min(asleep))

    def _ready(self) -> list[Strand]:
        """Those that can go on, the next one first."""
        for strand in self._in(StrandState.SLEEPING):
            if strand.is_dead or strand.until is None or strand.until <= self._now():
                strand.state = StrandState.READY
        count = len(self.strands)
        ring = (self.strands[(self._next + ahead) % count] for ahead in range(count))
        return [strand for strand in ring if strand.state is StrandState.READY]

    def _wait_for(self, strand: Strand) -> None:
        """Wait until it has had its turn, or waits itself."""
        ran, waited = -1, 0.0
        while ran != len(self.lines) or not strand.is_waiting():
            waited = waited + GRACE if ran == len(self.lines) and is_off_the_processor(strand.thread) else 0
            ran = len(self.lines)
            if self._hear([strand], GRACE):
                return
            if waited > PATIENCE:  # even Celery does not take so long
                break
        strand.lose_turn()

    def _come_back(self, waiting: list[Strand], *, for_ever: bool) -> bool:
        """Whether one that has waited stops, or ends; where there is nobody else, it has more time.

        Raises:
            Deadlock: They have had all of it.
        """
        waited = 0.0
        while not self._hear(waiting, GRACE):
            waited = waited + GRACE if all(strand.is_waiting() for strand in waiting) else 0
            if waited and not for_ever:
                return False
            if waited > (patience := PATIENCE if len(waiting) > 1 else LONE_PATIENCE):
                self._give_up(waiting, patience)
        return True

    def _hear(self, strands: list[Strand], seconds: float) -> bool:
        """Whether one stops, or ends, within real seconds."""
        deadline = Real.monotonic() + seconds  # Condition.wait_for() reads a clock that can be frozen
        with self.news:
            while all(each.state is StrandState.RUNNING for each in strands):
                left = deadline - Real.monotonic()
                if left <= 0:
                    return False
                self.news.wait(left)
        return True

    def _give_up(self, waiting: list[Strand], patience: float) -> NoReturn:
        lasts = [next((step for step in reversed(self.steps) if step.copy == each.number), None) for each in waiting]
        places = [
            f"    {strand.name} at {os.path.relpath(last.file)}:{last.line}  {last.source}"
            if last
            else f"    {strand.name} before its first line"
            for strand, last in zip(waiting, lasts, strict=True)
        ]
        raise Deadlock(
            "bodies that run at once wait for one another, or for somebody else, and no line has run for "
            f"{patience:g} real seconds:\n" + "\n".join(places) + "\nIn production they would hang as well. To fix "
            "this, take the locks in one order, or with a timeout."
        )


@contextmanager
def _globals_kept() -> Iterator[None]:
    """``denied_join_result()`` is of the process, and each strand has its own."""
    joining = _state.task_join_will_block()
    try:
        yield
    finally:
        _state._set_task_join_will_block(joining)
