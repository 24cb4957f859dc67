"""The same content is hashed once, however many ask for it."""

import asyncio
from datetime import timedelta

import pytest

from hashing.service import HashTimeout, hash_of
from hashing.tasks import digest


def test_two_callers_at_once_share_one_task(harness, jobs):
    async def both():
        return await asyncio.gather(hash_of("hello", jobs=jobs), hash_of("hello", jobs=jobs))

    with harness.enqueues(digest.s("hello"), only=True):
        one, other = asyncio.run(both())

    assert one == other


def test_who_comes_later_gets_the_result_at_once(harness, jobs):
    asyncio.run(hash_of("hello", jobs=jobs))
    asked = harness.clock.now

    with harness.enqueues_nothing():
        asyncio.run(hash_of("hello", jobs=jobs))

    assert harness.clock.now == asked


def test_another_text_is_another_task(harness, jobs):
    with harness.enqueues(digest.s("hello"), digest.s("world"), only=True):
        asyncio.run(hash_of("hello", jobs=jobs))
        asyncio.run(hash_of("world", jobs=jobs))


def test_who_gave_up_joins_the_task_that_went_on(harness, jobs):
    harness.worker().pause()
    with pytest.raises(HashTimeout):
        asyncio.run(hash_of("hello", jobs=jobs, timeout=5))

    harness.worker().resume()
    with harness.enqueues_nothing():
        asyncio.run(hash_of("hello", jobs=jobs))

    assert len(harness.runs(digest)) == 1


def test_a_thousand_callers_cost_ten_seconds(harness, jobs):
    async def crowd():
        return await asyncio.gather(*(hash_of("hello", jobs=jobs) for _ in range(1_000)))

    asked = harness.clock.now
    assert len(set(asyncio.run(crowd()))) == 1

    harness.assert_enqueued(digest.s("hello"), times=1)
    assert harness.clock.now - asked == timedelta(seconds=10)


def test_what_cannot_be_encoded_is_never_sent(harness, jobs):
    with harness.enqueues_nothing(), pytest.raises(UnicodeEncodeError):
        asyncio.run(hash_of("\ud800", jobs=jobs))
