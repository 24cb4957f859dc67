"""A coroutine that polls for a result: each ``await asyncio.sleep()`` moves the virtual clock."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from hashing.service import HashTimeout, hash_of


def test_the_hash_is_the_sha256_of_the_text(harness, jobs):
    assert asyncio.run(hash_of("hello", jobs=jobs)) == hashlib.sha256(b"hello").hexdigest()


def test_ten_seconds_of_hashing_are_ten_virtual_seconds(harness, jobs):
    """During the first ``await`` the worker takes the task and its ten seconds pass: the second poll is the last."""
    asked = harness.clock.now

    asyncio.run(hash_of("hello", jobs=jobs))

    assert harness.clock.now - asked == timedelta(seconds=10)


def test_the_task_starts_at_once(harness, jobs):
    asked = harness.clock.now

    asyncio.run(hash_of("hello", jobs=jobs))

    assert harness.run_of("hashing.tasks.digest").started_at == asked


def test_two_callers_at_once_publish_at_once(harness, jobs):
    async def both():
        return await asyncio.gather(hash_of("hello", jobs=jobs), hash_of("world", jobs=jobs))

    asked = harness.clock.now
    hello, world = asyncio.run(both())

    assert [message.at for message in harness.outbox] == [asked, asked]
    assert hello == hashlib.sha256(b"hello").hexdigest()
    assert world == hashlib.sha256(b"world").hexdigest()


def test_nobody_waits_longer_than_the_timeout(harness, jobs):
    harness.worker().pause()
    asked = harness.clock.now

    with pytest.raises(HashTimeout, match="not ready after 60 s"):
        asyncio.run(hash_of("hello", jobs=jobs, timeout=60))

    assert harness.clock.now - asked == timedelta(seconds=60)


def test_a_worker_that_comes_back_in_time_is_waited_for(harness, jobs):
    async def deploy():
        harness.worker().pause()
        await asyncio.sleep(45)
        harness.worker().resume()

    async def ask_during_a_deploy():
        digest, _ = await asyncio.gather(hash_of("hello", jobs=jobs), deploy())
        return digest

    asked = harness.clock.now
    assert asyncio.run(ask_during_a_deploy()) == hashlib.sha256(b"hello").hexdigest()
    harness.assert_ran_at("hashing.tasks.digest", asked + timedelta(seconds=45))
