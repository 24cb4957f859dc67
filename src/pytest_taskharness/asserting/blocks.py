"""Blocks: what was enqueued between the beginning and the end of a ``with``."""

from __future__ import annotations

from collections.abc import Sequence

from ..timeline import Message
from .canvas import Call
from .evidence import Evidence
from .expectation import Expectation
from .nearest import Miss
from .pairing import pair
from .published import Unit, single
from .texts import counted, indented, message_rows

__all__ = ["EnqueueBlock"]

__tracebackhide__ = True


class EnqueueBlock:
    """The context of ``enqueues()`` and ``enqueues_nothing()``.

    A class, not a generator: contextlib's frames would stand in the traceback.
    """

    def __init__(self, evidence: Evidence, expectations: Sequence[Expectation], *, only: bool) -> None:
        """Not begun yet."""
        self._evidence = evidence
        self._expectations = expectations
        self._only = only
        self._since = 0
        self._sent: list[Message] = []

    def __enter__(self) -> list[Message]:
        """The list that holds the messages of the block once it has ended."""
        self._since = self._evidence.next_seq
        self._sent = []
        return self._sent

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Fill the list; judge, unless the block raised."""
        self._sent += self._evidence.messages(since=self._since)
        if kind is None:
            text = self._failure()
            if text:
                raise AssertionError(text)

    def _failure(self) -> str | None:
        matched = _assigned(self._expectations, self._sent)
        for expectation, unit in zip(self._expectations, matched, strict=True):
            if unit is None:
                return self._missing(expectation, matched)
        extra = _unclaimed(self._sent, matched)
        return self._too_much(extra) if extra and self._only else None

    def _missing(self, expectation: Expectation, matched: Sequence[Unit | None]) -> str:
        miss = Miss(expectation, self._evidence, _unclaimed(self._sent, matched), since=self._since)
        other = "other " if any(matched) else ""
        return miss.text(wanted=f"1 {expectation.noun}", where=" in the block", other=other)

    def _too_much(self, extra: Sequence[Message]) -> str:
        what, noun = ("nothing else", "more message") if self._expectations else ("nothing", "message")
        found = f"{counted(len(extra), noun)} {'was' if len(extra) == 1 else 'were'}"
        rows = message_rows(extra, self._evidence.timeline.start)
        return "\n".join([f"expected {what} to be enqueued in the block", f"but {found}:", *indented(rows)])


def _assigned(expectations: Sequence[Expectation], messages: Sequence[Message]) -> list[Unit | None]:
    """For each expectation something of its own: canvases first, then single messages of what they leave."""
    found: dict[int, Unit] = {}
    free = list(messages)
    canvases = [place for place, each in enumerate(expectations) if not isinstance(each.node, Call)]
    for place in canvases:
        unit = next(iter(expectations[place].matches(free)), None)
        if unit is not None:
            found[place] = unit
            free = [message for message in free if message not in unit.messages]
    singles = [place for place in range(len(expectations)) if place not in canvases]
    units = [single(message) for message in free]
    table = [[expectations[place].compare(unit) for unit in units] for place in singles]
    for row, column in pair(table, holds=lambda comparison: comparison.holds).items():
        found[singles[row]] = units[column]
    return [found.get(place) for place in range(len(expectations))]


def _unclaimed(messages: Sequence[Message], matched: Sequence[Unit | None]) -> list[Message]:
    """What no expectation claims; what Celery publishes later for a canvas belongs to the canvas."""
    claimed = {message.seq for unit in matched if unit is not None for message in unit.messages}
    later = {found for unit in matched if unit is not None for found in unit.later}
    return [message for message in messages if message.seq not in claimed and message.id not in later]
