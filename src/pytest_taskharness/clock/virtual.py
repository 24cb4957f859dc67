"""The virtual clock: what time it is, and the public handle to move it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from ..errors import TimeTravelError, hide_frames
from ..wording import did_you_mean
from .freezer import Freezer
from .real import plain

__all__ = ["Clock", "VirtualTime", "span"]

__tracebackhide__ = hide_frames

ReportT = TypeVar("ReportT")

_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")
_TAKES = f"It takes {', '.join(_UNITS[:-1])} and {_UNITS[-1]}, each a number."


class VirtualTime:
    """The time of one world, backed by the process's frozen clock."""

    def __init__(self, start: datetime | None = None, *, library: str | None = None) -> None:
        """Freeze the process, or share the clock of a test that has frozen it."""
        self._library = library
        self.freezer = Freezer(start, library=library)
        self._left: datetime | None = None
        self.start = self._began = self._seen = self.now
        #: Called with (from, to) after each move.
        self.on_move: Callable[[datetime, datetime], object] = lambda before, after: None

    @property
    def now(self) -> datetime:
        """The current instant (aware, UTC)."""
        now = self.freezer.now()
        return now if self._left is None else max(now, self._left)

    def monotonic(self) -> float:
        """Virtual seconds since the start: what the named monotonic readers of Celery and kombu get.

        A test that freezes its clock at an earlier instant turns the calendar back, and never this.
        """
        now = self.now
        if now < self._seen:
            self._began -= self._seen - now
        self._seen = now
        return (now - self._began).total_seconds()

    def timestamp(self) -> float:
        """The current instant in seconds since the epoch."""
        return self.now.timestamp()

    def move_to(self, moment: datetime) -> None:
        """Jump forward; a moment that is already past is no move."""
        before = self.now
        if moment > before:
            self.freezer.shift(moment - before)
            self.on_move(before, moment)

    def close(self) -> None:
        """Give the process its clock back."""
        self.freezer.close()

    @property
    def is_away(self) -> bool:
        """Whether the process has its own clock, since :meth:`leave`."""
        return self._left is not None

    def leave(self) -> None:
        """Give the process its clock back for a while, which this one follows as soon as it is there."""
        self._left = self.now
        self.freezer.close()

    def come_back(self) -> None:
        """Freeze the process anew, no earlier than it was left, or share the clock of a test that has frozen it."""
        left, self._left = self.now, None
        self.freezer = Freezer(library=self._library)
        if not self.freezer.shared and left > self.now:
            self.freezer.shift(left - self.now)


class Clock(Generic[ReportT]):
    """The handle that users hold as ``harness.clock``.

    The clock stands still from the moment the harness opens, and moves only by driving.  Both verbs run every item
    at its own due instant, items that are scheduled on the way included.
    """

    def __init__(self, time: VirtualTime, run_until: Callable[[datetime], ReportT]) -> None:
        """Wire the clock to what runs the world."""
        self._time = time
        self._run_until = run_until

    @property
    def now(self) -> datetime:
        """The current virtual instant, aware, in UTC."""
        return self._time.now

    def advance(self, *given: object, **delta: float) -> ReportT:
        """Let virtual time pass: ``clock.advance(hours=1, minutes=30)``.

        Args:
            given: Nothing; what somebody gives without a name is explained.
            delta: What ``datetime.timedelta`` takes by name: weeks, days, hours, minutes, seconds, …

        Raises:
            TimeTravelError: The sum is negative, or something is not a number by one of ``timedelta``'s names.
            RunBudgetExceeded: Work at one instant never ends.
        """
        if given:
            raise TimeTravelError(_nameless(given[0]))
        step = span(delta, after=self.now, verb="clock.advance")
        if step < timedelta(0):
            raise TimeTravelError(
                f"clock.advance({_written(delta)}) would move the clock back by {-step}. Virtual time only moves "
                "forward; start a test earlier with @pytest.mark.taskharness(start=…)."
            )
        return self._run_until(self.now + step)

    def advance_to(self, moment: datetime) -> ReportT:
        """Let virtual time pass until ``moment`` (aware).

        Raises:
            TimeTravelError: ``moment`` is before :attr:`now`, naive, or not a ``datetime``.
            RunBudgetExceeded: Work at one instant never ends.
        """
        if not isinstance(moment, datetime):
            raise TimeTravelError(f"clock.advance_to() takes an aware datetime; given: {moment!r}")
        if moment.tzinfo is None:
            raise TimeTravelError(
                f"clock.advance_to() takes an aware datetime; {moment!r} is naive. Give it a zone, for instance "
                "moment.replace(tzinfo=timezone.utc)."
            )
        if moment < self.now:
            raise TimeTravelError(
                f"clock.advance_to({moment.isoformat()}) would move the clock back by {self.now - moment}: it is "
                f"{self.now.isoformat()} now, and virtual time only moves forward."
            )
        return self._run_until(plain(moment))

    def __repr__(self) -> str:
        """As ``<Clock 2030-01-01T00:00:00+00:00>``."""
        return f"<Clock {self.now.isoformat()}>"


def span(delta: Mapping[str, Any], *, after: datetime, verb: str) -> timedelta:
    """The timedelta that these names make; adding it to ``after`` works too.

    Raises:
        TimeTravelError: They make none.
    """
    for name in delta:
        if name not in _UNITS:
            meant = did_you_mean(name, _UNITS)
            raise TimeTravelError(f"{verb}({_written(delta)}): {name!r} is no unit of time.{meant} {_TAKES}")
    try:
        step = timedelta(**delta)
        after + step
    except (TypeError, ValueError, OverflowError) as error:
        raise TimeTravelError(f"{verb}({_written(delta)}): {error}. {_TAKES}") from None
    return step


def _nameless(given: object) -> str:
    """What to write in the place of ``clock.advance(60)``, and of ``clock.advance(timedelta(…))``."""
    if isinstance(given, timedelta):
        return f"clock.advance({given!r}): for a timedelta, write clock.advance_to(clock.now + …). {_TAKES}"
    return f"clock.advance({given!r}): name the unit, as in clock.advance(seconds={given!r}). {_TAKES}"


def _written(delta: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in delta.items())
