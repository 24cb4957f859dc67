"""What a web endpoint calls."""

import asyncio

from hashing.jobs import Jobs

POLL_INTERVAL = 0.5


class HashTimeout(Exception):
    """The hash was not ready in time; the task goes on, and a later call joins it."""


async def hash_of(text: str, *, jobs: Jobs, timeout: float = 60) -> str:
    """The SHA-256 of a text, as soon as a worker has it.

    Raises:
        HashTimeout: It is not ready after ``timeout`` seconds.
    """
    result = jobs.result_for(text)
    waited = 0.0
    while not result.ready():
        if waited >= timeout:
            raise HashTimeout(f"not ready after {timeout:g} s")
        await asyncio.sleep(POLL_INTERVAL)
        waited += POLL_INTERVAL
    return result.get()
