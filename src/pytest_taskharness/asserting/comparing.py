"""Comparing what was expected with what was published, condition by condition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from .binding import Label, defaults, labelled
from .canvas import INTERNAL_OPTIONS, Call, Chain, Chord, Group, Node, calls, parse
from .matching import Verdict, compare
from .pairing import pair

__all__ = ["MISSING", "Comparison", "Condition", "Signatures", "compare_nodes", "kind_of"]

__tracebackhide__ = True

#: Gives the signature of a task by its name, or None where nobody knows it.
Signatures = Callable[[str], "inspect.Signature | None"]

#: Options that Celery or a route fills in for every message; ``exactly()`` allows them.
_FILLED_IN = frozenset(
    {"queue", "exchange", "routing_key", "retry", "retry_policy", "serializer", "compression", "delivery_mode"}
    | {"task_id", "argsrepr", "kwargsrepr", "countdown", "eta"}
)
_ROUNDING = 0.001
#: So many comparisons of members with members are made without a thought.
_MOST_COMPARED = 2_500


class _Missing:
    def __repr__(self) -> str:
        return "<not given>"


#: Stands for an argument that is not there.
MISSING = _Missing()


@dataclass(frozen=True)
class Condition:
    """One thing that must hold.

    Attributes:
        part: ``task``, ``kind``, ``argument`` or ``option``.
        label: The name of the argument or option, or the position of the argument.
        expected: What was written, or :data:`MISSING` where ``exactly()`` allows nothing.
        actual: What is there, or :data:`MISSING`.
        verdict: Whether they are equal.
        note: What else there is to say about the actual value.
    """

    part: str
    label: Label
    expected: Any
    actual: Any
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """One node of the expected tree beside one of the actual tree; either may be None where it has no partner."""

    expected: Node | None
    actual: Node | None
    conditions: tuple[Condition, ...] = ()
    members: tuple[Comparison, ...] = ()
    body: Comparison | None = None

    @property
    def parts(self) -> tuple[Comparison, ...]:
        """The comparisons inside this one."""
        return self.members if self.body is None else (*self.members, self.body)

    @property
    def held(self) -> int:
        """How many conditions hold."""
        return sum(each.verdict.holds for each in self.conditions) + sum(part.held for part in self.parts)

    @property
    def total(self) -> int:
        """How many conditions there are; one for whatever has no partner."""
        alone = self.expected is None or self.actual is None
        return int(alone) + len(self.conditions) + sum(part.total for part in self.parts)

    @property
    def holds(self) -> bool:
        """Whether all of it holds."""
        return self.held == self.total

    @property
    def same_task(self) -> bool:
        """Whether both begin with the same task."""
        first, other = (next(calls(node)).task if node else None for node in (self.expected, self.actual))
        return first == other


_Inner = Callable[[Node | None, Node | None], Comparison]


def kind_of(node: Node) -> str:
    """``task``, ``chain``, ``group`` or ``chord``."""
    return "task" if isinstance(node, Call) else type(node).__name__.lower()


def compare_nodes(expected: Node | None, actual: Node | None, signatures: Signatures, *, exact: bool) -> Comparison:
    """Compare two trees; members of groups find the partner that fits them best."""
    if expected is None or actual is None:
        return Comparison(expected, actual)
    if isinstance(expected, Call) and isinstance(actual, Call):
        return Comparison(expected, actual, tuple(_conditions(expected, actual, signatures, exact=exact)))

    def inner(one: Node | None, other: Node | None) -> Comparison:
        return compare_nodes(one, other, signatures, exact=exact)

    kinds = kind_of(expected), kind_of(actual)
    kind = Condition("kind", "", *kinds, Verdict(kinds[0] == kinds[1]))
    sides = _members(expected), _members(actual)
    ordered = isinstance(expected, Chain) or isinstance(actual, Chain)
    members = [inner(*both) for both in _aligned(*sides)] if ordered else _best(*sides, inner, signatures)
    bodies = _body(expected), _body(actual)
    return Comparison(expected, actual, (kind,), tuple(members), inner(*bodies) if any(bodies) else None)


def _members(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Chord):
        return node.header
    if isinstance(node, Group):
        return node.members
    return node.links if isinstance(node, Chain) else (node,)


def _body(node: Node) -> Node | None:
    return node.body if isinstance(node, Chord) else None


def _aligned(expected: tuple[Node, ...], actual: tuple[Node, ...]) -> list[tuple[Node | None, Node | None]]:
    """Links side by side, with a gap where one side has a link more."""
    names = [[f"{kind_of(node)} {next(calls(node)).task}" for node in side] for side in (expected, actual)]
    pairs: list[tuple[Node | None, Node | None]] = []
    opcodes = SequenceMatcher(a=names[0], b=names[1], autojunk=False).get_opcodes()
    for _, start, end, other_start, other_end in opcodes:
        pairs += zip_longest(expected[start:end], actual[other_start:other_end])
    return pairs


def _best(
    expected: tuple[Node, ...], actual: tuple[Node, ...], inner: _Inner, signatures: Signatures
) -> list[Comparison]:  # fmt: skip
    straight = list(map(inner, expected, actual))
    if len(expected) == len(actual) and all(found.holds for found in straight):
        return straight  # the usual case, without comparing everything with everything
    found = _twins(expected, actual, inner, signatures) if len(expected) * len(actual) > _MOST_COMPARED else {}
    taken = {column for column, _ in found.values()}
    rows = [row for row in range(len(expected)) if row not in found]
    columns = [column for column in range(len(actual)) if column not in taken]
    table = [[inner(expected[row], actual[column]) for column in columns] for row in rows]
    pairs = pair(table, holds=lambda each: each.holds, score=lambda each: (each.same_task, each.held))
    found |= {rows[row]: (columns[column], table[row][column]) for row, column in pairs.items()}
    taken = {column for column, _ in found.values()}
    beside = [found[row][1] if row in found else inner(one, None) for row, one in enumerate(expected)]
    return beside + [inner(None, other) for column, other in enumerate(actual) if column not in taken]


def _twins(
    expected: tuple[Node, ...], actual: tuple[Node, ...], inner: _Inner, signatures: Signatures
) -> dict[int, tuple[int, Comparison]]:  # fmt: skip
    """Of many members, those that are written alike and match: what has a matcher finds its partner among the rest."""
    places: dict[str, list[int]] = {}
    for column, node in reversed(list(enumerate(actual))):
        places.setdefault(_written(node, signatures), []).append(column)
    found = {}
    for row, node in enumerate(expected):
        alike = places.get(_written(node, signatures))
        if alike and (comparison := inner(node, actual[alike[-1]])).holds:
            found[row] = alike.pop(), comparison
    return found


def _written(node: Node, signatures: Signatures) -> str:
    named = ((call.task, labelled(call, signatures(call.task))) for call in calls(node))
    return repr([(task, sorted((str(label), repr(value)) for label, value in given.items())) for task, given in named])


def _conditions(expected: Call, actual: Call, signatures: Signatures, *, exact: bool) -> list[Condition]:
    task = Condition("task", "", expected.task, actual.task, compare(expected.task, actual.task))
    arguments = _arguments(expected, actual, signatures, exact=exact)
    options = [_option(name, value, actual) for name, value in expected.options.items()]
    options += _linked(expected, actual, signatures, exact=exact)
    return [task, *arguments, *options, *(_unasked_options(expected, actual) if exact else [])]


def _arguments(expected: Call, actual: Call, signatures: Signatures, *, exact: bool) -> list[Condition]:
    wanted = labelled(expected, signatures(expected.task))
    found = labelled(actual, signatures(actual.task))
    left_out = {} if exact else defaults(signatures(actual.task))
    conditions = []
    for label, value in wanted.items():
        there = found.get(label, left_out.get(label, MISSING))
        note = "left to its default" if label not in found and label in left_out else ""
        verdict = Verdict(False) if there is MISSING else compare(value, there)
        conditions.append(Condition("argument", label, value, there, verdict, note))
    extra = [label for label in found if label not in wanted] if exact else []
    return conditions + [Condition("argument", label, MISSING, found[label], Verdict(False)) for label in extra]


def _option(name: str, expected: Any, actual: Call) -> Condition:
    wanted, found = expected, actual.options.get(name)
    if name == "queue":
        wanted, found = getattr(wanted, "name", wanted), getattr(found, "name", found)
    elif name == "expires" and isinstance(wanted, datetime) and actual.message and isinstance(found, (int, float)):
        found = actual.message.at + timedelta(seconds=found)
    verdict = compare(wanted, found)
    if name == "countdown" and not verdict.holds:
        verdict = _same_delay(wanted, found, verdict)
    return Condition("option", name, wanted, found, verdict)


def _same_delay(expected: Any, actual: Any, verdict: Verdict) -> Verdict:
    # A message carries an eta, not a countdown; no eta is no delay.
    if isinstance(expected, (int, float)) and abs(expected - (actual or 0)) <= _ROUNDING:
        return Verdict(True)
    return verdict


def _linked(expected: Call, actual: Call, signatures: Signatures, *, exact: bool) -> list[Condition]:
    sides = (("link", expected.links, actual.links), ("link_error", expected.errbacks, actual.errbacks))
    found = []
    for name, wanted, there in sides:
        trees = [parse(link, follows=True) for link in wanted], [parse(link, follows=True) for link in there]
        if wanted or (exact and there):
            table = [[compare_nodes(one, other, signatures, exact=exact) for other in trees[1]] for one in trees[0]]
            pairs = pair(table, holds=lambda comparison: comparison.holds)
            all_there = len(pairs) == len(wanted) and not (exact and len(there) > len(wanted))
            found.append(Condition("option", name, list(wanted), list(there), Verdict(all_there)))
    return found


def _unasked_options(expected: Call, actual: Call) -> list[Condition]:
    asked = expected.options.keys() | INTERNAL_OPTIONS | _FILLED_IN
    extra = {name: value for name, value in actual.options.items() if name not in asked and value not in (None, {})}
    if not expected.options.keys() & {"countdown", "eta"}:
        extra |= {name: actual.options[name] for name in ("countdown",) if actual.options.get(name) is not None}
    return [Condition("option", name, MISSING, value, Verdict(False)) for name, value in extra.items()]
