"""A timeline in a file: JSON in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from .events import CallSite, Event

__all__ = ["Recorded", "RecordedError", "dumps", "loads"]

VERSION = 1


class RecordedError(Exception):
    """An exception that was read back from a file: its type's name and its message are all that is left."""

    def __init__(self, type_name: str, message: str) -> None:
        """Keep the name and the message."""
        super().__init__(message)
        self.type_name = type_name

    def __repr__(self) -> str:
        """As the original's repr began."""
        return f"{self.type_name}({str(self)!r})"


class Recorded:
    """A value that JSON has no form for, read back from a file: its repr is all that is left."""

    def __init__(self, text: str) -> None:
        """Keep the repr."""
        self.text = text

    def __eq__(self, other: object) -> bool:
        """Equal to whatever has the same repr."""
        return repr(other) == self.text

    def __hash__(self) -> int:
        """By the repr."""
        return hash(self.text)

    def __repr__(self) -> str:
        """The repr of the value that was recorded."""
        return self.text


def dumps(start: datetime, events: Iterable[Event]) -> str:
    """Write events down; the same events give the same bytes."""
    document = {"version": VERSION, "start": start.isoformat(), "events": [_pack_event(event) for event in events]}
    return json.dumps(document, sort_keys=True)


def loads(text: str) -> tuple[datetime, list[Event]]:
    """Read events back.

    Raises:
        ValueError: The text is not a timeline, or a later version of one.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        found = document.get("version") if isinstance(document, dict) else type(document).__name__
        raise ValueError(f"expected a timeline of version {VERSION}, as to_json() writes it; found {found!r}")
    return datetime.fromisoformat(document["start"]), [_unpack_event(row) for row in document["events"]]


def _pack_event(event: Event) -> dict[str, Any]:
    detail = _without_hidden(event.detail)
    if "headers" in detail:
        # The process and the host that published: all that would differ between two runs of a test.
        detail = {**detail, "headers": {name: value for name, value in detail["headers"].items() if name != "origin"}}
    return {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "task": event.task,
        "id": event.id,
        "worker": event.worker,
        "detail": {name: _pack(value) for name, value in detail.items()},
    }


def _unpack_event(row: dict[str, Any]) -> Event:
    detail = {name: _unpack(value) for name, value in row["detail"].items()}
    at = datetime.fromisoformat(row["at"])
    return Event(row["seq"], at, row["kind"], row["task"], row["id"], row["worker"], detail)


def _without_hidden(detail: dict[str, Any]) -> dict[str, Any]:
    if not detail.get("hidden"):
        return detail
    shown = {name: value for name, value in detail.items() if name not in {"args", "kwargs", "embed"}}
    return {**shown, "args": (Recorded(str(detail.get("argsrepr"))),), "kwargs": {}}


def _without_hidden_signature(value: dict[Any, Any]) -> dict[Any, Any]:
    """The next link of a chain, a chord's body, a callback: their options may hide their arguments too."""
    options = value.get("options")
    if not isinstance(options, dict) or not {"argsrepr", "kwargsrepr"} & options.keys():
        return value
    return {**value, "args": [Recorded(str(options.get("argsrepr", "(…)")))], "kwargs": {}}


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if type(value) in {bool, int, float, str, type(None)} else _pack_plain(value)
    if isinstance(value, (list, tuple)):
        return {"$tuple": [_pack(item) for item in value]} if isinstance(value, tuple) else [_pack(i) for i in value]
    if isinstance(value, dict):
        shown = _without_hidden_signature(value)
        return {"$dict": [[_pack(key), _pack(item)] for key, item in shown.items()]}
    return _pack_object(value)


def _pack_plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _pack_object(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, timedelta):
        return {"$seconds": value.total_seconds()}
    if isinstance(value, CallSite):
        return {"$site": [value.file, value.line, value.function]}
    if isinstance(value, BaseException):
        return {"$error": [type(value).__name__, str(value)]}
    return {"$repr": repr(value)}


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda items: tuple(_unpack(item) for item in items),
    "$dict": lambda pairs: {_unpack(key): _unpack(item) for key, item in pairs},
    "$datetime": datetime.fromisoformat,
    "$seconds": lambda seconds: timedelta(seconds=seconds),
    "$site": lambda parts: CallSite(*parts),
    "$error": lambda parts: RecordedError(*parts),
    "$repr": Recorded,
}


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if isinstance(value, dict):
        [(tag, packed)] = value.items()
        return _UNPACK[tag](packed)
    return value
