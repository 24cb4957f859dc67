"""A body that dies for real: it runs in a forked child, which ends in ``os._exit`` at its window.

Nothing unwinds there: no ``finally:``, no ``__exit__``, no ``atexit``, and a lock that was taken stays taken.  It is
for what lies outside of the process (files, databases, servers): what the body changes in memory dies with the child.
What it published and stored before is carried back to the test's own process, which goes on as the main process of a
prefork worker does.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from billiard.exceptions import WorkerLostError

from ...clock.real import Real
from ...errors import FidelityError, TaskHarnessError, WorkerDied
from ...faults import CrashWindow, Point
from ...timeline import Event
from ..ids import ids_given, resume_ids

if TYPE_CHECKING:
    from ..world import World
    from .pool import Execution

__all__ = ["Ferry", "run_forked"]

#: How long a body may take, in real seconds.
PATIENCE = 60.0
#: The exit status of a child that has told all it had to tell.
TOLD = 0


class Ferry:
    """Carries what a child published and stored back to its parent."""

    def __init__(self, broker: Any, backend: Any, *, land: Callable[[str, Any], object]) -> None:
        """``land`` takes what the child has published: into a broker of this process, or only to remember it."""
        self._broker = broker
        self._backend = backend
        self._land = land
        self._published: list[tuple[str, Any]] = []

    def cast_off(self) -> None:
        """In the child: from now on, note what is published."""
        remember = self._broker.remember

        def noted(queue: str, payload: Any) -> None:
            remember(queue, payload)
            self._published.append((queue, payload))

        self._broker.remember = noted

    def load(self) -> Any:
        """In the child: all that the parent does not have."""
        return self._published, self._backend.image()

    def unload(self, cargo: Any) -> None:
        """In the parent: take it over."""
        published, image = cargo
        for queue, payload in published:
            self._land(queue, payload)
        self._backend.restore_image(image)


@dataclass
class _Told:
    """What a child says before it ends."""

    window: CrashWindow | None
    point: Point | None
    answer: Any
    began: bool
    now: datetime
    struck: list[int]
    hidden: dict[str, Any]
    ids: Any
    cargo: Any
    events: list[Event]


def run_forked(world: World, execution: Execution, run: Callable[[], Any]) -> Any:
    """Run a body in a child, and answer what it did; where it dies, that happens here too.

    Raises:
        Killed: It has died at a window.
        WorkerLostError: It has ended its process by itself.
        WorkerDied: It went on for too long, and was killed.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12, where another thread runs
        with world.timeline._lock:  # no other thread writes into it, and leaves its lock taken in the child
            pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_the_child(world, execution, run, writer=writer)
    os.close(writer)
    try:
        told, status = _listen(reader, pid, execution)
    finally:
        os.close(reader)
    if not told:
        code = os.waitstatus_to_exitcode(status)
        raise WorkerLostError(f"Worker exited prematurely: {f'signal {-code}' if code < 0 else f'exitcode {code}'}.")
    return _go_on(world, execution, pickle.loads(told))  # noqa: S301 - from our own child


def _listen(reader: int, pid: int, execution: Execution) -> tuple[bytes, int]:
    said: list[bytes] = []
    deadline = Real.monotonic() + PATIENCE
    while select.select([reader], [], [], max(0.0, deadline - Real.monotonic()))[0]:
        data = os.read(reader, 1 << 16)
        if not data:
            return b"".join(said), os.waitpid(pid, 0)[1]
        said.append(data)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise WorkerDied(
        f"expected the forked body of {execution.task_name} to die at its window, or to end, within {PATIENCE:g} real "
        f"seconds; it did neither, and its process {pid} was killed."
    )


def _go_on(world: World, execution: Execution, told: _Told | Exception) -> Any:
    if isinstance(told, Exception):
        raise world.broke(told) if isinstance(told, TaskHarnessError) else told
    world.time.move_to(told.now)
    for fault, struck in zip(world.script.faults, told.struck, strict=True):
        fault.struck = struck
    world.recorder.hide_as(told.hidden)
    resume_ids(told.ids)
    world.ferry_or_refuse().unload(told.cargo)
    world.starts += 1
    execution.began = told.began
    for event in told.events:
        event.seq = len(world.timeline)
        world.timeline.append(event)
        if event.kind == "publish":
            world.hearing.took_over(event)
    if told.window is not None and told.point is not None:
        world.die(told.window, told.point, execution)
    return told.answer


# -- in the child


def _be_the_child(world: World, execution: Execution, run: Callable[[], Any], *, writer: int) -> NoReturn:
    status = 1
    try:
        ferry, seq = world.ferry_or_refuse(), len(world.timeline)
        ferry.cast_off()

        def tell(answer: Any = None, window: CrashWindow | None = None, point: Point | None = None) -> NoReturn:
            told = _Told(
                window, _portable(point), answer, execution.began, world.time.now,
                [fault.struck for fault in world.script.faults], world.recorder.hidden(), ids_given(), ferry.load(),
                [_portable_event(event) for event in world.timeline.events[seq:]],
            )  # fmt: skip
            _write(writer, told, execution)
            os._exit(TOLD)

        world.on_death = lambda window, point: tell(window=window, point=point)
        world.on_step = lambda: _refuse_to_step(world)
        answer = run()
        world.raise_broken()
        tell(answer)
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        _write(writer, error, execution)
        status = TOLD
    finally:
        os._exit(status)


def _write(writer: int, what: Any, execution: Execution) -> None:
    try:
        data = pickle.dumps(what)
    except Exception as error:  # noqa: BLE001 - pickle raises anything
        text = f"a forked body of {execution.task_name} has to tell its parent what it did"
        data = pickle.dumps(FidelityError(f"{text}, which cannot be pickled: {error!r}"))
    while data:
        data = data[os.write(writer, data) :]


def _refuse_to_step(world: World) -> NoReturn:
    text = (
        "a body that runs in a forked child waits for another task: the workers are in the parent, which waits for the "
        "child. Leave out forked=True."
    )
    raise world.broke(FidelityError(text))


def _portable(point: Point | None) -> Point | None:
    return None if point is None else Point(point.window, point.task, point.id, None, point.line, point.hit)


def _portable_event(event: Event) -> Event:
    for key, value in event.detail.items():
        with suppress(Exception):
            pickle.dumps(value)
            continue
        event.detail[key] = repr(value)
    return event
