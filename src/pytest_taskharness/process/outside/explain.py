"""Says what a real worker is at, what it waits for, and how it died."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from ...errors import RunBudgetExceeded
from ...timeline import short_id
from ...timeline.table import offset
from ...worker.explain import deadlock as deadlock_of_tasks
from ...worker.explain import run_budget
from ..between.faketime import find_library
from .held import Delivery

if TYPE_CHECKING:
    from .node import WorkerProcess
    from .quiescence import Due, Limit
    from .world import ProcessWorld

__all__ = ["deadlock", "death", "due_too_late", "needs_faketime", "out_of_runs", "out_of_time", "standing"]

#: How many deliveries are shown before the rest is only counted.
SHOWN = 10


def needs_faketime(what: str) -> str:
    """A verb of virtual time, and workers that live in real time."""
    if find_library() is not None:
        return f"{what} needs virtual time, and this harness was opened with clock='real'. Leave that out."
    return (
        f"{what} needs virtual time; the worker is a real process here, with a real clock. Either "
        "install the extra that moves real processes through time,\n"
        "    pip install 'pytest-taskharness[faketime]'\n"
        "or run this test with mode='memory', 'fakeredis' or 'redis', whose clock is virtual."
    )


def deadlock(world: ProcessWorld, waiting_for: Iterable[str]) -> str:
    """Who waits for what; what a beat may publish some day is nothing to wait for."""
    text = deadlock_of_tasks(cast("Any", world), waiting_for) + _timeless(world)
    beats = [beat.worker for beat in world.beats.of({node.name for node in world.nodes if node.goes_on})]
    if not beats:
        return text
    return (
        f"{text}\n  the beat of {', '.join(beats)} goes on for ever, and a beat alone is not waited for: say how long, "
        "by result.get(timeout=…) or harness.clock.advance(…)"
    )


def _timeless(world: ProcessWorld) -> str:
    queues = world.broker.stands_still() if hasattr(world.broker, "stands_still") else []  # a Redis has no such
    if not queues:
        return ""
    return (
        f"\n  an x-message-ttl does not pass on a virtual clock here ({', '.join(queues)}): run what waits for one "
        "with mode='memory' or 'rabbitmq'"
    )


def due_too_late(world: ProcessWorld, due: Due, limit: Limit) -> str:
    """There is something to wait for, and it is too far away to wait for in real time."""
    return (
        f"{limit.verb} would have to wait in real time until {_when(world, due.at)}, and waits for {limit.seconds:g} s "
        f"at most. Due then: {due.what}.\n{needs_faketime('To jump there')}"
    )


def out_of_time(world: ProcessWorld, limit: Limit) -> Exception:
    """A verb has waited long enough."""
    text = (
        f"{limit.verb} has waited for {limit.seconds:g} real seconds, and there is still something to do.\n"
        f"{standing(world)}\n"
        f"To fix this, {world.way_out}."
    )
    return RunBudgetExceeded("\n".join([text, *_logs(world)]))


def out_of_runs(world: ProcessWorld, limit: Limit) -> str:
    """Bodies start and start."""
    return run_budget(cast("Any", world), limit.max_runs, verb=limit.verb)


def standing(world: ProcessWorld) -> str:
    """What was counted, what workers have, and what waits for one."""
    counts = world.ledger.counts
    told = ", ".join(f"{name} {counts[name]}" for name in ("published", "delivered", "started", "finished"))
    lines = [f"counted: {told}"]
    deliveries = world.ledger.deliveries()
    lines += [_delivery(world, each) for each in deliveries[:SHOWN]]
    if len(deliveries) > SHOWN:
        lines.append(f"  … and {len(deliveries) - SHOWN} more")
    return "\n".join([*lines, *_queues(world), *map(_worker, world.nodes), *_beats(world)])


def _delivery(world: ProcessWorld, delivery: Delivery) -> str:
    name = f"  {delivery.task} {short_id(delivery.id)}"
    sleep = next((sleep for sleep in world.ledger.sleeps() if sleep.delivery is delivery), None)
    if sleep is not None:
        waits = f"waits for {', '.join(map(short_id, sleep.awaits))}" if sleep.awaits else "sleeps"
        until = "" if sleep.until is None else f" until {_when(world, sleep.until)}"
        return f"{name}  {waits} on {delivery.worker}{until}"
    if delivery.started is not None and not delivery.done:
        seconds = (world.time.now - delivery.started["at"]).total_seconds()
        return f"{name}  running on {delivery.worker}" + (f" for {seconds:.1f} s" if seconds else "")
    if delivery.is_running:
        return f"{name}  waiting for a free process of the pool of {delivery.worker}"
    if delivery.is_held and delivery.due is not None:
        return f"{name}  held by {delivery.worker}, due at {_when(world, delivery.due)}"
    state = "not acknowledged" if delivery.done else "received, not started"
    return f"{name}  {state} on {delivery.worker}"


def _queues(world: ProcessWorld) -> list[str]:
    consumed = {queue for node in world.nodes if node.alive for queue in node.queues()}
    return [
        f"  in queue {queue!r}: {number}" + ("" if queue in consumed else ", and no worker consumes it")
        for queue, number in world.census().waiting.items()
        if number
    ]


def _worker(node: WorkerProcess) -> str:
    state = "paused" if node.paused else "alive" if node.alive else node.ending()
    return f"  worker {node.name} (process {node.pid}): {state}"


def _beats(world: ProcessWorld) -> list[str]:
    return [
        f"  the beat of {beat.worker}: {'awake' if beat.until is None else f'sleeps until {_when(world, beat.until)}'}"
        for beat in world.beats.of({node.name for node in world.nodes})
    ]


def _when(world: ProcessWorld, moment: datetime) -> str:
    return f"{offset(world.timeline.start, moment)} ({moment.isoformat()})"


def _logs(world: ProcessWorld) -> list[str]:
    return [f"Worker {node.name!r}. {node.log_section()}" for node in world.nodes]


def death(node: WorkerProcess, held: Iterable[Delivery]) -> str:
    """A worker has ended, and the test has not asked for it."""
    had = ", ".join(f"{each.task} {short_id(each.id)}" for each in held) or "nothing"
    return (
        f"the worker {node.name!r} (process {node.pid}) {node.ending()}, and the test has not asked for that. "
        f"It had in its hands: {had}.\n{node.log_section()}"
    )
