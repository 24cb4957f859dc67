"""Which content has already been sent, so that the same content is hashed once."""

import sqlite3
from uuid import NAMESPACE_OID, uuid5

from celery.result import AsyncResult

from hashing.tasks import digest


class Jobs:
    """A table with one task id per content; its primary key decides who publishes and who joins."""

    def __init__(self, path: str = ":memory:") -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("CREATE TABLE IF NOT EXISTS jobs (task_id TEXT PRIMARY KEY)")

    def result_for(self, text: str) -> AsyncResult:
        """The result of hashing this text, which is published only where nobody has asked before."""
        task_id = str(uuid5(NAMESPACE_OID, text))
        with self._db:  # where publishing raises, the claim is rolled back
            claimed = self._db.execute("INSERT OR IGNORE INTO jobs VALUES (?)", (task_id,)).rowcount == 1
            if claimed:
                digest.apply_async((text,), task_id=task_id)
        return digest.AsyncResult(task_id)

    def close(self) -> None:
        """Close the table."""
        self._db.close()
