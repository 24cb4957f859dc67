"""Checks what users give to ``Harness.open`` and ``harness.worker``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import ConfigurationError, hide_frames
from ..servers.given import GivenURL
from ..servers.given_rabbitmq import GivenRabbitMQ

__all__ = [
    "check_concurrency", "check_queues", "check_types", "given_rabbitmq", "given_redis", "limits", "moment",
    "result_of",
]  # fmt: skip

__tracebackhide__ = hide_frames


def given_redis(redis_url: str | GivenURL | None) -> GivenURL | None:
    """A Redis that runs already, and who named it; None where nobody did."""
    return GivenURL(redis_url, "Harness.open(redis_url=…)") if isinstance(redis_url, str) else redis_url


def given_rabbitmq(rabbitmq_url: str | GivenRabbitMQ | None) -> GivenRabbitMQ | None:
    """The same of a RabbitMQ."""
    if isinstance(rabbitmq_url, str):
        return GivenRabbitMQ(rabbitmq_url, "Harness.open(rabbitmq_url=…)")
    return rabbitmq_url


def check_types(config: object, seed: object) -> None:
    """Refuse a ``config=`` that is no mapping, and a ``seed=`` that is no number."""
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError(f"config= takes a dict of Celery settings; given: {config!r}")
    if not isinstance(seed, int):
        raise ConfigurationError(f"seed= takes a whole number; given: {seed!r}")


def check_queues(queues: object) -> None:
    """Refuse a ``queues=`` that is no list of names."""
    names = queues if isinstance(queues, (list, tuple)) else [queues]
    if queues is not None and (names is not queues or not all(isinstance(name, str) for name in names)):
        raise ConfigurationError(f"queues= takes a list of names of queues; given: {queues!r}")


def check_concurrency(concurrency: object) -> None:
    """Refuse a ``concurrency=`` that is no number of slots."""
    if concurrency is None:
        return
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(f"concurrency= takes a whole number, at least 1; given: {concurrency!r}")


def limits(max_time: object, max_runs: object) -> tuple[timedelta | None, int]:
    """How far a verb, or a thread, may go: in virtual time, and in task bodies that start."""
    if isinstance(max_runs, bool) or not isinstance(max_runs, int) or max_runs < 1:
        raise ConfigurationError(f"max_runs= takes a whole number, at least 1; given: {max_runs!r}")
    time = timedelta(seconds=max_time) if isinstance(max_time, (int, float)) else max_time
    if time is None or (isinstance(time, timedelta) and time >= timedelta(0)):
        return time, max_runs
    raise ConfigurationError(f"max_time= takes virtual seconds, or a timedelta, and none below 0; given: {max_time!r}")


def moment(start: datetime | str | None, *, what: str = "start") -> datetime | None:
    """An instant that a test gives, as the first one of the clock, in UTC; None where the present one is meant."""
    if start is None:
        return None
    try:
        given = datetime.fromisoformat(start.replace("Z", "+00:00")) if isinstance(start, str) else start
    except ValueError as error:
        raise ConfigurationError(f"{what}={start!r} is no ISO 8601 time: {error}") from None
    if not isinstance(given, datetime):
        raise ConfigurationError(f"{what}= takes an aware datetime or an ISO 8601 text; given: {start!r}")
    if given.tzinfo is None:
        raise ConfigurationError(
            f"{what}={start!r} is naive. Say which zone is meant, for instance '2030-01-01T00:00+00:00' or 'Z'."
        )
    try:
        return given.astimezone(timezone.utc)
    except OverflowError as error:
        raise ConfigurationError(f"{what}={start!r} is no time in UTC: {error}") from None


def result_of(app: Any, x: Any) -> Any:
    """Celery's result of what a test can wait for."""
    if hasattr(x, "ready") and hasattr(x, "get"):
        return x
    task_id = x if isinstance(x, str) else getattr(x, "id", None)
    if not isinstance(task_id, str):
        raise ConfigurationError(f"wait() takes a result, a group of results, a run, a message or an id; given: {x!r}")
    return app.AsyncResult(task_id)
