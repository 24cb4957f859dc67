"""Why nothing matched: the nearest candidate first, field by field, and what may help."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..timeline import Message
from .announced import never_came
from .canvas import Call
from .comparing import Comparison
from .evidence import Evidence
from .expectation import Expectation
from .published import Unit
from .texts import capped, counted, indented, published_text, site
from .waiting import uncommitted

__all__ = ["Miss"]

__tracebackhide__ = True


class Miss:
    """An expectation that not enough messages match."""

    def __init__(
        self, expectation: Expectation, evidence: Evidence, messages: Sequence[Message], *, since: int = 0
    ) -> None:  # fmt: skip
        """Rank the candidates.

        Args:
            expectation: What was expected.
            evidence: Where to look for hints.
            messages: What was enqueued instead.
            since: The number of the event at which the block began, where only a block is asked about.
        """
        self.expectation = expectation
        self.evidence = evidence
        self.messages = messages
        self.since = since
        found = [(unit, expectation.compare(unit)) for unit in expectation.units(messages)]
        self._ranked = sorted(found, key=lambda pair: (not pair[1].same_task, -pair[1].held, pair[1].total))
        self._drawing = expectation.drawing(messages)

    def text(self, *, wanted: str, where: str = "", other: str = "") -> str:
        """The failure where nothing matches.

        Args:
            wanted: How much was expected, as ``1 message``.
            where: As ``" in the block"``.
            other: ``"other "`` where there were messages that matched something else.
        """
        head = f"expected {wanted} matching{' exactly' * self.expectation.exact}"
        if not self._ranked:
            found = [*indented(self.expectation.lines()), f"but nothing {'else ' if other else ''}was enqueued{where}"]
        else:
            expected = self._drawing.beside(self._ranked[0][1], exact=self.expectation.exact)[0]
            found = [*indented(expected), f"but {self._verdict(where, other)}", *self._candidate(*self._ranked[0])]
        told = [hint for hint in self._hints() if hint] or uncommitted(self.evidence)
        hints = [f"hint: {hint}" for hint in told]
        return "\n".join([head, *found, *hints, *self._others()])

    def nearest_of_the_rest(self) -> list[str]:
        """The nearest of the messages that do not match, where some do and more should."""
        rest = [pair for pair in self._ranked if not pair[1].holds]
        if not rest:
            return []
        unit, comparison = rest[0]
        return [f"nearest of the rest ({_score(comparison)}):", *self._candidate(unit, comparison)]

    def _candidate(self, unit: Unit, comparison: Comparison) -> list[str]:
        lines = self._drawing.beside(comparison, exact=self.expectation.exact)[1]
        return indented([*lines, f"enqueued {self._origin(unit.first)}"])

    def _origin(self, message: Message) -> str:
        due = f", due {self.evidence.offset(message.eta)}" if message.eta else ""
        return f"{site(message)}, {self.evidence.offset(message.at)}{due}"

    def _verdict(self, where: str, other: str) -> str:
        count, score = len(self.messages), _score(self._ranked[0][1])
        if count == 1:
            return f"1 {other}message was enqueued{where} and it does not match ({score}):"
        return f"{count} {other}messages were enqueued{where} and none matches. Nearest ({score}):"

    def _others(self) -> list[str]:
        messages = [message for unit, _ in self._ranked[1:] for message in unit.messages]
        return [f"other: {line}" for line in capped(list(map(published_text, messages)))]

    # -- hints

    def _hints(self) -> list[str | None]:
        return [self._route(), self._naive(), self._earlier(), self._retried(), self._later_link(), self._mocked()]

    def _route(self) -> str | None:
        call = self.expectation.node
        nearest = self._ranked[0][1] if self._ranked else None
        if nearest is None or not nearest.same_task or not isinstance(call, Call):
            return None
        queues = (each.expected for each in nearest.conditions if each.label == "queue" and not each.verdict.holds)
        return next((self.evidence.route_hint(call.task, str(queue)) for queue in queues), None)

    def _mocked(self) -> str | None:
        call = self.expectation.node
        if not isinstance(call, Call):
            return None
        patched = self.evidence.replaced(call.task)
        return f"{call.task}.{patched}: what is called there is not published" if patched else None

    def _naive(self) -> str | None:
        eta = self.expectation.node.options.get("eta") if isinstance(self.expectation.node, Call) else None
        if isinstance(eta, datetime) and eta.tzinfo is None:
            return "the expected eta has no timezone, and one without never equals one with"
        return None

    def _earlier(self) -> str | None:
        found = self.expectation.matches(each for each in self.evidence.messages() if each.seq < self.since)
        return f"one that matches was enqueued before the block, {self._origin(found[-1].first)}" if found else None

    def _retried(self) -> str | None:
        retries = [message for message in self.evidence.timeline.messages(since=self.since) if message.retries]
        if not self.expectation.matches(retries):
            return None
        return "one that matches was published as a retry, under the id of its first attempt; that does not count"

    def _later_link(self) -> str | None:
        if not isinstance(self.expectation.node, Call):
            return None
        return never_came(self.evidence, self.expectation.node.task)


def _score(comparison: Comparison) -> str:
    other = "" if comparison.same_task else ", another task"
    return f"{comparison.held} of {counted(comparison.total, 'condition')}{other}"
