"""Orders in which messages are delivered, duplicated, held and lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ..errors import NoSuchMessage, hide_frames
from ..harness import Harness
from .spelling import show_lines

__all__ = ["DeliverySchedule", "delivery_schedules", "duplicate_one", "redeliver_one"]

__tracebackhide__ = hide_frames

#: A step: its verb, and its number (of a message or of a queue, in the order of their publishing; of seconds).
Step = tuple[str, int]


def duplicate_one(harness: Harness, number: int) -> int | None:
    """Duplicate one of the messages; its place in the outbox, or None where there is none."""
    return _to_one(harness, harness.broker.duplicate, number, among=range(len(harness.outbox)))


def redeliver_one(harness: Harness, number: int) -> int | None:
    """Redeliver one of the messages that were delivered before; its place in the outbox, or None."""
    delivered = {event.id for event in harness.timeline if event.kind == "deliver"}
    among = [index for index, message in enumerate(harness.outbox) if message.id in delivered]
    return _to_one(harness, harness.broker.redeliver, number, among=among)


def _to_one(
    harness: Harness, verb: Callable[[Any], None], number: int, *, among: Sequence[int]
) -> int | None:  # fmt: skip
    if not among:
        return None
    index = among[number % len(among)]
    try:
        verb(harness.outbox[index])
    except NoSuchMessage:
        return None  # it was in no queue: performed, or lost on its way there
    return index


class DeliverySchedule:
    """An order of steps; :meth:`apply` takes them.

    A step is about whatever was published when its turn comes, and is left out where there is nothing of the kind.

    Attributes:
        steps: Pairs of a verb and a number.
    """

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        """Nothing has happened yet."""
        self.steps = tuple(steps)

    def apply(self, harness: Harness) -> list[str]:
        """Take the steps, and release what is still held.

        Hypothesis prints what was done, with the example that fails.

        Returns:
            The lines of Python that do the same.
        """
        applied = _Applied(harness)
        try:
            for verb, number in self.steps:
                getattr(applied, verb)(number)
            for queue in list(applied.held):
                applied.do("release", queue)
        finally:
            show_lines(applied.lines)
        return applied.lines

    def __repr__(self) -> str:
        """As ``DeliverySchedule([('step', 0), ('duplicate', 1)])``."""
        return f"DeliverySchedule({list(self.steps)})"


class _Applied:
    """One schedule on one harness; each verb takes the step's number."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.held: list[str] = []
        self.lines: list[str] = []

    def step(self, _: int) -> None:
        self.lines.append("harness.step()")
        self.harness.step()

    def drain(self, _: int) -> None:
        self.lines.append("harness.drain()")
        self.harness.drain()

    def advance(self, seconds: int) -> None:
        self.lines.append(f"harness.clock.advance(seconds={seconds})")
        self.harness.clock.advance(seconds=seconds)

    def duplicate(self, number: int) -> None:
        self._about("duplicate", duplicate_one(self.harness, number))

    def redeliver(self, number: int) -> None:
        self._about("redeliver", redeliver_one(self.harness, number))

    def _about(self, verb: str, index: int | None) -> None:
        if index is not None:
            self.lines.append(f"harness.broker.{verb}(harness.outbox[{index}])")

    def hold(self, number: int) -> None:
        free = [queue for queue in self._queues() if queue not in self.held]
        if free:
            self.do("hold", free[number % len(free)])

    def release(self, number: int) -> None:
        if self.held:
            self.do("release", self.held[number % len(self.held)])

    def do(self, verb: str, queue: str) -> None:
        self.lines.append(f"harness.broker.{verb}({queue!r})")
        getattr(self.harness.broker, verb)(queue)
        (self.held.append if verb == "hold" else self.held.remove)(queue)

    def _queues(self) -> list[str]:
        return list(dict.fromkeys(message.queue for message in self.harness.outbox))


def delivery_schedules(*, max_size: int = 10, max_seconds: int = 86_400) -> st.SearchStrategy[DeliverySchedule]:
    """Orders of steps of the worker, passing time, duplicates, redeliveries, and queues that are held and released.

    Args:
        max_size: How many steps a schedule has at most.
        max_seconds: How much time passes at most in one of them.
    """
    number = st.integers(0, max(max_size, 1))
    steps = [st.tuples(st.just(verb), st.just(0)) for verb in ("step", "drain")]
    steps += [st.tuples(st.just(verb), number) for verb in ("duplicate", "redeliver", "hold", "release")]
    steps.append(st.tuples(st.just("advance"), seconds_up_to(max_seconds)))
    return st.lists(st.one_of(steps), max_size=max_size).map(DeliverySchedule)


def seconds_up_to(limit: int) -> st.SearchStrategy[int]:
    """Seconds, minutes and hours, and any number between."""
    round_ones = [seconds for seconds in (1, 60, 3600) if seconds <= limit]
    return st.sampled_from(round_ones) | st.integers(1, limit) if round_ones else st.just(limit)
