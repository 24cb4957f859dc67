"""What is still to be done, by counting: published, delivered, handed to the pool, done, settled.

Silence says nothing about a real worker.  What counts is read from the journal, and from the queues themselves, which
nobody can write to without being seen there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from .held import Delivery, Record, Sleep

__all__ = ["Ledger"]

#: A task that another one waits for has ended.
FINAL_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class Ledger:
    """The counts of one world.

    Attributes:
        queues: The names of the queues that workers have published to.
        closed: The tags of what was dealt with.
        counts: How often each thing has happened that a text may want to tell.
        news: How many records there were that say more than that a worker is still there.
    """

    def __init__(self) -> None:
        """Nothing was published."""
        self.queues: dict[str, None] = {}
        self.closed: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.news = 0
        self._open: list[Delivery] = []
        self._coming: Counter[str] = Counter()
        #: The tags of what was held by workers that are gone.
        self._abandoned: set[str] = set()
        #: The ids of the tasks whose result is final.
        self._ended: set[str] = set()
        #: By worker and bed.
        self._sleeps: dict[tuple[str, str, str], Sleep] = {}

    # -- what is written down

    def published(self, task_id: str) -> None:
        """A message is in a queue."""
        self._coming[task_id] += 1
        self.counts["published"] += 1

    def taken_out(self, task_id: str) -> None:
        """The test has taken a message out of its queue."""
        self._coming[task_id] -= 1

    def take(self, record: Record) -> None:
        """Count one record of a journal."""
        name = record.get("kind") or record["note"]
        self.news += name != "mark"
        handle = getattr(self, f"_on_{name}", None)
        if handle is not None:
            handle(record)

    def _on_publish(self, record: Record) -> None:
        detail = record["detail"]
        if not detail.get("unknown"):
            self.published(record["id"])
        if "exchange" not in detail["options"]:
            self.queues[detail["queue"]] = None

    def _on_deliver(self, record: Record) -> None:
        self.counts["delivered"] += 1
        task_id, detail = record["id"], record["detail"]
        expected = not (detail["redelivered"] or detail.get("performed"))
        # What comes again and was not seen to be put back was never counted as coming.
        # And the journal of another worker, which has published it, may be read a moment later: below zero for so long.
        if self._coming[task_id] > 0 or expected:
            self._coming[task_id] -= 1
        self._open.append(Delivery(
            record["task"], task_id, record["worker"], record["tag"], detail["queue"], since=record["at"],
            receiver=record["stream"],
        ))  # fmt: skip

    def _on_receive(self, record: Record) -> None:
        for delivery in self._first(record, lambda each: not each.received):
            delivery.received = True
            delivery.due, delivery.acks_late = record["about"]["eta"], record["about"]["acks_late"]

    def _on_limited(self, record: Record) -> None:
        for delivery in self._open:
            waits = delivery.execution is None and delivery.tag in record["about"]["tags"]
            if waits and delivery.worker == record["worker"]:
                delivery.due = record["about"]["due"]

    def _on_collected(self, record: Record) -> None:
        """A strategy keeps them, until its timer goes off; or until more come, which nothing can be expected of."""
        for delivery in self._open:
            keeps = delivery.execution is None and delivery.tag in record["about"]["tags"]
            if keeps and delivery.worker == record["worker"]:
                delivery.received, delivery.due = True, record["about"]["due"] or delivery.due
                delivery.is_stuck = delivery.due is None

    def _on_handed(self, record: Record) -> None:
        for delivery in self._first(record, lambda each: each.received and each.execution is None):
            delivery.is_stuck = False
            delivery.execution, delivery.limits = record["about"]["execution"], tuple(record["about"]["limits"])

    def _on_start(self, record: Record) -> None:
        self.counts["started"] += 1
        for delivery in self._of(record["detail"]["execution"]):
            delivery.started = record
            delivery.strikes = tuple(record["at"] + timedelta(seconds=limit) for limit in delivery.limits)

    def _on_sleeps(self, record: Record) -> None:
        about = record["about"]
        for delivery in self._of(about["execution"]):
            sleep = Sleep(delivery, about["bed"], about["since"], about["until"], tuple(about["awaits"]))
            self._sleeps[record["worker"], sleep.bed, about["execution"]] = sleep

    def _on_wakes(self, record: Record) -> None:
        about = record["about"]
        self._sleeps.pop((record["worker"], about["bed"], about["execution"]), None)

    def _on_done(self, record: Record) -> None:
        self.counts["finished"] += 1
        for delivery in self._of(record["about"]["execution"]):
            delivery.done = True
            self._forget_sleeps({delivery})
            self._close(delivery)

    def _on_refusing(self, record: Record) -> None:
        for delivery in self._first(record, lambda each: not each.received):
            delivery.received, delivery.execution = True, "refused"

    def _on_refused(self, record: Record) -> None:
        for delivery in self._first(record, lambda each: each.execution == "refused" and not each.done):
            delivery.done = True
            self._close(delivery)

    def _on_store(self, record: Record) -> None:
        self.counts["stored"] += 1
        if record["detail"].get("state") in FINAL_STATES:
            self._ended.add(record["id"])

    def _on_ack(self, record: Record) -> None:
        # Of several deliveries of one message: the one that has come so far.
        found = (
            self._first(record, lambda each: not each.settled and (each.done or not each.acks_late))
            or self._first(record, lambda each: not each.settled)
        )  # fmt: skip
        for delivery in found:
            delivery.settled = True
            self._close(delivery)

    def _on_restore(self, record: Record) -> None:
        self._coming[record["id"]] += 1

    def _on_reject(self, record: Record) -> None:
        if record["detail"]["requeue"]:
            self._coming[record["id"]] += 1
        self._on_ack(record)

    def _close(self, delivery: Delivery) -> None:
        if delivery.is_closed:
            self.closed.add(delivery.tag)
            self._open.remove(delivery)

    def _first(self, record: Record, fits: Callable[[Delivery], bool]) -> list[Delivery]:
        """The oldest delivery of the message that a record is about, if there is one."""
        return [
            each for each in self._open
            if (each.worker, each.tag) == (record["worker"], record["tag"]) and fits(each)
        ][:1]  # fmt: skip

    def _of(self, execution: str) -> list[Delivery]:
        return [each for each in self._open if each.execution == execution]

    def _forget_sleeps(self, deliveries: set[Delivery]) -> None:
        """Who was killed in his sleep does not wake."""
        self._sleeps = {key: sleep for key, sleep in self._sleeps.items() if sleep.delivery not in deliveries}

    def left(self, worker: str) -> list[Delivery]:
        """A worker has gone, and will do nothing about what it held: it is no longer here."""
        gone = self.deliveries(worker)
        self._open = [each for each in self._open if each not in gone]
        self._forget_sleeps(set(gone))
        self._abandoned.update(delivery.tag for delivery in gone)
        return gone

    def returned(self, delivery: Delivery) -> None:
        """What a worker that is gone had held is in its queue again."""
        elsewhere = any(each.tag == delivery.tag for each in self._open)
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
        return {each.tag for each in self._open} | self._abandoned

    @property
    def coming(self) -> int:
        """How many messages are in a queue, or on their way from there to a worker."""
        return sum(count for count in self._coming.values() if count > 0)

    def coming_by_id(self) -> Counter[str | None]:
        """How many of them each task has."""
        return Counter({task_id: count for task_id, count in self._coming.items() if count > 0})

    def deliveries(self, worker: str | None = None) -> list[Delivery]:
        """What workers hold, or one worker."""
        return [each for each in self._open if worker in {None, each.worker}]

    def held(self) -> list[Delivery]:
        """What waits for its time."""
        return [each for each in self._open if each.is_held]

    def sleeps(self) -> list[Sleep]:
        """The bodies that sleep by the test's clock."""
        return list(self._sleeps.values())

    def asleep(self, now: datetime) -> list[Delivery]:
        """Those that nothing wakes now."""
        return [sleep.delivery for sleep in self._sleeps.values() if self._is_sound(sleep, now)]

    def _is_sound(self, sleep: Sleep, now: datetime) -> bool:
        has_all = bool(sleep.awaits) and self._ended.issuperset(sleep.awaits)
        return not has_all and all(end > now for end in sleep.ends())

    def busy(self, now: datetime, *, slots: Mapping[str, int]) -> list[Delivery]:
        """What has to be done something about now.

        Args:
            now: What time it is.
            slots: How many bodies may run at the same time on each worker of whom something is to be expected.
        """
        asleep = self.asleep(now)
        taken = Counter(delivery.worker for delivery in asleep)
        full = {worker for worker, number in slots.items() if taken[worker] >= number}

        def is_expected(each: Delivery) -> bool:
            if each.worker not in slots or each.is_stuck or each.waits(now):
                return False
            if each in asleep:
                return not each.is_acknowledged_as_far_as_it_can_be
            return each.started is not None or each.done or each.worker not in full

        return [each for each in self._open if is_expected(each)]

    def lacks_only_acknowledgement(self, delivery: Delivery, now: datetime) -> bool:
        """Whether its body has ended, or sleeps."""
        return delivery.done or delivery in self.asleep(now)
