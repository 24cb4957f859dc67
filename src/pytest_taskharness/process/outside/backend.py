"""Celery's own redis result backend in the test process, awaited by listening to the workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from celery import states

from ...errors import FidelityError, hide_frames
from ...worker.supplies.redis_backend import HarnessRedisBackend
from .waits import Waits

__all__ = ["ProcessRedisBackend"]

__tracebackhide__ = hide_frames


class ProcessRedisBackend(HarnessRedisBackend):
    """Somebody else stores the results here: whether one is there, only the server knows."""

    def is_ready(self, task_id: str) -> bool:
        """Whether a final state of this task is stored."""
        return self._get_task_meta_for(task_id)["status"] in states.READY_STATES

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:
        """``AsyncResult.ready()`` and its like: what the worker tells is not behind what the server has."""
        meta = super().get_task_meta(task_id, cache)
        if meta["status"] in states.READY_STATES:
            cast("Waits", self.waits).let_end(task_id)
        return meta

    def check_hears(self) -> None:
        """A worker stores its states by itself.

        Raises:
            FidelityError: Always.
        """
        raise FidelityError(
            "result.get(on_message=…) hears of each state in turn, and a real worker stores them in another process: "
            "only the last one is there when the test looks. Run this test with mode='memory', 'fakeredis', 'redis' "
            "or 'rabbitmq', or look at run.states afterwards."
        )

    def wait_for(self, task_id: str, timeout: float | None = None, **kwargs: Any) -> Any:
        """``AsyncResult.get()``: return when the worker is done with the task."""
        meta = super().wait_for(task_id, timeout=timeout, **kwargs)
        cast("Waits", self.waits).let_end(task_id)
        return meta

    def get_many(self, task_ids: Any, timeout: float | None = None, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """``GroupResult.join_native()``: the same for several."""
        for task_id, meta in super().get_many(task_ids, timeout=timeout, **kwargs):
            cast("Waits", self.waits).let_end(task_id)
            yield task_id, meta
