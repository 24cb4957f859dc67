import fakeredis
import pytest

from hashing import stores
from hashing.celeryapp import app
from hashing.jobs import Jobs


@pytest.fixture(scope="session")
def taskharness_app():
    return app


@pytest.fixture
def jobs():
    """An empty table of jobs; each test has its own."""
    jobs = Jobs()
    yield jobs
    jobs.close()


@pytest.fixture
def bills(tmp_path, monkeypatch):
    """What is owed, wherever it was written down; each test has stores of its own."""
    monkeypatch.setattr(stores, "ledger", stores.Ledger(str(tmp_path / "ledger.db")))
    monkeypatch.setattr(stores, "redis", fakeredis.FakeRedis(decode_responses=True))
    monkeypatch.setattr(stores, "provider", stores.Provider())
    return Bills()


class Bills:
    """Looks at all three stores at once, and empties them."""

    def look(self):
        in_redis = [(key, stores.redis.get(key)) for key in sorted(stores.redis.keys("bill:*"))]
        return stores.ledger.rows() + stores.provider.charges + in_redis

    def clear(self):
        stores.ledger.clear()
        stores.redis.flushall()
        stores.provider.clear()
