"""Celery's canvas as a plain tree: calls, and the chains, groups and chords that they make.

An expectation and what a message carries become the same kind of tree, so that they can be compared.  Whatever
Celery rewrites on the way (a group in the middle of a chain becomes a chord, nested chains and groups become flat)
is rewritten here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..timeline import Message
from ..timeline.table import arguments

__all__ = ["INTERNAL_OPTIONS", "Call", "Chain", "Chord", "Group", "Node", "calls", "chain_of", "parse"]

__tracebackhide__ = True

Signature = Mapping[str, Any]

#: Options that Celery writes into a signature for its own book-keeping.
INTERNAL_OPTIONS = frozenset(
    {"root_id", "parent_id", "group_id", "group_index", "chord", "chord_size", "reply_to", "add_to_parent"}
    | {"stamped_headers", "producer", "link", "link_error", "chain"}
)


@dataclass(frozen=True)
class Call:
    """One task with arguments and options, expected or published.

    Attributes:
        follows: Whether the result of the task before it becomes its first argument.
        hidden: The text that stands for arguments which must not be shown, or None.
        links, errbacks: The signatures of ``link`` and ``link_error``.
        message: The message, where this was published on its own.
    """

    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    follows: bool = False
    hidden: str | None = None
    links: tuple[Signature, ...] = ()
    errbacks: tuple[Signature, ...] = ()
    message: Message | None = None


@dataclass(frozen=True)
class Chain:
    """Two or more, one after the other."""

    links: tuple[Node, ...]


@dataclass(frozen=True)
class Group:
    """Members side by side, in no order."""

    members: tuple[Node, ...]


@dataclass(frozen=True)
class Chord:
    """Members side by side, and a body that is called with all their results."""

    header: tuple[Node, ...]
    body: Node


Node = Call | Chain | Group | Chord


def parse(signature: Signature, *, follows: bool = False, inherited: Mapping[str, Any] | None = None) -> Node:
    """The tree of a signature, or of the dict that it became in a message.

    Args:
        signature: A Celery signature.
        follows: Whether it gets the result of something before it.
        inherited: Options of the canvas around it, which Celery passes on to it.

    Raises:
        TypeError: A group without members, or a chord without a body: nothing that could be published.
    """
    kind = signature.get("subtask_type") or str(signature["task"]).removeprefix("celery.")
    options = _merged(signature["options"], inherited or {})
    build = _CANVAS.get(kind if _is_canvas(signature) else "", _call)
    node = build(signature, options, follows=follows)
    # What Celery lets follow without a chain: of three groups in a row, the last.
    after = [parse(link, follows=True) for link in reversed(_signatures(signature["options"].get("chain")))]
    return chain_of([node, *after]) if after else node


def _merged(own: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    linked = {name: (*_signatures(own.get(name)), *_signatures(inherited.get(name))) for name in ("link", "link_error")}
    return {**own, **inherited, **linked}


def _is_canvas(signature: Signature) -> bool:
    return str(signature["task"]) in {"celery.chain", "celery.group", "celery.chord", "celery.chunks"}


def _call(signature: Signature, options: dict[str, Any], *, follows: bool) -> Call:
    args, kwargs = tuple(signature["args"] or ()), dict(signature["kwargs"] or {})
    return Call(
        str(signature["task"]),
        args,
        kwargs,
        {name: value for name, value in options.items() if name not in INTERNAL_OPTIONS},
        follows=follows and not signature.get("immutable"),
        hidden=arguments(options) if options.get("argsrepr") or options.get("kwargsrepr") else None,
        links=_signatures(options.get("link")),
        errbacks=_signatures(options.get("link_error")),
    )


def _signatures(value: Any) -> tuple[Signature, ...]:
    return (value,) if isinstance(value, Mapping) else tuple(value or ())


def _passed_on(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in INTERNAL_OPTIONS | {"task_id"}}


def _chain(signature: Signature, options: dict[str, Any], *, follows: bool) -> Node:
    tasks = list(signature["kwargs"]["tasks"])
    if not tasks:
        raise TypeError("an empty chain publishes nothing, so it cannot be expected")
    links = []
    for place, task in enumerate(tasks):
        inherited = _passed_on(options) if place == 0 else {}
        # An errback of the chain is one of each link, a callback of the chain is one of the last.
        inherited["link_error"] = options["link_error"]
        inherited["link"] = options["link"] if place == len(tasks) - 1 else ()
        links.append(parse(task, follows=follows or place > 0, inherited=inherited))
    return chain_of(links)


def chain_of(links: list[Node]) -> Node:
    """Join links as Celery does: flat, with a chord wherever something follows a group."""
    flat = [inner for link in links for inner in (link.links if isinstance(link, Chain) else (link,))]
    flat = [link.members[0] if isinstance(link, Group) and len(link.members) == 1 else link for link in flat]
    for place, link in enumerate(flat[:-1]):
        if isinstance(link, (Group, Chord)):
            flat[place:] = [_joined(link, flat[place + 1 :])]
            break
    return flat[0] if len(flat) == 1 else Chain(tuple(flat))


def _joined(link: Group | Chord, rest: list[Node]) -> Chord:
    if isinstance(link, Group):
        return Chord(link.members, chain_of(rest))
    return Chord(link.header, chain_of([link.body, *rest]))


def _members(tasks: Any, options: Mapping[str, Any], *, follows: bool) -> tuple[Node, ...]:
    parsed = [parse(task, follows=follows, inherited=_passed_on(options)) for task in tasks]
    flat = (inner for node in parsed for inner in (node.members if isinstance(node, Group) else (node,)))
    members = tuple(flat)
    if not members:
        raise TypeError("an empty group publishes nothing, so it cannot be expected")
    return members


def _group(signature: Signature, options: dict[str, Any], *, follows: bool) -> Group:
    return Group(_members(signature["kwargs"]["tasks"], options, follows=follows))


def _chord(signature: Signature, options: dict[str, Any], *, follows: bool) -> Chord:
    header, body = signature["kwargs"]["header"], signature["kwargs"].get("body")
    if not body:
        raise TypeError("a chord without a body publishes nothing, so it cannot be expected")
    tasks = [header] if isinstance(header, Mapping) else header
    return Chord(
        _members(tasks, options, follows=follows), parse(body, follows=True, inherited=_passed_on(options))
    )  # fmt: skip


def _chunks(signature: Signature, options: dict[str, Any], *, follows: bool) -> Group:
    # Celery publishes chunks as a group of starmaps.
    task, size = signature["kwargs"]["task"], signature["kwargs"]["n"]
    items = list(signature["kwargs"]["it"])
    parts = [{"task": task, "it": items[start : start + size]} for start in range(0, len(items), size)]
    starmap: dict[str, Any] = {"task": "celery.starmap", "args": (), "options": {}, "immutable": True}
    return Group(_members([{**starmap, "kwargs": part} for part in parts], options, follows=follows))


_CANVAS = {"chain": _chain, "group": _group, "chord": _chord, "chunks": _chunks}


def calls(node: Node) -> Iterator[Call]:
    """The calls of a tree, in reading order."""
    if isinstance(node, Call):
        yield node
    elif isinstance(node, Chord):
        yield from (call for member in (*node.header, node.body) for call in calls(member))
    else:
        members = node.links if isinstance(node, Chain) else node.members
        yield from (call for member in members for call in calls(member))
