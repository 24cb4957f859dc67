"""Assertions about what was enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from ..timeline import Message
from .blocks import EnqueueBlock
from .evidence import Asserting, Evidence
from .expectation import Expectation
from .nearest import Miss
from .published import Unit
from .texts import counted, indented, message_rows

__all__ = ["EnqueuedAssertions"]

__tracebackhide__ = True

Signature = Mapping[str, Any]


@dataclass(frozen=True)
class _HowMany:
    """How many messages must match."""

    times: int | None
    at_least: int | None
    at_most: int | None

    def __post_init__(self) -> None:
        given = [number for number in (self.times, self.at_least, self.at_most) if number is not None]
        if any(number < 0 for number in given):
            raise ValueError(f"times, at_least and at_most are counts: 0 or more; got {given}")
        if self.times is not None and len(given) > 1:
            raise ValueError("give times, or at_least and at_most, not both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least={self.at_least} is more than at_most={self.at_most}")

    @property
    def unsaid(self) -> bool:
        return self == _HowMany(None, None, None)

    @property
    def one(self) -> bool:
        """Whether a single message is the answer."""
        return self.unsaid or self.times == 1

    @property
    def limits(self) -> tuple[int, float]:
        if self.times is not None:
            return self.times, self.times
        least = 1 if self.unsaid else self.at_least or 0
        return least, float("inf") if self.at_most is None else self.at_most

    def allows(self, count: int) -> bool:
        least, most = self.limits
        return least <= count <= most

    def text(self, noun: str) -> str:
        least, most = self.limits
        if self.one or least == most:
            return counted(least, noun)
        if most == float("inf"):
            return f"at least {counted(least, noun)}"
        return f"{least} to {counted(int(most), noun)}" if least else f"at most {counted(int(most), noun)}"


class EnqueuedAssertions(Asserting):
    """What was, and what was not, enqueued.

    The expectation is a Celery signature (https://docs.celeryq.dev/en/stable/userguide/canvas.html#signatures).  Its
    arguments bind through the task's own parameters, so a positional argument equals the same one by keyword.  Its
    options (``.set(queue=…, countdown=…, priority=…)``) must hold too.  What is not written is not asked.
    Anything with an ``__eq__`` matches: ``unittest.mock.ANY``, ``pytest.approx``, dirty-equals.
    """

    @overload
    def assert_enqueued(self, sig: Any, *, times: Literal[1] | None = None) -> Message: ...
    @overload
    def assert_enqueued(self, sig: Any, *, times: int) -> list[Message]: ...
    @overload
    def assert_enqueued(
        self, sig: Any, *, at_least: int | None = None, at_most: int | None = None
    ) -> list[Message]: ...  # fmt: skip

    def assert_enqueued(
        self, sig: Any, *, times: int | None = None, at_least: int | None = None, at_most: int | None = None
    ) -> Message | list[Message]:  # fmt: skip
        """A message like this was enqueued.

        Args:
            sig: A signature, ``exactly(signature)``, or a chain, group or chord.
            times: How many must match; the default asks for one or more.
            at_least: How many at least; the answer is then a list.
            at_most: How many at most; the answer is then a list.

        Returns:
            The first message that matches; where ``times`` is not 1, or with limits, the list of all.  A chain is
            represented by the message of its head, a group or chord by that of its first member.

        Raises:
            AssertionError: None matches, or not as many as asked for.
            TypeError: ``sig`` is no signature, or its arguments do not fit the task.
            ValueError: The counts contradict each other.
        """
        expectation, how_many = Expectation(sig, self._evidence), _HowMany(times, at_least, at_most)
        messages = self._evidence.messages()
        found = expectation.matches(messages)
        if not how_many.allows(len(found)):
            wanted = how_many.text(expectation.noun)
            miss = Miss(expectation, self._evidence, messages)
            if not found:
                raise AssertionError(miss.text(wanted=wanted))
            rest = miss.nearest_of_the_rest() if len(found) < how_many.limits[0] else []
            raise AssertionError("\n".join([_matching(self._evidence, expectation, found, wanted=wanted), *rest]))
        matched = [unit.first for unit in found]
        return matched[0] if how_many.one else matched

    def assert_not_enqueued(self, sig: Any, *, until: timedelta | datetime | None = None) -> None:
        """No message like this was enqueued, and none is by what is already under way.

        First all work that is due now is run, including what it publishes; with ``until`` also all that becomes due
        by then.  On a timeline from a file nothing can be driven, so what it holds is all that is looked at.

        Args:
            sig: A signature, ``exactly(signature)``, or a chain, group or chord.
            until: How far to advance the virtual clock: a timedelta from now, or an aware datetime.

        Raises:
            AssertionError: A message matches; all that do are listed.
            TypeError: ``sig`` is no signature, its arguments do not fit, or ``until`` is no time.
            TimeTravelError: ``until`` has no timezone.
        """
        expectation = Expectation(sig, self._evidence)
        scope = _drive(self._evidence, until)
        found = expectation.matches(self._evidence.messages())
        if found:
            wanted = f"no {expectation.noun}"
            raise AssertionError(_matching(self._evidence, expectation, found, wanted=wanted, until=scope))

    def assert_enqueued_in_order(self, *sigs: Any) -> list[Message]:
        """Messages like these were enqueued, one after the other; others may lie between them.

        Returns:
            The message for each signature.

        Raises:
            AssertionError: One of them has no match after the match of the one before.
            TypeError: No signature was given, or one of them is none.
        """
        expectations = [Expectation(sig, self._evidence) for sig in sigs]
        if not expectations:
            raise TypeError("assert_enqueued_in_order() needs at least one signature")
        messages, matched = self._evidence.messages(), list[Message]()
        for expectation in expectations:
            last = matched[-1].seq if matched else -1
            found = [unit.first for unit in expectation.matches(messages) if unit.first.seq > last]
            if not found:
                raise AssertionError(_out_of_order(self._evidence, expectations, matched))
            matched.append(found[0])
        return matched

    def enqueues(self, *sigs: Any, only: bool = False) -> EnqueueBlock:
        """The block enqueues a message for each of these signatures.

        Use as ``with harness.enqueues(a.s(), b.s(1), only=True) as sent:``.  Each signature needs a message of its
        own.  After the block, ``sent`` is the list of all messages that were published in it; a block that raises
        is not judged.

        Args:
            sigs: Signatures, ``exactly(signature)``, chains, groups or chords, in any order.
            only: Whether nothing else may be enqueued.

        Raises:
            AssertionError: At the end of the block, where one is missing or one is too much.
            TypeError: One of ``sigs`` is no signature, or its arguments do not fit the task.
        """
        return EnqueueBlock(self._evidence, [Expectation(sig, self._evidence) for sig in sigs], only=only)

    def enqueues_nothing(self) -> EnqueueBlock:
        """The block enqueues nothing; use as ``with harness.enqueues_nothing():``.

        Raises:
            AssertionError: At the end of the block, where something was enqueued.
        """
        return EnqueueBlock(self._evidence, [], only=True)


def _matching(
    evidence: Evidence, expectation: Expectation, found: list[Unit], *, wanted: str, until: str = ""
) -> str:  # fmt: skip
    """What matches, although it should not, or not so often."""
    exactly = " exactly" * expectation.exact
    lines = [f"expected {wanted} matching{exactly}{until}", *indented(expectation.lines(evidence.messages()))]
    rows = message_rows((unit.first for unit in found), evidence.timeline.start)
    verb = "matches" if len(found) == 1 else "match"
    return "\n".join([*lines, f"but {len(found)} {verb}:", *indented(rows)])


def _drive(evidence: Evidence, until: timedelta | datetime | None) -> str:
    world = evidence.world
    if until is None:
        if world is not None:
            world.drain()
        return ""
    instant = evidence.instant(until, since=evidence.now)
    if world is not None:
        world.run_until(instant)
    return f", until {evidence.offset(instant)}"


def _out_of_order(evidence: Evidence, expectations: Sequence[Expectation], matched: Sequence[Message]) -> str:
    number, missing, messages = len(matched) + 1, expectations[len(matched)], evidence.messages()
    earlier = missing.matches(messages)
    if not earlier:
        miss = Miss(missing, evidence, messages)
        return miss.text(wanted=f"{missing.noun} {number} of {len(expectations)}")
    lines = ["expected these messages, in this order"]
    for place, each in enumerate(expectations, 1):
        first, *more = each.lines(messages)
        lines += indented([f"{place}. {first}", *indented(more, by=3)])
    lines.append(f"but none matches number {number} after number {number - 1}:")
    marks = {message.seq: f"{place}." for place, message in enumerate(matched, 1)}
    return "\n".join([*lines, *indented(message_rows(messages, evidence.timeline.start, marks=marks))])
