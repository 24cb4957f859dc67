"""Honest eager: the body runs at the call, through the same message, consumer, request and tracer as ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.result import allow_join_result

from .takeover import applied

if TYPE_CHECKING:
    from .world import World

__all__ = ["applying_honestly"]


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
