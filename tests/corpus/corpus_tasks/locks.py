"""Locks and markers in a store such as Redis."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

from corpus_case import Topic
from corpus_stores import bank, redis

shop = SimpleNamespace()
LOCK = "lock"
SECONDS = 60


def reset():
    bank.reset()
    redis.reset()
    shop.index = ["old"]


topic = Topic(
    observe=lambda: {"bank": list(bank.done), "index": list(shop.index), "coupon": redis.get("coupon 7")}, reset=reset
)
right, wrong = topic.right, topic.wrong


@wrong("crash", 7, thread="https://github.com/AI-Shipping-Labs/website/issues/285")
def set_nx_then_charge(order):
    """SET NX lets one of them through, and if that one dies nobody does the work."""
    if not redis.set(f"charged {order}", "yes", nx=True):
        return
    bank.do(f"charge {order}")


@wrong("crash", 7)
def set_nx_and_clean_up(order):
    """The marker is taken back after an error; death is no error."""
    if not redis.set(f"charged {order}", "yes", nx=True):
        return
    try:
        bank.do(f"charge {order}")
    except ConnectionError:
        redis.delete(f"charged {order}")
        raise


@wrong("crash", 7)
def count_then_charge(order):
    """INCR says who was first, and the first one may have died."""
    if redis.incr(f"charged {order}") == 1:
        bank.do(f"charge {order}")


@right(7)
def charge_with_key_then_mark(order):
    """The marker comes last and only saves the call, which has a key."""
    if redis.get(f"charged {order}"):
        return
    bank.do(f"charge {order}", key=order)
    redis.set(f"charged {order}", "yes", ex=86400)


@right(7)
def first_one_wins(order):
    """SET NX is the effect itself, and everybody reads what the first one has written."""
    redis.set(f"coupon {order}", f"COUPON-{order}", nx=True)
    return redis.get(f"coupon {order}")


@wrong("together")
def rebuild():
    """Cleared, then filled: two at once fill it twice."""
    shop.index.clear()
    for word in ("a", "b"):
        shop.index.append(word)


@wrong("together", bind=True, thread="https://github.com/celery/celery/issues/87")
def rebuild_with_lock_in_two_steps(self):
    """Both look for the lock before one of them takes it."""
    if redis.get(LOCK):
        raise self.retry(countdown=SECONDS + 1)
    redis.set(LOCK, "held", ex=SECONDS)
    try:
        shop.index.clear()
        for word in ("a", "b"):
            shop.index.append(word)
    finally:
        redis.delete(LOCK)


@wrong("crash", thread="https://github.com/cameronmaske/celery-once/issues/147")
def rebuild_with_lock_for_ever():
    """The lock is left behind: a process that is dead does not run its ``finally``."""
    if not redis.set(LOCK, "held", nx=True):
        return
    try:
        shop.index.clear()
        for word in ("a", "b"):
            shop.index.append(word)
    finally:
        redis.delete(LOCK)


@wrong("crash", thread="https://github.com/unicef/hope/pull/6382")
def rebuild_unless_locked():
    """The lock ends some day; but who finds it held gives up, and says that all is well."""
    if not redis.set(LOCK, "held", nx=True, ex=SECONDS):
        return
    try:
        shop.index.clear()
        for word in ("a", "b"):
            shop.index.append(word)
    finally:
        redis.delete(LOCK)


@contextmanager
def lock(seconds=None):
    """Whether it was free; given back at the end of the block."""
    acquired = redis.set(LOCK, "held", nx=True, ex=seconds)
    try:
        yield acquired
    finally:
        if acquired:
            redis.delete(LOCK)


@wrong("crash", lines="package", thread="https://github.com/cameronmaske/celery-once/issues/147")
def rebuild_in_lock_for_ever():
    """The same lock as a context manager of one's own."""
    with lock() as acquired:
        if acquired:
            shop.index = []
            shop.index.extend(["a", "b"])


@right(bind=True, lines="package")
def rebuild_in_lock(self):
    """The same, with an end to it, and a retry."""
    with lock(SECONDS) as acquired:
        if not acquired:
            raise self.retry(countdown=SECONDS + 1)
        shop.index = []
        shop.index.extend(["a", "b"])


@right(bind=True)
def rebuild_with_lock(self):
    """The lock ends some day, and who finds it held comes back then."""
    if not redis.set(LOCK, "held", nx=True, ex=SECONDS):
        raise self.retry(countdown=SECONDS + 1)
    try:
        shop.index.clear()
        for word in ("a", "b"):
            shop.index.append(word)
    finally:
        redis.delete(LOCK)


@right()
def replace_index():
    """No lock at all: the new one is made apart, and put in its place in one step."""
    index = list("ab")
    shop.index = index
