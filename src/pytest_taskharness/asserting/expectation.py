"""One expectation: a signature that was checked, and what it finds among messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..timeline import Message
from .binding import Label, check_fit
from .canvas import Call, Node, calls, parse
from .comparing import Comparison, compare_nodes, kind_of
from .drawing import Drawing
from .evidence import Evidence
from .matchers import Exactly, is_signature
from .published import Unit, assemble, single

__all__ = ["Expectation"]

__tracebackhide__ = True


class Expectation:
    """What a test expects to be enqueued.

    Attributes:
        node: The tree of calls.
        exact: Whether nothing more may be there than was written.
    """

    def __init__(self, wanted: Any, evidence: Evidence) -> None:
        """Read a signature, or ``exactly(signature)``.

        Raises:
            TypeError: It is no signature, its arguments do not fit the task, or it could never be published.
        """
        self.exact = isinstance(wanted, Exactly)
        signature = wanted.signature if isinstance(wanted, Exactly) else wanted
        if not is_signature(signature):
            raise TypeError(_no_signature(wanted))
        self.node: Node = parse(signature)
        for call in calls(self.node):
            check_fit(call, evidence.signature(call.task))
        self._evidence = evidence

    @property
    def noun(self) -> str:
        """What it is: a ``message``, a ``chain``, a ``group`` or a ``chord``."""
        return "message" if isinstance(self.node, Call) else kind_of(self.node)

    def units(self, messages: Iterable[Message]) -> list[Unit]:
        """The candidates: for a single call each message, for a canvas what the messages make together."""
        return [single(message) for message in messages] if isinstance(self.node, Call) else assemble(messages)

    def compare(self, unit: Unit) -> Comparison:
        """Condition by condition."""
        return compare_nodes(self.node, unit.node, self._evidence.signature, exact=self.exact)

    def matches(self, messages: Iterable[Message]) -> list[Unit]:
        """The candidates that match, in the order in which they were published."""
        return [unit for unit in self.units(messages) if self.compare(unit).holds]

    def drawing(self, messages: Iterable[Message] = ()) -> Drawing:
        """Draws it; a value that matched one that the publisher of a message hid is hidden too."""
        secrets: dict[str, frozenset[Label]] = {}
        hidden = [
            unit for unit in map(single, messages) if isinstance(unit.node, Call) and unit.node.hidden is not None
        ]
        for call in calls(self.node):
            for unit in hidden:
                found = compare_nodes(call, unit.node, self._evidence.signature, exact=False)
                same = {each.label for each in found.conditions if each.part == "argument" and each.verdict.holds}
                secrets[call.task] = secrets.get(call.task, frozenset()) | (same if found.same_task else set())
        return Drawing(self._evidence.signature, secrets=secrets)

    def lines(self, messages: Iterable[Message] = ()) -> list[str]:
        """The expectation as text."""
        return self.drawing(messages).expected(self.node, exact=self.exact)


def _no_signature(wanted: Any) -> str:
    name = wanted if isinstance(wanted, str) else getattr(wanted, "name", None)
    if isinstance(name, str):
        hint = f"celery.signature({name!r})" if isinstance(wanted, str) else f"{name.rpartition('.')[2]}.s()"
        return f"expected a Celery signature, got the task {name}; write {hint}, with the arguments that matter"
    return f"expected a Celery signature, such as send_email.s(user_id=7); got {wanted!r}"
