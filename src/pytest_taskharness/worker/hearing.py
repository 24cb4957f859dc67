"""What a world is told of its tasks, by our transport and by Celery's signals: published, rejected, begun, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import signals

from ..errors import FidelityError, hide_frames
from ..timeline import Event
from .eager import complete

if TYPE_CHECKING:
    from .world import World

__all__ = ["Hearing"]

__tracebackhide__ = hide_frames


class Hearing:
    """Hears what becomes of the messages of one world, and does what follows from it."""

    def __init__(self, world: World) -> None:
        """Celery's signals are heard while :meth:`connected`."""
        self._world = world

    @contextmanager
    def connected(self) -> Iterator[None]:
        """While entered, Celery's signals are heard."""
        # Before Celery 5.7 two worlds' methods would be one receiver: they are told apart by the function alone.
        uid = f"{id(self)}"
        signals.task_revoked.connect(self._revoked, dispatch_uid=uid)
        signals.task_prerun.connect(self._begins, dispatch_uid=uid)
        try:
            yield
        finally:
            signals.task_revoked.disconnect(dispatch_uid=uid)
            signals.task_prerun.disconnect(dispatch_uid=uid)

    def published(self, event: Event) -> None:
        """A message was published here."""
        if event.id is None:
            return
        world, retries = self._world, event.detail["retries"]
        world.descent.follow(event)
        if (why := world.broker.dropped.pop(event.id, None)) is not None:
            world.recorder.record("drop", task=event.task, id=event.id, note=why, gone=1)
        world.sent_out(event)
        world.turn.wake()
        if world.eager:
            world.descent.check_retries(event.id, retries)
            if not (retries and world.is_running(event.id)):
                self._complete(event)

    def _complete(self, event: Event) -> None:
        """In eager mode it runs now; a link, or a chord's body, after the task that has just published it."""
        put_off = self._world.put_off
        if put_off is not None and event.detail["call_site"] is None and self._world.execution_here() is not None:
            put_off.append(event)
        else:
            complete(self._world, event)

    def took_over(self, event: Event) -> None:
        """A forked child has published this."""
        if event.id is not None:
            self._world.descent.follow(event)

    def rejected(self, identity: dict[str, Any], *, requeue: bool) -> None:
        """A delivery was refused.

        Raises:
            FidelityError: In eager mode, where nothing can deliver it again.
        """
        if requeue and self._world.eager:
            text = (
                f"{identity['task']} rejected its message with requeue=True. In eager mode there is no broker that "
                "could deliver it again; run this test with mode='memory'."
            )
            raise self._world.broke(FidelityError(text))
        if requeue and identity.get("id"):
            self._world.descent.add(identity["id"], identity["id"])

    def _begins(self, task_id: str | None = None, **_: Any) -> None:
        execution = self._world.execution_here()
        if execution is not None and execution.task_id == task_id:
            execution.began = True

    def _revoked(self, request: Any = None, expired: bool = False, terminated: bool = False, **_: Any) -> None:
        world, task_id = self._world, getattr(request, "id", None)
        if task_id is None or not world.timeline.of(task_id):
            return  # a task of another world
        note = "expired" if expired else "terminated" if terminated else "revoked"
        world.recorder.record("revoke", task=getattr(request, "task", None), id=task_id, state="REVOKED", note=note)
