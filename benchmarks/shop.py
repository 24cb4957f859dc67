"""The tasks that the measurements inside one process run."""

from __future__ import annotations

from typing import Any

from celery import Celery

__all__ = [
    "FIVE_BACKOFFS", "HOURS_OF_A_DAY", "MINUTES_OF_A_DAY", "add", "app", "backing_off", "hourly", "make_app", "noop",
    "retrying", "total",
]  # fmt: skip

#: 1 + 2 + 4 + 8 + 16 virtual seconds.
FIVE_BACKOFFS = 31.0
HOURS_OF_A_DAY = 24
MINUTES_OF_A_DAY = 24 * 60


def make_app(name: str, **settings: Any) -> Celery:
    """An app of its own with the tasks below; never the process's current app."""
    made = Celery(name, set_as_current=False, **settings)
    for function in (_noop, _add, _total):
        made.task(function, name=f"bench.{function.__name__}")
    made.task(_retrying, name="bench._retrying", bind=True, max_retries=None)
    made.task(
        _backing_off, name="bench._backing_off", bind=True, autoretry_for=(ConnectionError,), retry_backoff=True,
        retry_jitter=False, max_retries=5,
    )  # fmt: skip
    made.task(
        _hourly, name="bench._hourly", bind=True, autoretry_for=(ConnectionError,), retry_backoff=3600,
        retry_backoff_max=3600, retry_jitter=False, max_retries=HOURS_OF_A_DAY,
    )  # fmt: skip
    return made


def _noop() -> None:
    """Cost nothing."""


def _add(x: int, y: int) -> int:
    """What everybody's first task does."""
    return x + y


def _total(values: list[int]) -> int:
    """The body of a chord."""
    return sum(values)


def _retrying(self: Any, times: int, countdown: float) -> int:
    """Try again so many times, so many seconds apart."""
    if self.request.retries < times:
        raise self.retry(countdown=countdown)
    return times


def _backing_off(self: Any) -> int:
    """Fail five times."""
    if self.request.retries < 5:
        raise ConnectionError
    return int(self.request.retries)


def _hourly(self: Any) -> int:
    """Fail for a day."""
    if self.request.retries < HOURS_OF_A_DAY:
        raise ConnectionError
    return int(self.request.retries)


app = make_app("shop", broker="redis://localhost/0")
app.finalize()
noop, add, total, retrying, backing_off, hourly = (
    app.tasks[f"bench.{name}"] for name in ("_noop", "_add", "_total", "_retrying", "_backing_off", "_hourly")
)
