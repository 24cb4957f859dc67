"""RedBeat: its schedule and its lock lie on the harness's own Redis, and the lock is waited for in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import redis.lock
from redbeat import schedulers
from redis.exceptions import LockError

from ..broker.redis_broker import escaped
from ..errors import FidelityError, ScheduleError, hide_frames

if TYPE_CHECKING:
    from .service import Plan

__all__ = ["around"]

__tracebackhide__ = hide_frames

#: One for each question: nothing that it writes is found by anybody else.
_questions = count()


@contextmanager
def around(plan: Plan) -> Iterator[None]:
    """Have the scheduler made so that it waits for its lock without blocking; a question has a copy of the schedule.

    Raises:
        FidelityError: The mode has no Redis.
    """
    broker = plan.world.broker
    if not hasattr(broker, "own_prefix"):
        raise FidelityError(
            "RedBeat keeps its schedule on the Redis that is the broker, and in this mode none is. Run this test with "
            "mode='fakeredis', 'redis' or 'redis+process'; or, where beat_schedule is all that it asks about, give "
            "scheduler='celery.beat:Scheduler'."
        )
    schedulers.ensure_conf(plan.app)
    if plan.asks:
        plan.cls = type(plan.cls.__name__, (_Asking, plan.cls), {})
        with _on_a_copy(plan.app):
            yield
        return
    has_other_clock = bool(broker.own_prefix) and not getattr(plan.world, "lets_keys_age", False)
    plan.cls = type(plan.cls.__name__, (_Waiting, plan.cls), {"world": plan.world, "ages": has_other_clock})
    yield


class _Listing:
    """Beside a RedBeatScheduler."""

    app: Any
    Entry: Any

    @property
    def all_entries(self) -> dict[str, Any]:
        """Every entry; ``schedule`` has those that are due soon."""
        client, conf = schedulers.get_redis(self.app), self.app.redbeat_conf
        found = {}
        for key in client.zrange(conf.schedule_key, 0, -1):
            with suppress(KeyError):
                entry = self.Entry.from_key(key, app=self.app)
                found[entry.name] = entry
        return found


class _Asking(_Listing):
    """A question needs no lock, whoever has it."""

    lock_key = property(lambda self: None, lambda self, key: None)


class _Waiting(_Listing):
    """RedBeat asks for its lock when it starts, and blocks; here each tick asks, as long as another beat has it.

    Attributes:
        world: Whose clock the lock goes by.
        ages: Whether the server's clock is another one.
    """

    world: Any
    ages: bool
    lock: Any
    lock_timeout: float
    max_interval: float
    _key: str | None = None
    _asks = False

    @property
    def lock_key(self) -> str | None:
        """As RedBeat has it, once the lock is there: nothing blocks before, and nothing is extended."""
        return self._key if self._asks or self.lock is not None else None

    @lock_key.setter
    def lock_key(self, key: str | None) -> None:
        self._key = key

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """The same; or nothing, where another beat has the lock."""
        if self._key:
            self._let_lock_age()
            if not self._has_lock():
                return self.max_interval
        try:
            return super().tick(*args, **kwargs)  # type: ignore[misc]
        except LockError as error:
            raise self._lost(error) from error

    def _has_lock(self) -> bool:
        if self.lock is None:
            self._ask()
        return self.lock is not None

    def _lost(self, error: LockError) -> ScheduleError:
        """A process that finds that out ends, and whoever starts it again asks for the lock."""
        self.lock = None
        return ScheduleError(
            f"a beat has lost its lock: it is kept for {self.lock_timeout:g} s (redbeat_lock_timeout), and beat sleeps "
            f"for up to {self.max_interval:g} s (beat_max_loop_interval). In production the process ends here, with "
            f"{type(error).__name__}: {error}; so it is here, until resume(). To fix this, let the lock be kept for "
            "longer than beat sleeps; if redbeat_lock_timeout is not set, that is 5 times as long."
        )

    def _ask(self) -> None:
        acquire, self._asks = redis.lock.Lock.acquire, True
        redis.lock.Lock.acquire = lambda lock: acquire(lock, blocking=False)
        try:
            schedulers.acquire_distributed_beat_lock(sender=SimpleNamespace(scheduler=self))
        finally:
            redis.lock.Lock.acquire, self._asks = acquire, False
        if not self.lock.owned():
            self.lock = None

    def _let_lock_age(self) -> None:
        """On a real server the lock expires in real time: what has passed on the test's clock is taken off."""
        now = self.world.time.now
        seen, self.world.broker.lock_seen = getattr(self.world.broker, "lock_seen", now), now
        passed = (now - seen) // timedelta(milliseconds=1) if self.ages else 0
        client = schedulers.get_redis(self.world.app)
        left = client.pttl(self._key)
        if 0 <= left <= passed:
            client.delete(self._key)
        elif left >= 0 and passed:
            client.pexpire(self._key, left - passed)

    def stopped(self) -> None:
        """As a process that ends: another beat may have the lock."""
        self.sync()
        if self.lock is not None:
            self._let_lock_age()
            with suppress(LockError):
                self.lock.release()
            self.lock = None

    def sync(self) -> None:
        """Nothing: all is on the server."""


@contextmanager
def _on_a_copy(app: Any) -> Iterator[None]:
    """While entered, RedBeat's keys are copies of those that it has."""
    conf = app.redbeat_conf
    before = dict(vars(conf))
    prefix = f"{conf.key_prefix}question-{next(_questions)}:"
    moved = partial(_moved, before=conf.key_prefix, after=prefix)
    client = schedulers.get_redis(app)
    _copy(client, conf, moved)
    conf.key_prefix = prefix
    conf.schedule_key, conf.statics_key = moved(conf.schedule_key), moved(conf.statics_key)
    try:
        yield
    finally:
        vars(conf).update(before)
        for key in list(client.scan_iter(f"{escaped(prefix)}*")):
            client.delete(key)


def _copy(client: Any, conf: Any, moved: Any) -> None:
    for key, score in client.zrange(conf.schedule_key, 0, -1, withscores=True):
        client.zadd(moved(conf.schedule_key), {moved(key): score})
        fields = client.hgetall(key)
        if fields:
            client.hset(moved(key), mapping=fields)
    statics = client.smembers(conf.statics_key)
    if statics:
        client.sadd(moved(conf.statics_key), *statics)


def _moved(key: str, *, before: str, after: str) -> str:
    return after + key.removeprefix(before)
