"""The beats of worker processes (``celery worker -B``), as the test process knows them: who sleeps, and until when."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...errors import ScheduleError, WorkerDied
from ..between.words import BEAT

__all__ = ["Beat", "Beats"]

Record = dict[str, Any]


@dataclass
class Beat:
    """The beat of one worker.

    Attributes:
        worker: Whose it is.
        until: When it wants to be woken; None: it is awake.
        bed: Where to wake it; a beat on the real clock wakes by itself.
        error: What has ended it, as a text.
    """

    worker: str
    until: datetime | None = None
    bed: str | None = None
    error: str | None = None

    def is_awake(self, now: datetime) -> bool:
        """Whether something is to be expected of it now."""
        return self.error is None and (self.until is None or self.until <= now)


class Beats:
    """All of one world."""

    def __init__(self) -> None:
        """There is none yet."""
        self._beats: dict[str, Beat] = {}
        self._unsent: list[str] = []

    def take(self, record: Record) -> None:
        """Take in one note of a worker."""
        note, about, worker = record["note"], record["about"], record["worker"]
        if note == "ready" and about["beats"]:
            self._of(worker)
        elif note == "beat ended":
            self._of(worker).error = about["traceback"]
        elif note == "beat failed":
            self._unsent.append(about["text"])
        elif about.get("execution") == BEAT:
            beat = self._of(worker)
            beat.until, beat.bed = (about["until"], about["bed"]) if note == "sleeps" else (None, None)

    def _of(self, worker: str) -> Beat:
        return self._beats.setdefault(worker, Beat(worker))

    def left(self, worker: str) -> None:
        """A worker has gone, and its beat with it."""
        self._beats.pop(worker, None)

    def of(self, workers: Collection[str]) -> Iterator[Beat]:
        """Those of these workers."""
        return (beat for name, beat in self._beats.items() if name in workers)

    def raise_failed(self) -> None:
        """A worker goes on without its beat, and a beat without an entry; Celery only writes that into its log.

        Raises:
            ScheduleError: An entry could not be sent.
            WorkerDied: A beat has ended by itself.
        """
        if self._unsent:
            raise ScheduleError(
                f"{self._unsent.pop(0)}\nCelery's beat writes that into its log and goes on; the next chance is the "
                "entry's next fire."
            )
        for beat in list(self._beats.values()):
            if beat.error is not None:
                self.left(beat.worker)
                raise WorkerDied(
                    f"the beat of worker {beat.worker!r} has ended, and the test has not asked for that; nothing would "
                    f"be published any more.\n{beat.error}"
                )
