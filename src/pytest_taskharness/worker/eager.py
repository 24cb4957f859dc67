"""Honest eager: the body runs at the call, through the same message, consumer, request and tracer as ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.result import allow_join_result

from .borrowing.takeover import applied

if TYPE_CHECKING:
    from ..timeline import Event
    from .world import World

__all__ = ["applying_honestly", "complete"]


@contextmanager
def applying_honestly(app: Any, world: World) -> Iterator[None]:
    """While entered, ``task.apply()`` and everything in ``celery.canvas`` that calls it takes the same way.

    Celery's own ``apply`` serializes nothing, checks no signature and stores no result.
    """

    def apply(
        task: Any, args: Any = None, kwargs: Any = None, *, link: Any = None, link_error: Any = None,
        task_id: str | None = None, retries: int | None = None, throw: bool | None = None, logfile: Any = None,
        loglevel: Any = None, headers: Any = None, **options: Any,
    ) -> Any:  # fmt: skip
        result = task.apply_async(
            args, kwargs, link=link, link_error=link_error, task_id=task_id, retries=retries or 0, headers=headers,
            **options,
        )  # fmt: skip
        if throw:
            with allow_join_result():
                result.get()
        return result

    with applied(app, apply):
        yield


def complete(world: World, published: Event) -> None:
    """Run one task to its end, through its retries, and all that Celery publishes after it, one after the other.

    An eta that the caller set is left to the clock.

    Raises:
        RunBudgetExceeded: Its retries never end.
    """
    with world.exclusively():
        _complete(world, published)
    _propagate(world, published)


def _complete(world: World, published: Event) -> None:
    outer, world.put_off = world.put_off, [published]
    try:
        for event in world.put_off:  # which grows meanwhile
            if not _is_followed(world, event) and outer is not None:
                world.too_deep.append(event)  # there is room for it when the bodies around this call have ended
            elif outer is None:
                world.put_off += world.too_deep
                world.too_deep.clear()
    finally:
        world.put_off = outer


def _is_followed(world: World, published: Event) -> bool:
    """Run one task to its end, as far as that can be done now."""
    task_id = str(published.id)
    while not _is_complete(world, task_id):
        if world.take_step():
            continue
        if _waits_for_eta(world, published):
            return True
        due = world.next_due()
        if due is None:
            return False
        world.move_to(due)
    return True


def _propagate(world: World, published: Event) -> None:
    """``task_eager_propagates``: after the last retry, the caller gets the error; Celery's own calls do not."""
    site = published.detail["call_site"]
    if not (site and site.line and world.app.conf.task_eager_propagates):
        return
    run = world.timeline.run(str(published.id))
    if run is not None and run.state == "FAILURE" and run.error:
        raise run.error


def _is_complete(world: World, task_id: str) -> bool:
    # Asked after every step: only the last word counts, not the whole history.
    for event in reversed(world.timeline.of(task_id)):
        if event.kind in {"finish", "retry", "publish", "revoke", "poison"}:
            return event.kind in {"finish", "revoke", "poison"}
    return False


def _waits_for_eta(world: World, published: Event) -> bool:
    events = world.timeline.of(str(published.id))
    eta = published.detail["eta"]
    return eta is not None and eta > world.time.now and not any(event.kind == "start" for event in events)
