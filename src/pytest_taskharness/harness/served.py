"""A harness behind Celery's own fixtures: they say when there is a worker, and when its app is the current one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import FidelityError, TaskHarnessError, hide_frames
from ..worker.borrowing.beside import are_at_one_broker
from ..worker.embedded import embed, lead
from .harness import Harness
from .layers import is_on
from .staging import Stage

__all__ = [
    "catch_up", "come_back", "end", "go_on", "has_workers", "is_on", "is_reached_from", "leave", "open_on", "serve",
    "stand_aside", "stand_back", "working",
]  # fmt: skip

__tracebackhide__ = hide_frames

#: How many steps a worker is behind at most: what publishes itself again and again never comes to an end.
MOST_STEPS = 1_000


class Served(Harness):
    """What a suite that was written for ``celery.contrib.pytest`` runs on."""

    _leads = False

    def _build(self, stage: Stage, start: datetime | None, *, seed: int, clock: str | None) -> None:
        super()._build(stage, start, seed=seed, clock=clock)
        self._workforce.is_default = False
        vars(self)["open"] = Harness.open  # its twins have workers of their own
        world = _world_of(self)
        world.on_step = world.presence.come_back
        world.before_answering = partial(catch_up, self)
        world.waits.knows_no_other = True
        world.waits.on_arrival = partial(_let_follow, world)
        world.presence.let_waits_drive()


def serve(app: Any, mode: str, *, config: Mapping[str, Any], **given: Any) -> Harness:
    """A harness without workers on an app of the suite; what the app says of eager tasks holds.

    Raises:
        FidelityError: The mode's worker is not stepped.
    """
    _check_stepped(mode)
    return Served.open(app, mode, config={"task_always_eager": app.conf.task_always_eager, **config}, **given)


def _check_stepped(mode: str) -> None:
    if mode == "eager" or mode.endswith("+process"):
        raise FidelityError(
            f"mode {mode!r} has no stepped worker that could serve celery_worker. Run this test with mode='memory', "
            "'fakeredis', 'redis' or 'rabbitmq'."
        )


def open_on(app: Any) -> Harness | None:
    """The harness that is open on this app, the innermost one; None where there is none."""
    every = reversed(Harness._never_closed)  # noqa: SLF001 - one of our own
    return next((harness for harness in every if harness.app is app), None)


def is_reached_from(harness: Harness, app: Any) -> bool:
    """Whether what this app publishes goes to the broker of the harness."""
    return not _has_ended(harness) and are_at_one_broker(app, harness.app)


@contextmanager
def working(harness: Harness, options: Mapping[str, Any]) -> Iterator[Any]:
    """While entered, a worker of these options consumes; yields Celery's own, with the harness as ``.harness``.

    Raises:
        FidelityError: Its pool cannot be stepped, or the mode's worker is not.
    """
    _check_stepped(harness.mode)
    world = _world_of(harness)
    lead(harness.app, options)
    node = embed(world, options, harness=harness)
    beat = harness.beat.start() if options.get("beat") else nullcontext()
    try:
        with beat:
            yield node.worker
    finally:
        catch_up(harness)
        for each in [] if _has_ended(harness) else list(world.nodes):
            if each.name == node.name:  # another one, where it was started anew
                world.dismiss(each)


def catch_up(harness: Harness) -> None:
    """Do what a worker in a thread would have done meanwhile; nobody has asked, so nobody is told what goes wrong."""
    world = _world_of(harness)
    if _has_ended(harness) or world.presence.is_away or world.execution_here() is not None:
        return
    with suppress(TaskHarnessError):
        any(not world.take_step() for _ in range(MOST_STEPS))


def _let_follow(world: Any, awaited: list[str]) -> None:
    """Run what the awaited tasks have published: a worker in a thread is ahead of who looks every half second."""
    if world.execution_here() is not None:
        return
    known = set(awaited)
    with suppress(TaskHarnessError):
        any(not (_has_published(world, known) and world.take_step()) for _ in range(MOST_STEPS))


def _has_published(world: Any, known: set[str]) -> bool:
    """Whether a message of theirs, or of those that these have published, waits in a queue."""
    waiting = [message.headers for queue in world.broker.queues for message in world.broker.peek(queue)]
    found = {headers["id"] for headers in waiting if known & {headers.get("parent_id"), headers.get("root_id")}}
    known |= found
    return bool(found)


def leave(harness: Harness) -> None:
    """Between two tests: the process has its own clock, also while one that has ended lies under another one."""
    if is_on(harness):
        _world_of(harness).presence.leave()


def come_back(harness: Harness) -> None:
    """In a test again."""
    if not _has_ended(harness):
        stand_back(harness)
        _world_of(harness).presence.come_back()


def go_on(harness: Harness) -> None:
    """Its test has ended, and not its worker: from now on it comes back where somebody sends a task, too."""
    if _has_ended(harness):
        return
    world = _world_of(harness)
    published = world.hearing.published

    def come_back_and_hear(event: Any) -> None:
        if not world.presence.stands_aside:
            world.presence.come_back()
        published(event)

    world.recorder.on_published = come_back_and_hear


def has_workers(harness: Harness) -> bool:
    """Whether anybody consumes."""
    return not _has_ended(harness) and bool(_world_of(harness).nodes)


def stand_aside(harness: Harness) -> None:
    """Before a test that wants none of it: whoever drives it all the same is told so."""
    if not _has_ended(harness):
        world = _world_of(harness)
        world.presence.stand_aside()
        world.on_step = partial(_refuse_to_step, world.app)


def stand_back(harness: Harness) -> None:
    """After such a test: as it was between two others; again does nothing."""
    world = _world_of(harness)
    if not _has_ended(harness) and world.presence.stands_aside:
        world.presence.stand_back()
        world.on_step = world.presence.come_back


def _refuse_to_step(app: Any) -> None:
    raise FidelityError(
        "expected nobody to wait for a stepped worker in a test with @pytest.mark.taskharness(replace=False); somebody "
        f"waits for a task of app {app.main or app!r}, which has one that lives longer than this test. Send the task "
        "by an app of the test's own, such as celery_app, or leave out the marker."
    )


def end(harness: Harness, *, passed: bool) -> None:
    """Close it; what lies in queues that nobody consumes is no news to such a suite."""
    if _has_ended(harness):
        return
    presence, broker = _world_of(harness).presence, _world_of(harness).broker
    was_away = presence.is_away
    come_back(harness)
    broker.reported.update(broker.queues)
    if not passed:
        harness.forgive()
    harness.close()
    if was_away:
        leave(harness)


def _world_of(harness: Harness) -> Any:
    return harness._world  # noqa: SLF001 - one of our own


def _has_ended(harness: Harness) -> bool:
    return harness._closed  # noqa: SLF001 - one of our own
