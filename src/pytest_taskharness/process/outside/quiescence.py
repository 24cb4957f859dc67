"""When is nothing left to do?  By counting, in the journals and on the server; silence says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ...clock.real import Real
from ...errors import RunBudgetExceeded, hide_frames
from ...worker.sources import Source
from . import explain
from .beats import Beat
from .census import Census

if TYPE_CHECKING:
    from .node import WorkerProcess
    from .world import ProcessWorld

__all__ = ["Due", "Limit", "Quiescence"]

__tracebackhide__ = hide_frames

#: A message that has left its queue, and that its worker does not know of yet, is in a socket.  Each time round, the
#: worker's event loop reads its sockets, and the server reads its own: after so many rounds it would be known.
ROUNDS = 4


@dataclass(frozen=True)
class Due:
    """Something that will happen by itself.

    Attributes:
        at: When.
        what: For people.
        nudge: Makes the worker look, where it would not do so at once.
    """

    at: datetime
    what: str
    nudge: Callable[[], object] = lambda: None


class Limit:
    """How long a verb may wait in real time, and how many bodies may start meanwhile."""

    def __init__(self, verb: str, seconds: float, *, error: Callable[[Limit], Exception]) -> None:
        """From now on; ``error(limit)`` is what is raised when the time is up."""
        self.verb = verb
        self.seconds = seconds
        self.deadline = Real.monotonic() + seconds
        self.max_starts: float = float("inf")
        self.max_runs = 0
        #: An instant of virtual time, where one was asked for.
        self.until: datetime | None = None
        self._error = error

    def renew(self) -> None:
        """It has gone on: what comes next may take as long again."""
        self.deadline = Real.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return float(self.deadline - Real.monotonic())

    def exceeded(self) -> Exception:
        """What to raise."""
        return self._error(self)


class Quiescence:
    """Waits until workers have nothing to do now."""

    def __init__(self, world: ProcessWorld) -> None:
        """Of this world."""
        self._world = world
        self._token = 0
        self._census = Census({}, {})
        self._nudged: float | None = None

    # -- waiting for it

    def reach(self, limit: Limit) -> None:
        """Return when nothing is left to do now.

        Raises:
            Exception: What the limit says, if it takes longer.
            RunBudgetExceeded: Too many bodies start.
            WorkerDied: A worker has ended by itself.
        """
        self._world.hear()
        while not self.approach(limit):
            pass

    @property
    def would_wait(self) -> bool:
        """Whether something has to happen before :meth:`approach` would return."""
        now = self._world.time.now
        busy = self._world.busy()
        if not busy:
            return bool(self._awake_beats())
        return not all(self._world.ledger.lacks_only_acknowledgement(delivery, now) for delivery in busy)

    def approach(self, limit: Limit) -> bool:
        """Wait for the next thing that happens, where something has to; whether nothing is left to do now."""
        busy = self._world.busy()
        if not busy and not self.is_changing:
            return not self._fires_now() and self._is_calm(limit)
        if not busy and self._awake_beats():
            self.hear(limit)
            return False
        ledger, now = self._world.ledger, self._world.time.now
        if not all(ledger.lacks_only_acknowledgement(delivery, now) for delivery in busy):
            self.hear(limit)
        elif not self._has_acknowledged(limit):
            for delivery in busy:
                delivery.is_stuck = True
        return False

    def _has_acknowledged(self, limit: Limit) -> bool:
        """An event loop that has nothing else to do puts that off until it wakes up; what is left then, it has lost."""
        news = self._world.ledger.news
        for _ in range(ROUNDS):
            self.go_round(limit)
            if self._world.ledger.news > news:
                return True
        return False

    def hear(self, limit: Limit) -> None:
        """Wait until something happens.

        A body may outlast the visibility timeout: then its message is due to be restored, and kombu would look for
        such messages every few minutes only.
        """
        until = self._world.real_instant(self._first_restore())
        if not self._world.hear(min(limit.deadline, until)):
            if limit.left <= 0:
                raise limit.exceeded()
            self._restore()
        if self._world.ledger.starts > limit.max_starts:
            raise RunBudgetExceeded(explain.out_of_runs(self._world, limit))

    def _is_calm(self, limit: Limit) -> bool:
        """Whether no message is on its way to a worker; asks them where only they can know.  False: look again."""
        for looked in range(ROUNDS):
            self._census = self._world.census()
            if not self._expects_more(self._census) and (looked or self._census.is_whole or not self._workers()):
                return not self._world.hear()
            if not self._has_nothing_to_add(limit):
                return False
        return True

    def has_nothing_left(self) -> bool:
        """Whether nothing at all is left to do, now or later; does not wait for what is."""
        limit = Limit("the end of the test", 10.0, error=lambda limit: TimeoutError(limit.verb))
        self._world.hear()
        while not (self._world.ledger.deliveries() or self.is_changing):
            if self._is_calm(limit):
                return not (self._census.unacked or self._expects_more(self._census))
        return False

    def _expects_more(self, census: Census) -> bool:
        """Whether a worker should soon have a message that is not known to be with it."""
        consumed = {queue for node in self._workers() for queue in node.queues()}
        if any(census.waiting.get(queue) for queue in consumed):
            return True
        on_the_way = self._world.ledger.coming > census.total
        unknown = census.unacked.keys() - self._world.ledger.tags
        return bool(self._workers()) and (on_the_way or bool(unknown))

    @property
    def is_changing(self) -> bool:
        """Whether a worker has yet to do what it was told, or a beat what is due."""
        return any(node.is_about_to_change for node in self._workers()) or bool(self._awake_beats())

    @property
    def has_to_obey(self) -> bool:
        """The same, of those whose event loop is not the one that runs a body now."""
        deaf = {each.worker for each in self._world.ledger.deliveries() if each.runs_where_it_was_received}
        return any(node.is_about_to_change for node in self._workers() if node.name not in deaf)

    def let_beats_sleep(self, limit: Limit) -> None:
        """Wait until every beat has looked at its entries."""
        while self._awake_beats():
            self.hear(limit)
        self._world.beats.raise_failed()

    def _awake_beats(self) -> list[Beat]:
        now = self._world.time.now
        return [beat for beat in self._beats() if beat.is_awake(now)]

    def _beats(self) -> Iterator[Beat]:
        return self._world.beats.of({node.name for node in self._world.nodes if node.goes_on})

    def go_round(self, limit: Limit, *, word: str = "mark") -> None:
        """Let each worker's event loop go round once, and obey on its way."""
        self._mark(word)
        while self._is_going_round():
            self.hear(limit)

    def _has_nothing_to_add(self, limit: Limit) -> bool:
        """The same; whether that brought nothing new."""
        news = self._world.ledger.news
        self._mark()
        while self._is_going_round():
            self.hear(limit)
            if self._world.busy() or self.is_changing:
                return False
        return self._world.ledger.news == news

    def _mark(self, word: str = "mark") -> None:
        self._token += 1
        for node in self._workers():
            node.asked_to_mark = self._token
            node.tell(word, str(self._token))

    def _is_going_round(self) -> bool:
        return any(node.marked < node.asked_to_mark for node in self._workers())

    def _first_restore(self) -> datetime | None:
        going = {node.name for node in self._workers()}
        delivered = (each.since for each in self._world.ledger.deliveries() if each.worker in going)
        first, timeout = min(delivered, default=None), self._world.broker.visibility_timeout
        return None if first is None or timeout is None else first + timedelta(seconds=timeout)

    def _restore(self) -> None:
        """Have a worker look for messages to restore; again after another timeout."""
        for delivery in self._world.ledger.deliveries():
            delivery.since = max(delivery.since, self._world.time.now)
        for node in self._workers()[:1]:
            node.restore()

    def _workers(self) -> list[WorkerProcess]:
        """Those who can hear us: the body of a solo pool that sleeps is the main process itself."""
        sleeps = [sleep.delivery for sleep in self._world.ledger.sleeps()]
        deaf = {delivery.worker for delivery in sleeps if delivery.runs_where_it_was_received}
        return [node for node in self._world.nodes if node.goes_on and node.name not in deaf]

    # -- and after it

    def next_due(self, *, also_beats: bool = False) -> Due | None:
        """What happens next by itself, or None; beats alone would go on for ever, and count where that is asked for."""
        # At the same instant, what goes on goes before what is put back.
        now = self._world.time.now
        coming = [due for due in [*self._held(), *self._sleeping()] if due.at > now]
        work = [*coming, *self._restores()]
        beating = self._beating() if work or also_beats else []
        return min([*work, *beating], key=lambda due: due.at, default=None)

    def _beating(self) -> list[Due]:
        asleep = [Due(beat.until, f"the beat of {beat.worker}") for beat in self._beats() if beat.until is not None]
        here = [(source, at) for source in self._world.sources if (at := source.due()) is not None]
        return [*asleep, *(Due(at, source.name, partial(self._fire, source)) for source, at in here)]

    def _fires_now(self) -> bool:
        """Let the beats of the test process send what is due now; whether one had to look."""
        now = self._world.time.now
        late = [source for source in self._world.sources if (at := source.due()) is not None and at <= now]
        for source in late:
            self._fire(source)
        return bool(late)

    def _fire(self, source: Source) -> None:
        """A beat of the test process: all that it has to send now."""
        while (due := source.due()) is not None and due <= self._world.time.now:
            source.fire()

    def _held(self) -> list[Due]:
        names = {node.name for node in self._workers()}
        held = (each for each in self._world.ledger.held() if each.worker in names)
        return [Due(each.due, f"{each.task} {each.id}") for each in held if each.due is not None]

    def _restores(self) -> list[Due]:
        workers = self._workers()
        # As of when calm was found: what happens afterwards is told by a worker, and looked at then.
        score = self._census.first_unacked if workers else None
        at = None if score is None else self._world.broker.lost_at(score)
        if at is None or (at <= self._world.time.now and score == self._nudged):
            return []  # somebody has looked already, and left it where it was
        assert score is not None
        timeout = self._world.broker.visibility_timeout
        what = f"a message that nobody has acknowledged for {timeout:g} s"
        return [Due(at, what, partial(self._nudge, workers[0], score))]

    def _nudge(self, worker: WorkerProcess, score: float) -> None:
        self._nudged = score
        worker.restore()

    def _sleeping(self) -> list[Due]:
        names = {node.name for node in self._world.nodes if node.goes_on}
        sleeps = [sleep for sleep in self._world.ledger.sleeps() if sleep.delivery.worker in names]
        return [Due(at, f"{sleep.delivery.task} {sleep.delivery.id}") for sleep in sleeps for at in sleep.ends()]
