"""A comparison on the page: what was expected, what is there, and a caret under each thing that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .binding import PARENT_RESULT, Label, labelled
from .canvas import Call, Chord, Node
from .comparing import MISSING, Comparison, Condition, Signatures, kind_of
from .texts import call_text, show

__all__ = ["Drawing"]

__tracebackhide__ = True


class _Hidden:
    def __repr__(self) -> str:
        return "<hidden>"


HIDDEN = _Hidden()
#: Of a group or a header with more members, those that match are counted.
MOST_MEMBERS = 20


@dataclass(frozen=True)
class _Piece:
    """A part of a line, and the remarks that go under it."""

    text: str
    remarks: tuple[str, ...] = ()


class Drawing:
    """Draws trees and comparisons.

    Args:
        signatures: Gives the signature of a task, so that arguments have names.
        secrets: For each task, the arguments that matched a hidden value and so must not be shown.
    """

    def __init__(self, signatures: Signatures, *, secrets: Mapping[str, frozenset[Label]] | None = None) -> None:
        """Keep both."""
        self._signatures = signatures
        self._secrets = secrets or {}

    def expected(self, node: Node, *, width: int = 0, exact: bool = False) -> list[str]:
        """The expected tree."""
        return self._tree(node, lambda call: self._expected_call(call, exact=exact), width=width)

    def beside(self, comparison: Comparison, *, exact: bool = False) -> tuple[list[str], list[str]]:
        """What was expected and what is there, the options of both in one column where it is a single call."""
        expected, actual = comparison.expected, comparison.actual
        if not isinstance(expected, Call) or not isinstance(actual, Call):
            return ([] if expected is None else self.expected(expected, exact=exact)), self.actual(comparison)
        pieces = self._actual_call(comparison)
        width = max(_head_width(self._expected_call(expected, exact=exact)[0]), _head_width(pieces[0]))
        return self.expected(expected, width=width, exact=exact), _lines(*pieces, width=width)

    def actual(self, comparison: Comparison) -> list[str]:
        """The actual tree: ``!`` before what differs, ``-`` before what is missing, ``+`` before what is too much."""
        if comparison.actual is None:
            return _marked("- ", self.expected(comparison.expected), "missing")  # type: ignore[arg-type]
        if comparison.expected is None:
            return _marked("+ ", self._tree(comparison.actual, self._plain_call), "not expected")
        if isinstance(comparison.actual, Call) and not comparison.members:
            lines = _lines(*self._actual_call(comparison))
            return [f"{'  ' if comparison.holds else '! '}{lines[0]}", *(f"  {line}" for line in lines[1:])]
        return self._actual_canvas(comparison)

    def _actual_canvas(self, comparison: Comparison) -> list[str]:
        kind = comparison.conditions[0]
        lines = [f"  {kind.actual}" if kind.verdict.holds else f"! {kind.actual}   (expected a {kind.expected})"]
        for part in _worth_drawing(comparison.members):
            lines += _inside([f"  {part}"] if isinstance(part, str) else self.actual(part))
        if comparison.body is not None:
            lines += ["  and then", *_inside(self.actual(comparison.body))]
        return lines

    def _tree(self, node: Node, draw: Callable[[Call], _Row], *, width: int = 0) -> list[str]:
        if isinstance(node, Call):
            return _lines(*draw(node), width=width)
        members = node.header if isinstance(node, Chord) else _members(node)
        lines = [kind_of(node)]
        for member in members[:MOST_MEMBERS]:
            lines += [f"  {line}" for line in self._tree(member, draw)]
        if len(members) > MOST_MEMBERS:
            lines.append(f"  … and {len(members) - MOST_MEMBERS} more")
        if isinstance(node, Chord):
            lines += ["and then", *(f"  {line}" for line in self._tree(node.body, draw))]
        return lines

    # -- calls

    def _expected_call(self, call: Call, *, exact: bool = False) -> _Row:
        arguments = labelled(call, self._signatures(call.task))
        secret = self._secrets.get(call.task, frozenset())
        shown = [_named(label, show(HIDDEN if label in secret else arguments[label])) for label in arguments]
        if call.hidden is not None:
            shown = [call.hidden]
        signature = self._signatures(call.task)
        open_ended = not shown and not exact and (signature is None or bool(signature.parameters))
        head = _Piece(f"{call.task}({', '.join(shown) if not open_ended else '...'})")
        links = {"link": list(call.links), "link_error": list(call.errbacks)}
        options = {**call.options, **{name: value for name, value in links.items() if value}}
        return [head], [_Piece(_option(name, value)) for name, value in options.items()]

    def _plain_call(self, call: Call) -> _Row:
        args = (PARENT_RESULT, *call.args) if call.follows else call.args
        return [_Piece(call_text(call.task, args, call.kwargs, hidden=call.hidden))], []

    def _actual_call(self, comparison: Comparison) -> _Row:
        expected, call = comparison.expected, comparison.actual
        assert isinstance(expected, Call)
        assert isinstance(call, Call)
        by_part: dict[str, list[Condition]] = {"task": [], "argument": [], "option": []}
        for condition in comparison.conditions:
            by_part[condition.part].append(self._discreet(condition, expected))
        task = _Piece(call.task, tuple(f"expected {each.expected}" for each in _failing(by_part["task"])))
        opening, closing = _Piece("("), _Piece(")")
        # The arguments of another task are another matter.
        arguments = self._actual_arguments(call, by_part["argument"] if comparison.same_task else [])
        options = [_Piece(_option(str(each.label), each.actual), _remarks([each])) for each in by_part["option"]]
        return [task, opening, *_separated(arguments, ", "), closing], options

    def _discreet(self, condition: Condition, expected: Call) -> Condition:
        """The condition, without an expected value that equals one which somebody hid."""
        secret = condition.label in self._secrets.get(expected.task, ()) or expected.hidden is not None
        if condition.part != "argument" or condition.expected is MISSING or not secret:
            return condition
        return replace(condition, expected=HIDDEN, verdict=condition.verdict._replace(note=""))

    def _actual_arguments(self, call: Call, conditions: list[Condition]) -> list[_Piece]:
        if call.hidden is not None:
            # The publisher hid the values: their own text stands for all of them.
            remarks = tuple(f"expected {_asked(each)}{_raised(each)}" for each in _failing(conditions))
            return [_Piece(call.hidden, remarks)]
        asked = {each.label: each for each in conditions}
        given = labelled(call, self._signatures(call.task))
        labels = [*given, *(label for label in asked if label not in given)]
        values = {label: given[label] if label in given else asked[label].actual for label in labels}
        return [
            _Piece(_named(label, show(values[label])), _remarks([asked[label]] if label in asked else ()))
            for label in labels
        ]


_Row = tuple[list[_Piece], list[_Piece]]


def _members(node: Any) -> tuple[Node, ...]:
    return node.links if hasattr(node, "links") else node.members  # type: ignore[no-any-return]


def _worth_drawing(members: Sequence[Comparison]) -> list[Comparison | str]:
    """The members; where there are many, those that differ, and how many more there are."""
    if len(members) <= MOST_MEMBERS:
        return list(members)
    differing = [member for member in members if not member.holds]
    left, same = len(differing) - MOST_MEMBERS, len(members) - len(differing)
    return [
        *differing[:MOST_MEMBERS],
        *([f"… {left} more that differ"] if left > 0 else []),
        *([f"… {same} that match"] if same else []),
    ]


def _named(label: Label, text: str) -> str:
    return text if isinstance(label, int) else f"{label}={text}"


def _option(name: str, value: Any) -> str:
    return f"{name}={_option_value(name, value)}"


def _option_value(name: str, value: Any) -> str:
    if name in {"link", "link_error"}:
        return f"[{', '.join(map(_signature_text, value))}]"
    return show(getattr(value, "name", value) if name == "queue" else value)


def _signature_text(signature: Mapping[str, Any]) -> str:
    hidden = "…" if signature["options"].get("argsrepr") or signature["options"].get("kwargsrepr") else None
    return call_text(signature["task"], signature["args"], signature["kwargs"], hidden=hidden)


def _failing(conditions: Iterable[Condition]) -> list[Condition]:
    return [each for each in conditions if not each.verdict.holds]


def _remarks(conditions: Iterable[Condition]) -> tuple[str, ...]:
    return tuple(_remark(each) for each in _failing(conditions))


def _remark(condition: Condition) -> str:
    if condition.expected is MISSING:
        return "not expected"
    is_option = condition.part == "option"
    expected = _option_value(str(condition.label), condition.expected) if is_option else show(condition.expected)
    notes = [note for note in (condition.verdict.note, condition.note) if note]
    return f"expected {expected}" + (f" ({'; '.join(notes)})" if notes else "")


def _asked(condition: Condition) -> str:
    return "nothing more" if condition.expected is MISSING else _named(condition.label, show(condition.expected))


def _raised(condition: Condition) -> str:
    # What the matcher said may quote the value, so it is left out.
    return f" (comparing raised {condition.verdict.raised})" if condition.verdict.raised else ""


def _separated(pieces: list[_Piece], separator: str) -> list[_Piece]:
    return [part for piece in pieces for part in (_Piece(separator), piece)][1:]


def _head_width(pieces: Iterable[_Piece]) -> int:
    return sum(len(piece.text) for piece in pieces)


def _lines(head: list[_Piece], tail: list[_Piece], *, width: int = 0) -> list[str]:
    """One line for the pieces, and a caret line for each remark, under the beginning of its piece."""
    padding = _Piece(" " * (max(width - _head_width(head), 0) + 2))
    line, carets = "", []
    for piece in [*head, *([padding, *_separated(tail, " ")] if tail else [])]:
        carets += [f"{' ' * len(line)}^ {remark}" for remark in piece.remarks]
        line += piece.text
    return [line, *carets]


def _marked(mark: str, lines: list[str], why: str) -> list[str]:
    return [f"{mark}{lines[0]}   ({why})", *(f"  {line}" for line in lines[1:])]


def _inside(lines: list[str]) -> list[str]:
    """One level deeper, with the mark still in the first column."""
    return [f"{line[:2]}  {line[2:]}" for line in lines]
