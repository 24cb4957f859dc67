"""Where the tasks of the corpus leave their effects, outside of the task: a shop's providers, and its stores.

A call to one of them is one effect, which happens or does not: its lines are not the body's.
"""

from __future__ import annotations

import atexit
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4


class Provider:
    """A service somewhere else, such as a payment provider; it does a request once for each key that it is given.

    Attributes:
        done: What it has done, in order.
        down_for: The requests that find it down, the first time.
    """

    def __init__(self):
        self.reset()

    def reset(self, *, down_for=()):
        """Begin anew."""
        self.done = []
        self.down_for = set(down_for)
        self._keys = set()

    def do(self, request, *, key=None):
        """Do what is requested, unless it has been done under this key.

        Raises:
            ConnectionError: It is down.
        """
        if request in self.down_for:
            self.down_for.discard(request)
            raise ConnectionError(f"no answer to {request!r}")
        if key is None or key not in self._keys:
            self._keys.add(key)
            self.done.append(request)

    def has_done(self, request):
        """Whether it has done this."""
        return request in self.done


class Store:
    """What a Redis can do, as far as the tasks need it: each call is one command."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Begin anew."""
        self._values = {}

    def set(self, key, value, *, nx=False, ex=None):
        """Set a value; with ``nx`` only where there is none; with ``ex`` it is gone after so many seconds."""
        if nx and self.get(key) is not None:
            return False
        self._values[key] = (value, time.time() + ex if ex else None)
        return True

    def get(self, key):
        """The value, or None."""
        value, until = self._values.get(key, (None, None))
        return None if until is not None and until <= time.time() else value

    def incr(self, key):
        """Count up, and say how far."""
        self.set(key, (self.get(key) or 0) + 1)
        return self.get(key)

    def delete(self, key):
        """Forget a value."""
        self._values.pop(key, None)


#: Of this process: nothing that is on disk outlives it.
_DIRECTORY = tempfile.TemporaryDirectory(prefix="corpus-")
atexit.register(_DIRECTORY.cleanup)


class Folder:
    """A directory; ``folder / "name"`` is a file in it."""

    def __init__(self):
        self.path = Path(_DIRECTORY.name) / "files"
        self.path.mkdir()

    def reset(self, **texts):
        """Begin with these files: ``reset(inbox="…")``."""
        for path in self.path.iterdir():
            path.unlink()
        for name, text in texts.items():
            (self / name).write_text(text, encoding="utf-8")

    def __truediv__(self, name):
        return self.path / name


class Database:
    """SQLite in a file; a task opens it for itself."""

    def __init__(self, schema):
        self._path = Path(_DIRECTORY.name) / f"{uuid4()}.db"
        self.run(schema)

    def connect(self, *, timeout=5.0):
        """A new connection; ``timeout`` is how long it waits for a lock of another one."""
        connection = sqlite3.connect(self._path, timeout=timeout)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        return connection

    def rows(self, query):
        """What a query finds, in an order that does not depend on who came first."""
        with closing(self.connect()) as connection:
            return sorted(connection.execute(query).fetchall())

    def run(self, script):
        """Run statements, and commit."""
        with closing(self.connect()) as connection:
            connection.executescript(script)


mail = Provider()
bank = Provider()
redis = Store()
folder = Folder()
