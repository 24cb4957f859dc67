"""A task body is not a coroutine, even when the test that drives it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["outside_event_loop"]


@contextmanager
def outside_event_loop() -> Iterator[None]:
    """While entered, the running event loop of this thread is set aside, so that a body may call ``asyncio.run()``.

    A worker process has none.  Without this, an ``async def`` test could not drive such a task.
    """
    loop = asyncio.get_running_loop()
    # Python 3.12 and later refuses a task while another is current; a callback of the loop has none.
    swap = getattr(asyncio.tasks, "_swap_current_task", None) if asyncio.current_task(loop) else None
    current = swap(loop, None) if swap else None
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if swap:
            swap(loop, current)
