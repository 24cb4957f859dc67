"""In a worker: everything that is written down goes through here, in the main process and in its pool processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ...recorder import Recorder
from ...timeline import Event, Timeline
from ..between.journal import Pen
from ..between.moments import Moments
from ..between.spec import SPEC, WorkerSpec
from ..between.walltime import WallTime

__all__ = ["Scribe", "the_scribe"]


class _JournaledTimeline(Timeline):
    """A timeline that is kept elsewhere.  Only what is called inline is remembered here, to number it."""

    def __init__(self, start: datetime, pen: Pen, moments: Moments) -> None:
        super().__init__(start)
        self._pen = pen
        self._moments = moments
        #: What is to be known of every event from now on.
        self.about: dict[str, Any] = {}

    def append(self, event: Event) -> None:
        if event.kind == "callback":
            super().append(event)
        if event.kind == "publish" and event.id is not None:
            event.at = self._moments.of(event.id, eta=event.detail["eta"], otherwise=event.at)
        self._pen.write({
            "kind": event.kind, "at": event.at, "task": event.task, "id": event.id, "worker": event.worker,
            "detail": event.detail, "stream": _stream(), "tag": None, "about": self.about,
        })  # fmt: skip


class Scribe:
    """Writes down events, for the timeline, and notes, for whoever counts."""

    def __init__(self, directory: Path) -> None:
        """Write into the journal of this worker's directory."""
        self.directory = directory
        self.spec = WorkerSpec.read(directory)
        self.time = WallTime()
        self._pen = Pen(directory)
        self._moments = Moments(lambda: self.time.now)
        self._timeline = _JournaledTimeline(self.time.now, self._pen, self._moments)
        self.recorder = Recorder(self._timeline, self.time)

    def begin_anew(self) -> None:
        """In a process that has closed all files that it had from its parent."""
        self._pen.open()

    @contextmanager
    def adding(self, **about: Any) -> Iterator[None]:
        """While entered, whoever reads what is published and stored is told this about it."""
        self._timeline.about = about
        try:
            yield
        finally:
            self._timeline.about = {}

    def record(
        self, kind: str, *, task: str | None = None, id: str | None = None, tag: str | None = None,
        about: dict[str, Any] | None = None, **detail: Any,
    ) -> None:  # fmt: skip
        """An event of this worker; ``tag`` says of which delivery, and ``about`` is for whoever counts."""
        self._pen.write({
            "kind": kind, "at": self.time.now, "task": task, "id": id, "worker": self.spec.name, "detail": detail,
            "stream": _stream(), "tag": tag, "about": about or {},
        })  # fmt: skip

    def note(
        self, note: str, *, id: str | None = None, tag: str | None = None, task: str | None = None, **about: Any
    ) -> None:  # fmt: skip
        """Something that is no event of the timeline."""
        self._pen.write({"note": note, "id": id, "worker": self.spec.name, "tag": tag, "about": about})

    def listen_to(self, app: Any) -> None:
        """Write down what the app publishes and stores."""
        self.recorder.wrap_amqp(app.amqp)
        self._moments.watch(app.amqp)
        make = app._get_backend

        def make_backend() -> Any:
            backend = make()
            self.recorder.wrap_backend(backend)
            return backend

        app._get_backend = make_backend


def _stream() -> tuple[int, int]:
    """Who writes: what one thread writes stays in its order."""
    return os.getpid(), threading.get_ident()


_scribes: list[Scribe] = []


def the_scribe() -> Scribe:
    """The scribe of this process; a pool process that was forked has its parent's."""
    if not _scribes:
        _scribes.append(Scribe(Path(os.environ[SPEC])))
    return _scribes[0]
