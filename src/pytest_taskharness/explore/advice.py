"""How a task that is not idempotent can be mended, as far as its failures tell."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["RESULT", "advice"]

#: What a finding is about where no effect differs.
RESULT = "its result"

_ONLY_RESULT = (
    "hint: no effect that observe() sees differs, only what the task returns: return the same where it finds that the "
    "work was done before."
)
_FORGETS = (
    "To fix this, let the same step that does the work remember that it is done: a unique key, an upsert, SET NX; or "
    "pass an idempotency key on to whoever does it."
)
_TWO_STEPS = (
    "To fix this, make the effect and the mark that it is done one step, such as one transaction; for an effect "
    "outside (a mail, a payment) pass an idempotency key on."
)
_RACE = (
    "hint: between the lines of one copy the other has run. To fix this, let one statement look and act: a unique key "
    "(INSERT … ON CONFLICT), an upsert, SET NX, SELECT … FOR UPDATE."
)
_LOCKED = (
    "hint: SQLite gave up on a lock that the other copy has: it lets one write at a time, and does not wait for a "
    "transaction that has begun by reading, nor for a table in a shared memory database. To fix this, let the "
    "transaction begin as one that writes (BEGIN IMMEDIATE; in Django, OPTIONS={'transaction_mode': 'IMMEDIATE'}) in a "
    "database file, or let the test run on the database that production has."
)


def advice(failed: Collection[str], *, passed: Collection[str], about: str, error: BaseException | None = None) -> str:
    """One hint, or none.

    Args:
        failed: The kinds of plan that failed.
        passed: The kinds of plan of which all have passed.
        about: What the finding is about that is shown.
        error: What the task has ended with in the plan that is shown.
    """
    if about == RESULT:
        return _ONLY_RESULT
    if "again" in failed:
        return _FORGETS
    if "crash" in failed:
        return _TWO_STEPS if "again" in passed else _FORGETS
    return _LOCKED if _is_locked(error) else _RACE


def _is_locked(error: BaseException | None) -> bool:
    """Whether SQLite has refused; whoever passes its error on keeps its text."""
    return re.search(r"\bdatabase (table |schema )?is locked", str(error)) is not None
