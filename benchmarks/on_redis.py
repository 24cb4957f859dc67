"""The same test on a Redis: the harness beside Celery's session worker, on one and the same server."""

from __future__ import annotations

from pytest_taskharness.servers.binary import find_binary
from pytest_taskharness.servers.redis import start_redis

from .report import Row
from .ways import CONTRIB, EMPTY, HARNESS, OURS, SHARED, Kind, Sample, beside, faster, torn_down

__all__ = ["measure"]

STOCK = """
import pytest
@pytest.fixture(scope="session")
def celery_config():
    return {{"broker_url": "{url}", "result_backend": "{url}"}}
"""
#: As fakeredis' documentation shows it.
STOCK_FAKE = """
import pytest
from threading import Thread
from fakeredis import TcpFakeServer
@pytest.fixture(scope="session")
def celery_config():
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    Thread(target=server.serve_forever, daemon=True).start()
    url = "redis://127.0.0.1:%d/0" % server.server_address[1]
    yield {"broker_url": url, "result_backend": url}
    server.shutdown()
    server.server_close()
"""


def measure(quick: bool) -> list[Row]:
    """One row for each mode on a Redis, and what stands beside it."""
    binary = find_binary()
    if binary is None:
        return [Row("one task in one test, `redis`", "no server found")]
    server = start_redis(binary)
    try:
        return _rows(server.url.rpartition("/")[0], quick)
    finally:
        server.close()


def _rows(server: str, quick: bool) -> list[Row]:
    """Both use the same server, and a database of their own."""
    ours, theirs = f"{server}/0", f"{server}/1"
    ini = f"taskharness_redis_url = {ours}\n"
    fakeredis = Kind("`fakeredis`, time-machine", "fakeredis_harness", HARNESS, OURS)
    redis = Kind("`redis`, time-machine", "redis_harness", HARNESS, OURS, ini=ini)
    process = Kind("`redis+process`, prefork", "redis_process_harness", HARNESS, OURS, tests=30)
    session = Kind(
        "`celery_session_worker` on the same server", "celery_session_worker", STOCK.format(url=theirs), CONTRIB,
        SHARED,
    )  # fmt: skip
    stock_fake = Kind(
        "`celery_session_worker` on fakeredis' `TcpFakeServer`", "celery_session_worker", STOCK_FAKE, CONTRIB, SHARED,
        tests=12, rounds=1,
    )  # fmt: skip
    sample = Sample(
        [EMPTY, fakeredis, redis, process, session, stock_fake], rounds=3 if quick else 9, count=40 if quick else 150
    )
    return [
        beside(sample, fakeredis, EMPTY, goal=4e-3),
        faster(sample, stock_fake, fakeredis, goal=20),
        beside(sample, redis, session, goal=4e-3),
        beside(sample, process, session, goal=10e-3),
        beside(sample, session, EMPTY),
        torn_down(sample, process, goal=0.1),
    ]
