"""Where it is written down who owes what for a hash: SQLite, Redis, and a payment provider."""

import sqlite3
from contextlib import closing

from redis import Redis

redis = Redis.from_url("redis://localhost:6379/2", decode_responses=True)


class Ledger:
    """Two tables in SQLite: one that forbids a second row for a job, and one that does not."""

    def __init__(self, path: str) -> None:
        self._path = path
        with closing(self.connect()) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (job TEXT, cents INTEGER)")
            db.execute("CREATE TABLE IF NOT EXISTS bills (job TEXT PRIMARY KEY, cents INTEGER)")

    def connect(self) -> sqlite3.Connection:
        """A new connection: a task opens one, and closes it."""
        return sqlite3.connect(self._path)

    def rows(self) -> list[tuple[str, int]]:
        """All rows of both tables."""
        with closing(self.connect()) as db:
            return sorted(db.execute("SELECT * FROM notes UNION ALL SELECT * FROM bills").fetchall())

    def clear(self) -> None:
        """Delete them all."""
        with closing(self.connect()) as db, db:
            db.execute("DELETE FROM notes")
            db.execute("DELETE FROM bills")


class Provider:
    """A payment provider; here a list, in life an HTTP client that passes on an ``Idempotency-Key``."""

    def __init__(self) -> None:
        self.charges: list[tuple[str, int]] = []
        self._keys: set[str] = set()

    def charge(self, job: str, cents: int, *, key: str | None = None) -> None:
        """Charge, unless there has been a charge with this key."""
        if key is None or key not in self._keys:
            self.charges.append((job, cents))
        if key is not None:
            self._keys.add(key)

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()


ledger = Ledger(":memory:")
provider = Provider()
