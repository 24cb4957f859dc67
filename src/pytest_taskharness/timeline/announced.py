"""What a message says shall follow: the links after it, and the body of its chord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .message import Message

__all__ = ["Announced", "announced"]


@dataclass(frozen=True)
class Announced:
    """A task that comes after another one.

    Attributes:
        task, id: Its name, and the id that Celery has given it already, or ``""``.
        message: The message that says so.
        after: What that message is to it.
    """

    task: str
    id: str
    message: Message
    after: str


def announced(message: Message) -> Iterator[Announced]:
    """All that a message says shall follow."""
    links = list(reversed(message.embed.get("chain") or ()))
    for place, link in enumerate(links):
        yield from _inside(link, message, "the link before it" if place == 0 else "a link before it")
    yield from _inside(message.embed.get("chord"), message, "a part of the chord before it")
    yield from _inside(message.embed.get("callbacks"), message, "the task that it is a link of")


def _inside(value: Any, message: Message, after: str) -> Iterator[Announced]:
    if isinstance(value, Mapping):
        if isinstance(value.get("task"), str):
            yield Announced(value["task"], (value.get("options") or {}).get("task_id") or "", message, after)
        value = list(value.values())
    for item in value if isinstance(value, (list, tuple)) else ():
        if isinstance(item, (Mapping, list, tuple)):
            yield from _inside(item, message, after)
