"""What was published, as trees: which messages make a chain, a group or a chord together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..timeline import Message
from ..timeline.table import arguments
from .canvas import Call, Chord, Group, Node, chain_of, parse

__all__ = ["Unit", "assemble", "single"]

__tracebackhide__ = True

Signature = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """One thing that somebody published: a single call, or a canvas whose messages belong together.

    Attributes:
        node: Its tree.
        messages: The messages that published it, in order.
        group_id: The group that it is a member of, or None.
        chord: The body that waits for that group, or None.
        later: Ids that Celery has already given to what follows: next links, a chord's body.
    """

    node: Node
    messages: tuple[Message, ...]
    group_id: str | None = None
    chord: Signature | None = None
    later: frozenset[str] = frozenset()

    @property
    def first(self) -> Message:
        """The message that stands for it: the head of a chain, the first member of a group or header."""
        return self.messages[0]


def single(message: Message) -> Unit:
    """A message by itself, whatever follows it."""
    return Unit(_call(message), (message,))


def assemble(messages: Iterable[Message]) -> list[Unit]:
    """Put messages together to the canvases that they were published as, in order of their first messages."""
    units = [_with_chain(message) for message in messages]
    while any(unit.group_id for unit in units):
        groups: dict[str, list[Unit]] = {}
        for unit in units:
            if unit.group_id:
                groups.setdefault(unit.group_id, []).append(unit)
        joined = [_join(group_id, members) for group_id, members in groups.items()]
        # A group that has a chord for a member is complete only when that chord is.
        awaited = {unit.group_id for unit in joined}
        ready = {group_id: unit for group_id, unit in zip(groups, joined, strict=True) if group_id not in awaited}
        if not ready:  # ids that go in circles, in messages that Celery did not make
            return sorted([*joined, *(unit for unit in units if not unit.group_id)], key=_place)
        units = [unit for unit in units if unit.group_id not in ready] + list(ready.values())
    return sorted(units, key=_place)


def _place(unit: Unit) -> int:
    return unit.first.seq


def _call(message: Message) -> Call:
    embed = message.embed
    return Call(
        str(message.task),
        tuple(message.args),
        dict(message.kwargs),
        _options(message),
        hidden=arguments({"argsrepr": message.argsrepr, "kwargsrepr": message.kwargsrepr}) if message.hidden else None,
        links=tuple(embed.get("callbacks") or ()),
        errbacks=tuple(embed.get("errbacks") or ()),
        message=message,
    )


def _options(message: Message) -> dict[str, Any]:
    delay = message.countdown
    countdown = int(delay) if delay is not None and delay.is_integer() else delay
    known = {"queue": message.queue, "countdown": countdown, "eta": message.eta, "task_id": message.id}
    reprs = {"argsrepr": message.argsrepr, "kwargsrepr": message.kwargsrepr}
    stamps = message.headers.get("stamps") or {}  # given as options, and published apart
    return {**stamps, **message.options, **known, **reprs}


def _with_chain(message: Message) -> Unit:
    links: list[Signature] = list(reversed(message.embed.get("chain") or ()))
    node = chain_of([_call(message), *(parse(link, follows=True) for link in links)])
    # A chain is a member of a group, or of a chord's header, by its last link.
    group_id = links[-1]["options"].get("group_id") if links else message.group_id
    chord = links[-1]["options"].get("chord") if links else message.embed.get("chord")
    later = frozenset(found for link in links for found in _ids(link))
    return Unit(node, (message,), group_id, chord or None, later)


def _ids(signature: Signature) -> set[str]:
    inner = signature["kwargs"].get("tasks", ()) if signature["task"] == "celery.chain" else ()
    own = signature["options"].get("task_id")
    return {found for link in inner for found in _ids(link)} | ({own} if own else set())


def _join(group_id: str, units: list[Unit]) -> Unit:
    body = next((unit.chord for unit in units if unit.chord), None)
    later = frozenset().union(*(unit.later for unit in units), _ids(body) if body else ())
    # The next link of a member is published under the same group, and so is the body; neither is one more member.
    members = sorted([unit for unit in units if unit.first.id not in later] or units, key=_place)
    messages = tuple(message for unit in members for message in unit.messages)
    nodes = tuple(unit.node for unit in members)
    if body is None:
        return Unit(Group(nodes), messages, later=later)
    last = _last(body)["options"]
    outer = last.get("group_id")
    chord = Chord(nodes, parse(body, follows=True))
    return Unit(chord, messages, outer if outer != group_id else None, last.get("chord") or None, later)


def _last(body: Signature) -> Signature:
    return body["kwargs"]["tasks"][-1] if body["task"] == "celery.chain" else body
