"""What it takes until a server accepts connections, and until a worker is ready; and until they are gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pytest_taskharness.harness import Harness
from pytest_taskharness.servers.binary import Binary, find_binary, wheel_binary
from pytest_taskharness.servers.guarded import GuardedProcess
from pytest_taskharness.servers.redis import start_redis, the_redis

from .measure import interleaved, now, pairwise_ratio, timed
from .report import Row, at_most, millis, times
from .shop import add, app

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parent.parent
POOLS = ("prefork", "threads", "solo")


def measure(quick: bool) -> list[Row]:
    """A row for each server that is found here, and for each pool."""
    rounds = 3 if quick else 15
    return [*_servers(rounds), *_workers(rounds)]


# -- servers


def _servers(rounds: int) -> Iterator[Row]:
    found = {str(binary): binary for binary in (find_binary(), wheel_binary()) if binary is not None}
    if not found:
        yield Row("a server", "none found")
    for name, binary in found.items():
        taken = interleaved({"start": partial(started, binary)}, rounds=rounds)["start"]
        yield Row(f"a server of its own, {name}, until it accepts connections", millis(median(taken)))
        taken = interleaved({"stop": partial(stopped, binary)}, rounds=rounds)["stop"]
        yield Row(f"the same, until it and its directory are gone, {name}", millis(median(taken)))


def started(binary: Binary) -> float:
    """Seconds."""
    start = now()
    with closing(start_redis(binary)):
        return now() - start


def stopped(binary: Binary) -> float:
    """Seconds."""
    server = start_redis(binary)
    return timed(server.close)


# -- workers


def _workers(rounds: int) -> list[Row]:
    taken = interleaved({**{pool: partial(ready, pool) for pool in POOLS}, "celery": by_hand}, rounds=rounds)
    return [_worker_row(pool, taken) for pool in POOLS]


def _worker_row(pool: str, taken: dict[str, list[float]]) -> Row:
    seconds = median(taken[pool])
    return Row(
        f"a worker process with a pool of kind {pool}, until it is ready", millis(seconds),
        f"`celery worker` with its defaults: {millis(median(taken['celery']))}",
        times(pairwise_ratio(taken[pool], taken["celery"])), f"≤ {millis(0.6)}", at_most(seconds, 0.6),
    )  # fmt: skip


def ready(pool: str) -> float:
    """Seconds until a harness with one worker is open; what it brings is proven afterwards."""
    start = now()
    with Harness.open(app, "redis+process", pool=pool):
        taken = now() - start
        assert add.delay(2, 2).get(timeout=30) == 4
    return taken


def by_hand() -> float:
    """Seconds until Celery's own worker says that it is ready."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.shop:app", "worker", "-l", "INFO"]
    environment = {**os.environ, "CELERY_BROKER_URL": the_redis().url}
    start = now()
    with TemporaryDirectory() as folder, GuardedProcess.start(
        command, log=Path(folder) / "log", env=environment, cwd=ROOT, announcement=" ready."
    ) as worker:  # fmt: skip
        assert worker.wait_announced(30), worker.log_tail()
        return now() - start
