"""What was published: one message, as the publisher meant it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .events import CallSite, Event, TaskName

__all__ = ["Message"]


@dataclass(frozen=True)
class Message:
    """One message that was published.

    Mirrors the headers of Celery's message protocol 2
    (https://docs.celeryq.dev/en/stable/internals/protocol.html).

    Attributes:
        task: The task's registered name.
        id: The task id; a retry is published under the same one.
        args, kwargs: The arguments as the publisher gave them.
        options: What ``apply_async`` was given beyond the arguments, by its name there (``priority``,
            ``serializer``, ``expires``, ``time_limit``, …); what was not given is not there.
        headers: The message headers.
        queue: The queue it was routed to, or the exchange and routing key where there is no single queue.
        at: When it was published.
        countdown: Seconds from publishing to :attr:`eta`, or None.
        eta: When it may run (aware), or None.
        retries: 0 for a first attempt, N for the N-th retry.
        call_site: The user's line that published it, or None where Celery did (the next link of a chain).
        parent_id, root_id, group_id: The family, as in ``task.request``.
        argsrepr, kwargsrepr: The texts that stand for the arguments on a page.
        hidden: True where the publisher set ``argsrepr`` or ``kwargsrepr``: then the values are never shown.
        embed: ``callbacks``, ``errbacks``, ``chain`` and ``chord``, as the message carries them.
        seq: The place of its event in the timeline.
    """

    task: TaskName
    id: str
    at: datetime
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    queue: str = ""
    eta: datetime | None = None
    retries: int = 0
    call_site: CallSite | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    argsrepr: str = ""
    kwargsrepr: str = ""
    hidden: bool = False
    embed: dict[str, Any] = field(default_factory=dict)
    seq: int = -1

    @property
    def countdown(self) -> float | None:
        """Seconds from publishing to the eta, or None where there is no eta."""
        return None if self.eta is None else (self.eta - self.at).total_seconds()

    @property
    def priority(self) -> int | None:
        """The priority that the publisher set, or None."""
        return self.options.get("priority")

    @classmethod
    def from_event(cls, event: Event) -> Message:
        """The message of a ``publish`` event."""
        known = {name: event.detail[name] for name in _FIELDS if name in event.detail}
        return cls(task=TaskName(event.task or ""), id=event.id or "", at=event.at, seq=event.seq, **known)


_FIELDS = tuple(name for name in Message.__dataclass_fields__ if name not in {"task", "id", "at", "seq"})
