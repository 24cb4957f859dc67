"""The task."""

import hashlib
import time

from hashing.celeryapp import app


@app.task
def digest(text: str) -> str:
    """The SHA-256 of a text, on a machine that takes its time."""
    time.sleep(10)
    return hashlib.sha256(text.encode()).hexdigest()
