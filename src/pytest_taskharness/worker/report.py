"""What a verb did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from ..timeline import Event, Run, Timeline

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What happened while a verb drove the world.

    Attributes:
        runs: Each run that did something (started, ended, was revoked), by the order in which it first did.
        counts: Attempts by outcome: ``{"RETRY": 2, "SUCCESS": 1}``.
        elapsed: Virtual time that passed.
    """

    runs: list[Run]
    counts: dict[str, int]
    elapsed: timedelta

    @classmethod
    def since(cls, timeline: Timeline, seq: int, *, elapsed: timedelta) -> Report:
        """Everything from event number ``seq`` on."""
        outcomes = (_outcome(event) for event in timeline.events[seq:])
        counts = Counter(outcome for outcome in outcomes if outcome is not None)
        return cls(timeline.runs_since(seq), dict(counts), elapsed)

    def __repr__(self) -> str:
        """As ``<Report SUCCESS 1, RETRY 2 in 0:00:03>``."""
        counts = ", ".join(f"{outcome} {count}" for outcome, count in self.counts.items()) or "nothing ran"
        return f"<Report {counts} in {self.elapsed}>"


def _outcome(event: Event) -> str | None:
    if event.kind == "revoke":
        return "REVOKED"
    return event.detail.get("outcome") if event.kind in {"finish", "retry"} else None
