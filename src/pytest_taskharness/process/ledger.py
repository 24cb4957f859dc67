"""What is still to be done, by counting: published, delivered, handed to the pool, done, settled.

Silence says nothing about a real worker.  What counts is read from the journal, and from the queues themselves, which
nobody can write to without being seen there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

__all__ = ["Delivery", "Ledger", "Sleep"]

#: A task that another one waits for has ended.
FINAL_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


@dataclass(eq=False)
class Delivery:
    """One message in the hands of one worker, until it is dealt with.

    A message that is delivered again while the worker still holds it has the same tag: the counts go on.

    Attributes:
        task: The task's name.
        id: The task id.
        worker: Who holds it.
        tag: The broker's name for the message.
        queue: Where it came from.
        since: When it was delivered, or was last looked at as one to be restored.
        due: When the worker will go on with it, where it is held for an eta or a rate limit.
        acks_late: Whether it is acknowledged after the body.
    """

    task: str | None
    id: str | None
    worker: str
    tag: str
    queue: str
    since: datetime
    due: datetime | None = None
    acks_late: bool = False
    delivered: int = 1
    handed: int = 0
    started: int = 0
    done: int = 0
    settled: int = 0
    #: Who has received it, and whether it runs there too: then there is no main process as long as it runs.
    stream: Any = None
    #: Nobody will acknowledge it, although it is done.
    is_stuck: bool = False
    runs_in_main_process: bool = False
    #: After how many seconds of its body a time limit strikes, and when.
    limits: tuple[float, ...] = ()
    strikes: tuple[datetime, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether its worker has still to do something about it."""
        return self.settled < self.delivered or self.done < self.handed

    @property
    def is_running(self) -> bool:
        """Whether the pool has it."""
        return self.done < self.handed

    @property
    def bodies(self) -> int:
        """How many bodies of it run, as far as they have said so."""
        return self.started - self.done

    @property
    def is_done(self) -> bool:
        """Whether all that is left is to acknowledge it."""
        return self.done == self.handed == self.delivered

    @property
    def is_acked_as_it_will_be(self) -> bool:
        """Whether nothing is to be expected of its main process before the body has ended."""
        return self.acks_late or self.runs_in_main_process or self.settled >= self.handed

    def waits(self, now: datetime) -> bool:
        """Whether its time is yet to come."""
        return self.is_held and self.due is not None and self.due > now

    @property
    def is_held(self) -> bool:
        """Whether it waits for its time."""
        return self.due is not None and self.handed < self.delivered and not self.is_running


@dataclass(frozen=True)
class Sleep:
    """A body that sleeps by the test's clock, or waits for other tasks.

    Attributes:
        delivery: Whose it is.
        execution: Which of the bodies that may run for it.
        bed: Where to wake it.
        since: When it fell asleep.
        until: When it wants to be woken; None: not by the clock.
        awaits: The ids of the tasks that it waits for.
    """

    delivery: Delivery
    execution: str
    bed: str
    since: datetime
    until: datetime | None
    awaits: tuple[str, ...]

    def ends(self) -> list[datetime]:
        """When something will wake it: its time, or a time limit."""
        own = [] if self.until is None else [self.until]
        return [*own, *(strike for strike in self.delivery.strikes if strike > self.since)]


class Ledger:
    """The counts of one world."""

    def __init__(self) -> None:
        """Nothing was published."""
        self._open: dict[tuple[str, str], Delivery] = {}
        self._coming: Counter[str] = Counter()
        #: The tags of what was held by workers that are gone.
        self._abandoned: set[str] = set()
        #: The names of the queues that workers have published to.
        self.queues: dict[str, None] = {}
        #: The tags of what was dealt with.
        self.closed: set[str] = set()
        #: How often each thing has happened that a text may want to tell.
        self.counts: Counter[str] = Counter()
        #: How many records there were that say more than that a worker is still there.
        self.news = 0
        #: The ids of the tasks whose result is final.
        self._ended: set[str] = set()
        #: By worker and bed.
        self._sleeps: dict[tuple[str, str], Sleep] = {}
        #: What the pools run, by task id: the records of the starts.
        self.running: dict[str, dict[str, Any]] = {}

    # -- what is written down

    def published(self, task_id: str) -> None:
        """A message is in a queue."""
        self._coming[task_id] += 1
        self.counts["published"] += 1

    def take(self, record: dict[str, Any]) -> None:
        """Count one record of a journal."""
        name = record.get("kind") or record["note"]
        self.news += name != "mark"
        handle = getattr(self, f"_on_{name}", None)
        if handle is not None:
            handle(record)

    def _on_publish(self, record: dict[str, Any]) -> None:
        detail = record["detail"]
        if not detail.get("unknown"):
            self.published(record["id"])
        if "exchange" not in detail["options"]:
            self.queues[detail["queue"]] = None

    def _on_deliver(self, record: dict[str, Any]) -> None:
        self.counts["delivered"] += 1
        task_id, redelivered = record["id"], record["detail"]["redelivered"]
        # What comes again and was not seen to be put back was never counted as coming.
        # And the journal of another worker, which has published it, may be read a moment later: below zero for so long.
        expected = not (redelivered or record["detail"].get("performed"))
        if self._coming[task_id] > 0 or expected:
            self._coming[task_id] -= 1
        key = record["worker"], record["tag"]
        if key in self._open:
            self._open[key].delivered += 1
            self._open[key].due = None
        else:
            queue = record["detail"]["queue"]
            self._open[key] = Delivery(
                record["task"], task_id, *key, queue=queue, since=record["at"], stream=record["stream"]
            )  # fmt: skip

    def _on_receive(self, record: dict[str, Any]) -> None:
        delivery = self._of(record)
        if delivery is not None:
            delivery.due, delivery.acks_late = record["about"]["eta"], record["about"]["acks_late"]

    def _on_limited(self, record: dict[str, Any]) -> None:
        for tag in record["about"]["tags"]:
            delivery = self._open.get((record["worker"], tag))
            if delivery is not None:
                delivery.due = record["about"]["due"]

    def _on_handed(self, record: dict[str, Any]) -> None:
        delivery = self._of(record)
        if delivery is not None:
            delivery.handed += 1
            delivery.due = None
            delivery.limits = tuple(record["about"]["limits"])

    def _on_start(self, record: dict[str, Any]) -> None:
        self.counts["started"] += 1
        self.running[record["id"]] = record
        delivery = self._of(record)
        if delivery is not None:
            delivery.started += 1
            delivery.runs_in_main_process = record["stream"] == delivery.stream
            delivery.strikes = tuple(record["at"] + timedelta(seconds=limit) for limit in delivery.limits)

    def _on_sleeps(self, record: dict[str, Any]) -> None:
        delivery, about = self._of(record), record["about"]
        if delivery is not None:
            self._sleeps[record["worker"], about["bed"]] = Sleep(
                delivery, about["execution"], about["bed"], since=about["since"], until=about["until"],
                awaits=tuple(about["awaits"]),
            )  # fmt: skip

    def _on_wakes(self, record: dict[str, Any]) -> None:
        self._sleeps.pop((record["worker"], record["about"]["bed"]), None)

    def _on_refusing(self, record: dict[str, Any]) -> None:
        self._settle(record, "handed")

    def _on_refused(self, record: dict[str, Any]) -> None:
        self._settle(record, "done")

    def _on_done(self, record: dict[str, Any]) -> None:
        self.counts["finished"] += 1
        self.running.pop(record["id"], None)
        self._forget_sleeps(lambda sleep: sleep.execution == record["about"]["execution"])
        self._settle(record, "done")

    def _forget_sleeps(self, concerns: Callable[[Sleep], bool]) -> None:
        """Who was killed in his sleep does not wake."""
        for key in [key for key, sleep in self._sleeps.items() if concerns(sleep)]:
            del self._sleeps[key]

    def _on_store(self, record: dict[str, Any]) -> None:
        self.counts["stored"] += 1
        if record["detail"].get("state") in FINAL_STATES:
            self._ended.add(record["id"])

    def is_sound(self, sleep: Sleep, now: datetime) -> bool:
        """Whether nothing wakes this body now."""
        has_all = bool(sleep.awaits) and self._ended.issuperset(sleep.awaits)
        return not has_all and all(end > now for end in sleep.ends())

    def _on_ack(self, record: dict[str, Any]) -> None:
        self._settle(record, "settled")

    def _on_restore(self, record: dict[str, Any]) -> None:
        self._coming[record["id"]] += 1

    def _on_reject(self, record: dict[str, Any]) -> None:
        if record["detail"]["requeue"]:
            self._coming[record["id"]] += 1
        self._settle(record, "settled")

    def _settle(self, record: dict[str, Any], what: str) -> None:
        delivery = self._of(record)
        if delivery is not None:
            setattr(delivery, what, getattr(delivery, what) + 1)
            if not delivery.is_open:
                self.closed.add(delivery.tag)
                del self._open[record["worker"], record["tag"]]

    def _of(self, record: dict[str, Any]) -> Delivery | None:
        return self._open.get((record["worker"], record["tag"]))

    def left(self, worker: str) -> list[Delivery]:
        """A worker has gone, and will do nothing about what it held: it is no longer here."""
        gone = [self._open.pop(key) for key in list(self._open) if key[0] == worker]
        self._forget_sleeps(lambda sleep: sleep.delivery.worker == worker)
        self._abandoned.update(delivery.tag for delivery in gone)
        for delivery in gone:
            self.running.pop(delivery.id or "", None)
        return gone

    def returned(self, delivery: Delivery) -> None:
        """What a worker that is gone had held is in its queue again."""
        elsewhere = any(tag == delivery.tag for _, tag in self._open)
        if delivery.id is not None and not elsewhere and delivery.tag not in self.closed:
            self._coming[delivery.id] += 1

    # -- what is asked

    @property
    def starts(self) -> int:
        """How many task bodies were started."""
        return self.counts["started"]

    @property
    def tags(self) -> set[str]:
        """The tags of all deliveries that a worker has, or had when it was gone."""
        return {tag for _, tag in self._open} | self._abandoned

    @property
    def coming(self) -> int:
        """How many messages are in a queue, or on their way from there to a worker."""
        return sum(count for count in self._coming.values() if count > 0)

    def deliveries(self, worker: str | None = None) -> list[Delivery]:
        """What workers hold, or one worker."""
        return [each for each in self._open.values() if worker in {None, each.worker}]

    def sleeps(self) -> list[Sleep]:
        """The bodies that sleep by the test's clock."""
        return list(self._sleeps.values())

    def busy(self, now: datetime, *, slots: Mapping[str, int]) -> list[Delivery]:
        """What has to be done something about now.

        Args:
            now: What time it is.
            slots: How many bodies may run at the same time on each worker of whom something is to be expected.
        """
        sound = [sleep.delivery for sleep in self._sleeps.values() if self.is_sound(sleep, now)]
        taken = Counter(delivery.worker for delivery in sound)
        asleep = [
            each for each in sound
            if each.is_acked_as_it_will_be and sound.count(each) == each.handed - each.done
        ]  # fmt: skip
        full = {worker for worker, number in slots.items() if taken[worker] >= number}
        return [
            each for each in self._open.values()
            if each.worker in slots and not each.waits(now) and each not in asleep and not each.is_stuck
            and (each.worker not in full or each.is_done or each.bodies > 0)
        ]  # fmt: skip

    def held(self) -> list[Delivery]:
        """What waits for its time."""
        return [each for each in self._open.values() if each.is_held]
