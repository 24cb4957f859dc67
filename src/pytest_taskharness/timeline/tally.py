"""Jepsen's total-queue accounting, for free on every test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .events import Event
from .runs import Run

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["Tally"]


@dataclass(frozen=True)
class Tally:
    """What became of every message.

    Attributes:
        lost: Published and gone from the broker, and yet never ended: acknowledged early by a worker that died,
            dropped, or expired in a queue.  A dead letter is not lost as long as a queue has it.
        duplicated: The body ran to its end more than once, and not because of a retry.
        unexpected: Ran although nothing that we saw was ever published under this id.
        unknown: Publishing raised, so nobody can say whether the broker has it.
    """

    lost: list[Run]
    duplicated: list[Run]
    unexpected: list[Run]
    unknown: list[Run]

    @classmethod
    def of(cls, timeline: Timeline) -> Tally:
        """Count a timeline."""
        runs = timeline.runs()
        return cls(
            lost=[run for run in runs if _is_lost(timeline.of(run.id))],
            duplicated=[run for run in runs if _is_duplicated(timeline.of(run.id))],
            unexpected=[run for run in runs if _is_unexpected(timeline.of(run.id))],
            unknown=[run for run in runs if any(event.detail.get("unknown") for event in timeline.of(run.id))],
        )


def _kinds(events: list[Event]) -> Counter[str]:
    return Counter(event.kind for event in events)


def _is_lost(events: list[Event]) -> bool:
    kinds = _kinds(events)
    if kinds["finish"] or kinds["revoke"] or kinds["poison"] or not kinds["publish"]:
        return False
    gone = kinds["ack"] + kinds["expire"] + sum(_is_dropped(event) for event in events) + _by_hand(events, "dropped")
    gone += sum(event.detail.get("gone", 0) for event in events if event.kind in {"dead letter", "drop"})
    return bool(gone >= kinds["publish"] + _by_hand(events, "copies"))


def _is_dropped(event: Event) -> bool:
    return event.kind == "reject" and not event.detail.get("requeue")


def _by_hand(events: list[Event], what: str) -> int:
    """How many messages the test itself has put into a queue (``copies``), or taken out of one (``dropped``)."""
    return sum(event.detail.get(what, 0) for event in events if event.kind == "fault")


def _is_duplicated(events: list[Event]) -> bool:
    ends = [event for event in events if event.kind == "finish" and event.detail.get("outcome") == "SUCCESS"]
    return len(ends) > 1


def _is_unexpected(events: list[Event]) -> bool:
    kinds = _kinds(events)
    direct = any(event.detail.get("performed") for event in events)
    return bool(kinds["start"] or kinds["poison"]) and not kinds["publish"] and not kinds["callback"] and not direct
