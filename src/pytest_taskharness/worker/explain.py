"""Says why nothing happens any more, or why it never ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..timeline import Run, short_id
from ..timeline.announced import announced
from ..timeline.table import offset
from ..wording import did_you_mean

if TYPE_CHECKING:
    from .bodies.pool import Execution
    from .world import World

__all__ = [
    "attended_by_body",
    "deadlock",
    "endless_body",
    "generations",
    "nobody_notifies",
    "run_budget",
    "time_budget",
    "unhandled",
]

#: How many runs, or links of a retry chain, are shown before the rest is only counted.
SHOWN = 10


def deadlock(world: World, waiting_for: Iterable[str]) -> str:
    """Who waits for what, where that is, and which queue has no consumer."""
    waiting_for = list(waiting_for)
    queued = _queued(world)
    blocked = {execution.task_id for _, execution in world.stack}
    unfinished = [run.id for run in world.timeline.runs() if not run.finished]
    ids = [task_id for task_id in dict.fromkeys([*waiting_for, *unfinished]) if task_id not in blocked]
    count = len(ids) + len(blocked)
    unfinished_runs = f", but {count} run{'s are' if count != 1 else ' is'} not finished" if count else ""
    lines = [f"nothing can happen any more{unfinished_runs}"]
    lines += _blocked(world)
    for task_id in ids[:SHOWN]:
        lines += _standing(world, task_id, queued)
    if len(ids) > SHOWN:
        lines.append(f"  … and {len(ids) - SHOWN} more")
    return "\n".join([*lines, *_beats(world)])


def sleeping(world: World) -> str:
    """Why a test that sleeps and looks, and sleeps again, would do so for ever."""
    return (
        f"the test sleeps again and again, and {deadlock(world, [])}\n"
        f"Does it wait for a task that was sent to another broker? This worker's app is {world.app.main!r}. Give the "
        "task's app the same broker_url and result_backend (celery_config), or a worker of its own (start_worker(app))."
    )


def attended_by_body(task: str) -> str:
    """Why a body cannot have ``background()``."""
    return (
        f"{task} opens background() in its body. Its worker is busy with that body, so that a thread could do nothing "
        "before it has ended. Open the block in the test, around whatever waits."
    )


def nobody_notifies(world: World) -> str:
    """Why a wait of the standard library would last for ever."""
    return (
        "the test waits without a timeout (Event.wait, Queue.get, Future.result, …), and neither a task nor another "
        f"thread is there to end that: {deadlock(world, [])}{_failures(world)}{_left_alone(world)}"
    )


def _left_alone(world: World) -> str:
    """What would be due later, where nobody moves the clock."""
    due = world.next_due()
    if due is None:
        return ""
    at = offset(world.timeline.start, due)
    return f"\n  the next item is due at {at}, and background(jumps=False) leaves the clock to the test"


def _failures(world: World) -> str:
    """The bodies that may have been about to end it."""
    failed = [run for run in world.timeline.runs() if run.state == "FAILURE"]
    return "".join(f"\n  {run.task} {short_id(run.id)}  FAILURE: {run.error!r}" for run in failed[:SHOWN])


def _beats(world: World) -> list[str]:
    """What publishes by itself goes on for ever: nobody waits for what it may send some day."""
    names = ", ".join(source.name for source in world.sources)
    if not names:
        return []
    return [
        (
            f"  {names} goes on for ever, and a beat alone is not waited for: say how long, by result.get(timeout=…) "
            "or harness.clock.advance(…)"
        )
    ]


def _blocked(world: World) -> list[str]:
    """The bodies that wait, where some do: the outer end of the knot."""
    return [
        f"  {body.task_name} {short_id(body.task_id)}  STARTED on {body.node.name}, {_in_body(body)}"
        for _, body in world.stack
    ]


def _in_body(execution: Execution) -> str:
    if execution.held:
        return "held in the beginning of its body by hold_in(): call release(), or leave its with block"
    waiting_for = ", ".join(map(short_id, execution.waiting_for)) or "its own body"
    return f"blocked in result.get() and waiting for {waiting_for}"


def _standing(world: World, task_id: str, queued: dict[str, str]) -> list[str]:
    run = world.timeline.run(task_id)
    if run is None:
        nothing = f"  {task_id}  PENDING: nothing was published under this id"
        return _to_come(world, task_id) or [nothing, *_guesses(world)]
    standing = f"  {run.task} {short_id(run.id)}  {run.state}{_where(world, run, queued)}"
    return [standing, *_no_consumer(world, queued.get(task_id))]


def _to_come(world: World, task_id: str) -> list[str]:
    """What Celery publishes when something else has ended: a link, or the body of a chord."""
    told = [each for message in world.timeline.messages() for each in announced(message) if each.id == task_id]
    if not told or world.app.backend.lost_chords:
        return []
    before = [Run(world.timeline, each) for each in dict.fromkeys(each.message.id for each in told)]
    states = [f"{run.task} {short_id(run.id)} ({run.state})" for run in before if run.state != "SUCCESS"]
    if not states:
        return []
    more = [f"and {len(states) - SHOWN} more"] if len(states) > SHOWN else []
    return [
        f"  {told[0].task} {short_id(task_id)}  PENDING, not published yet: {told[0].after} has not succeeded",
        f"    {', '.join([*states[:SHOWN], *more])}",
    ]


def _guesses(world: World) -> list[str]:
    lost = [
        f"    the body of a chord? The parts of {short_id(group_id)} expired at {offset(world.timeline.start, at)}, "
        f"before the last one was there (result_expires is {_expires(world)})"
        for group_id, at in world.app.backend.lost_chords.items()
    ]
    return lost or [
        "    a result of another app, of an earlier test, or of a task that something else has yet to send?"
    ]


def _where(world: World, run: Run, queued: dict[str, str]) -> str:
    if run.id in queued:
        return f" in queue {queued[run.id]!r}"
    outcome = run.attempts[-1].outcome if run.attempts else None
    poison = next((event for event in world.timeline.of(run.id) if event.kind == "poison"), None)
    reasons = [
        (poison is not None, f", no worker could take it: {poison.detail.get('note') if poison else ''}"),
        (run.finished and outcome == "IGNORED", ", ended by Ignore: no result will ever be stored"),
        (run.finished and outcome == "REJECTED", ", rejected its message: no result will ever be stored"),
        (run.finished and _expired(world, run), _expired(world, run)),
        (run.finished, ", but the result backend keeps no result of it (ignore_result?)"),
        (bool(_dropped(world, run)), f", dropped by the broker: {_dropped(world, run)}"),
        (any(event.kind == "expire" for event in world.timeline.of(run.id)), ", expired in its queue"),
        (any(event.detail.get("dropped") for event in world.timeline.of(run.id)), ", dropped from its queue"),
        (any(event.detail.get("unknown") for event in world.timeline.of(run.id)), ", publishing it raised an error"),
        (bool(run.attempts) and outcome is None, f", died on {run.worker}"),
    ]
    return next((text for holds, text in reasons if holds), _held(world, run))


def _dropped(world: World, run: Run) -> str:
    return next((event.detail["note"] for event in world.timeline.of(run.id) if event.kind == "drop"), "")


def _expired(world: World, run: Run) -> str:
    at = world.app.backend.expired_at(run.id)
    if at is None:
        return ""
    return f", but its result expired at {offset(world.timeline.start, at)} (result_expires is {_expires(world)})"


def _expires(world: World) -> str:
    expires = world.app.conf.result_expires
    return str(expires) if isinstance(expires, timedelta) else f"{expires} s"


def _has_reserved(node: Any, run: Run) -> bool:
    """A process of its own does not show what it has."""
    return any(each.task_id == run.id for each in getattr(node, "waiting", ()))


def _held(world: World, run: Run) -> str:
    if world.broker.is_out:
        return ", and nobody can reach the broker: end the outage (leave its with block)"
    name = next((event.worker for event in reversed(world.timeline.of(run.id)) if event.kind == "receive"), None)
    nodes = [node for node in world.nodes if node.name == name]
    if any(node.alive and node.paused for node in nodes):
        return f", held by {name}, which is paused: call resume()"
    reserving = next((node for node in nodes if _has_reserved(node, run)), None)
    if reserving is not None:
        return f", reserved by {name}, but {_excuse(reserving)}"
    if name is None:
        return ", with no worker and in no queue that is known: expired, a dead letter, or no queue was bound for it"
    if any(node.alive for node in nodes):
        return ", held by a worker that does not go on"
    due = world.broker.restore_due()
    taken = f": a worker that lives would take it back at {offset(world.timeline.start, due)}" if due else ""
    return f", held by {name}, which is dead{taken}"


def _no_consumer(world: World, queue: str | None) -> list[str]:
    if queue is None:
        return []
    if world.broker.is_out:
        return ["    nobody can reach the broker: end the outage (leave its with block)"]
    if queue in world.broker.on_hold:
        return [f"    queue {queue!r} is held: call harness.broker.release({queue!r})"]
    workers = [node for node in world.nodes if node.alive]
    consuming = [node for node in workers if queue in node.queues()]
    if not consuming:
        known = "; ".join(f"{node.name}: {', '.join(node.queues())}" for node in workers) or "no worker is alive"
        world.broker.reported.add(queue)
        meant = did_you_mean(queue, [name for node in workers for name in node.queues()])
        return [f"    no worker consumes {queue!r} ({known}).{meant}"]
    return [f"    {node.name} consumes {queue!r}, but {_excuse(node)}" for node in consuming]


def _excuse(node: Any) -> str:
    if node.paused:
        return "it is paused: call resume()"
    if len(node.running) >= node.concurrency:
        return f"all its {node.concurrency} slots are taken by bodies that wait"
    return "its prefetch limit is reached by messages that it holds"


def _queued(world: World) -> dict[str, str]:
    """The queue that each waiting task id is in."""
    return {
        message.headers["id"]: queue
        for queue in world.broker.queues
        for message in world.broker.peek(queue)
        if "id" in message.headers
    }


def unhandled(worker: str, task: str | None, error: Exception) -> str:
    """What Celery does not expect of a message."""
    return (
        f"the worker {worker!r} has ended, and the test has not asked for that: handling a message of "
        f"{task or 'no task'} raised {type(error).__name__}: {error}, outside of any body (the traceback is above).\n"
        "In production a worker ends of that too, or takes the same message again and again.\n"
        "To fix this, mend what publishes such messages, or the strategy or the Request class of your own that raises."
    )


def run_budget(world: World, max_runs: int, *, verb: str = "settle()") -> str:
    """``settle()`` ran and ran."""
    return (
        f"{verb} started {max_runs} task bodies (max_runs) and there is still work.\n{_busiest(world)}\n"
        f"{_ending(world)}, or raise the budget: {_WAYS.get(verb, 'settle(max_runs=…)')}.{_beats_on(world)}"
    )


def _ending(world: World) -> str:
    """How the run with the most attempts would come to an end."""
    runs = world.timeline.runs()
    run = max(runs, key=lambda run: len(run.attempts), default=None)
    events = [] if run is None else world.timeline.of(run.id)
    restored = [event for event in events if event.kind == "restore"]
    if run is None or len(restored) <= len(run.retry_delays):
        return "To fix this, end the retries (max_retries, or a mocked dependency that recovers)"
    return (
        f"  its message was delivered again {len(restored)} times: {restored[-1].detail.get('note', '')}\n"
        "To fix this, let the body end within that time or without acks_late, or name a longer time in the marker"
    )


#: What else there is to do about a budget.
_WAYS = {"background()": "background(max_runs=…); or leave the clock to the test: background(jumps=False)"}


def _beats_on(world: World) -> str:
    if not world.sources:
        return ""
    return " A beat runs: where its tasks take longer than its schedule, look at a window of time, by clock.advance()."


def endless_call(world: World, task_id: str, limit: int) -> str:
    """In eager mode a call goes on until the task has ended, and this one does not."""
    return (
        f"this call's task was retried {limit} times and has not ended: in eager mode a call follows the retries.\n"
        f"{_busiest(world, task_id)}\n"
        "To fix this, end the retries (max_retries, or a mocked dependency that recovers)."
    )


def endless_body(task: str, task_id: str, limit: int, *, line: int) -> str:
    """A body loops and loops."""
    return (
        f"{task} {short_id(task_id)} has run {limit:,} lines of its body in one run, and has not ended; it is at line "
        f"{line}.\nTo fix this, let the loop come to its end whatever it finds, or give it less to do in this test."
    )


def time_budget(world: World, max_time: timedelta | None, due: datetime, *, verb: str = "settle") -> str:
    """``settle(max_time=…)`` has work left."""
    return (
        f"{verb}(max_time={max_time}) still has work: the next item is due at {offset(world.timeline.start, due)}.\n"
        f"{_busiest(world)}\n"
        "To fix this, give it more time, use clock.advance() to look at a window of time, or end the retries."
    )


def generations(world: World, task_id: str, limit: int) -> str:
    """Tasks that go on publishing each other without any time passing."""
    return (
        f"{limit} messages have published one another and no virtual time has passed: this never ends.\n"
        f"{_busiest(world, task_id)}\n"
        "To fix this, give the retry a countdown, or end the recursion."
    )


def _busiest(world: World, task_id: str | None = None) -> str:
    runs = world.timeline.runs()
    run = world.timeline.run(task_id) if task_id else max(runs, key=lambda run: len(run.attempts), default=None)
    if run is None:
        return "  nothing has run"
    attempts, start = run.attempts, world.timeline.start
    counted = f"{len(attempts)} attempt{'s' * (len(attempts) != 1)}, {len(runs)} run{'s' * (len(runs) != 1)} in all"
    lines = [f"  {run.task} {short_id(run.id)}: {counted}"]
    for attempt in attempts[:3] + attempts[-3:] if len(attempts) > 6 else attempts:
        error = f" {attempt.error!r}" if attempt.error else ""
        again = " (redelivered)" if attempt.redelivered else ""
        lines.append(f"    {attempt.number}. {offset(start, attempt.started_at)}  {attempt.outcome}{error}{again}")
    if len(attempts) > 6:
        lines.insert(4, f"    … {len(attempts) - 6} more")
    if run.retry_delays:
        lines.append(f"    retry delays: {run.retry_delays[:SHOWN]}")
    return "\n".join(lines)
