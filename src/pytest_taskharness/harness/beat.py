"""What users hold of beat: ``harness.beat``, a beat that runs, and the answer of a simulation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..beat.fires import Fires
from ..beat.question import ask, asking_at
from ..beat.service import Plan, all_entries, made
from ..beat.source import BeatSource
from ..clock.virtual import VirtualTime, span
from ..errors import ConfigurationError, FidelityError, TimeTravelError, hide_frames
from .arguments import moment

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["Beat", "Beats", "Simulation"]

__tracebackhide__ = hide_frames


class Simulation(Fires):
    """What :meth:`Beats.simulate` has found; ``print()`` shows it as a table.

    Attributes:
        start: The instant after which it was looked.
        end: The last instant that was looked at.
    """

    start: datetime
    end: datetime

    def __repr__(self) -> str:
        """As ``<Simulation of 7 fires until 2030-01-08T00:00:00+00:00>``."""
        return f"<Simulation of {sum(self.counts.values())} fires until {self.end.isoformat()}>"


class Beat(Fires):
    """A beat that runs: its entries are sent as the clock moves.  Leaving its ``with`` block stops it.

    Attributes:
        name: What messages call it.
        scheduler: Celery's own scheduler object.
    """

    def __init__(self, source: BeatSource, world: Any, *, opened: Callable[[], object]) -> None:
        """Use ``harness.beat.start()``."""
        super().__init__(world.app.timezone, all_entries(source.scheduler), timeline=world.timeline)
        self.name = source.name
        self.scheduler = source.scheduler
        self._source = source
        self._opened = opened
        source.fires = self

    def stop(self) -> None:
        """Send nothing more, as if its process had ended; its entries remember when they ran.  Twice is fine."""
        if self._source.runs:
            self._source.pause()
            getattr(self.scheduler, "stopped", self.scheduler.sync)()

    def resume(self) -> None:
        """Start again: an entry that was due meanwhile is sent once, with the next step.

        Raises:
            ConfigurationError: It runs.
            HarnessClosed: The harness is closed.
        """
        self._opened()
        if self._source.runs:
            raise ConfigurationError(f"{self.name} runs already: resume() is for a beat that was stopped.")
        self._source.go()

    def __enter__(self) -> Beat:
        """It runs already."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        self.stop()

    def __repr__(self) -> str:
        """As ``<Beat beat runs, 3 fires>``."""
        state = "runs" if self._source.runs else "is stopped"
        return f"<Beat {self.name} {state}, {sum(self.counts.values())} fires>"


class Beats:
    """The beat of one app: run it, or ask what it would do.

    Both are Celery's own scheduler, with the entries of ``beat_schedule`` and ``add_periodic_task()``.
    """

    def __init__(self, harness: Harness, opened: Callable[[], Any], *, at_end: Callable[..., object]) -> None:
        """Use ``harness.beat``."""
        self._harness = harness
        self._opened = opened
        self._stack = ExitStack()
        at_end(self._stack.close)
        self._names: set[str] = set()
        self._path: Path | None = None

    def start(
        self, scheduler: Any = None, *, name: str | None = None, last_run_at: datetime | str | None = None
    ) -> Beat:  # fmt: skip
        """Start a beat: from now on its entries are sent as the clock moves.  Starting another one makes two.

        Args:
            scheduler: A scheduler class, its path, or its alias (``"django"``); the app's ``beat_scheduler`` if not
                given.  Celery's default then keeps its state in memory instead of in a file.
            name: What messages call it; ``beat``, and ``beat2`` for the second one.
            last_run_at: When every entry has run last, for a beat that was down since; now if not given.

        Raises:
            ScheduleError: The schedule is empty, or cannot work as it is written.
            ConfigurationError: There is no such scheduler, or there is a beat of this name.
            FidelityError: The clock is real.
        """
        world = self._opened()
        self._check_clock("start()", "harness.worker('w', arguments=['-B']), which has a beat of its own")
        name = self._new_name(name)
        plan = Plan(world, scheduler, directory=self._directory, asks=False)
        made_one = self._stack.enter_context(made(plan, last_run_at=moment(last_run_at, what="last_run_at")))
        beat = Beat(BeatSource(world, made_one, name=name), world, opened=self._opened)
        self._names.add(name)
        self._stack.callback(beat.stop)
        beat.resume()
        return beat

    def simulate(
        self, start: datetime | str | None = None, run: bool = False, *, scheduler: Any = None, **delta: float  # noqa: FBT001, FBT002
    ) -> Simulation:  # fmt: skip
        """What a beat that starts at ``start`` sends in a time: ``simulate(days=7)``.

        As a question, it sends nothing, moves no clock and leaves nothing behind.  With ``run=True`` it is done: what
        is sent is run, in the order of time, and the clock is at the end afterwards.

        Args:
            start: The instant before the first that is looked at, aware or ISO 8601 with an offset; now if not given.
                A question may begin in the past.
            run: Whether the tasks run.
            scheduler: As in :meth:`start`.
            delta: What ``datetime.timedelta`` takes by name: weeks, days, hours, minutes, seconds, …

        Raises:
            ScheduleError: The schedule is empty, or cannot work as it is written.
            TimeTravelError: There is no such time, or it is over and tasks cannot run then.
            FidelityError: Tasks are to run, and the clock is real.
        """
        world = self._opened()
        begin = moment(start) or world.time.now
        end = _end(begin, delta)
        if run:
            self._check_clock("simulate(run=True)", "simulate() without run=True")
            with world.exclusively():
                return self._run(scheduler, begin, end)
        plan = Plan(world, scheduler, directory=self._directory, asks=True)
        with world.exclusively(), asking_at(begin) as clock, made(plan) as made_one:
            simulation = Simulation(world.app.timezone, all_entries(made_one))
            simulation.start, simulation.end = begin, end
            ask(made_one, simulation, clock=clock, end=end)
        return simulation

    def _run(self, scheduler: Any, begin: datetime, end: datetime) -> Simulation:
        world = self._opened()
        if begin < world.time.now:
            raise TimeTravelError(
                f"simulate(start={begin.isoformat()}, run=True) would run tasks in the past: it is "
                f"{world.time.now.isoformat()}, and virtual time only moves forward. Start the test earlier with "
                "@pytest.mark.taskharness(start=…), or only ask: run=False."
            )
        world.run_until(begin)
        plan = Plan(world, scheduler, directory=self._directory, asks=False)
        with made(plan) as made_one:
            source = BeatSource(world, made_one, name=self._new_name(None))
            source.fires = simulation = Simulation(world.app.timezone, all_entries(made_one), timeline=world.timeline)
            simulation.start, simulation.end, source.until = begin, end, end
            source.go()
            try:
                world.run_until(end)
            finally:
                source.pause()
        return simulation

    def _check_clock(self, verb: str, instead: str) -> None:
        if not isinstance(self._opened().time, VirtualTime):
            raise FidelityError(
                f"beat.{verb} sends entries when a virtual clock comes to their instants; in mode "
                f"{self._harness.mode!r} without libfaketime the clock is real. Install the extra faketime, run this "
                f"test with mode='redis', or use {instead}."
            )

    def _new_name(self, given: Any) -> str:
        if given is not None and not (isinstance(given, str) and given):
            raise ConfigurationError(f"beat.start(name=…) takes a text; given: {given!r}")
        if given in self._names:
            raise ConfigurationError(
                f"beat.start(name={given!r}): there is one of this name; resume() starts it again."
            )
        names = ("beat", *(f"beat{number}" for number in range(2, len(self._names) + 2)))
        return str(given) if given else next(name for name in names if name not in self._names)

    def _directory(self) -> Path:
        """Where a scheduler may keep a file, as long as the harness is open."""
        if self._path is None:
            self._path = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="taskharness-beat-")))
        return self._path


def _end(begin: datetime, delta: dict[str, float]) -> datetime:
    written = ", ".join(f"{name}={value!r}" for name, value in delta.items())
    step = span(delta, after=begin, verb="beat.simulate")
    if step <= timedelta(0):
        raise TimeTravelError(f"beat.simulate({written}) takes how long to look, more than nothing: simulate(days=7).")
    return begin + step
