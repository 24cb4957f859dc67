"""What belongs to the thread that has opened it, and is of no use to a body in another one: database connections."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any

from ...errors import FidelityError

__all__ = ["close_django_connections", "complaints", "django_connections"]

#: What SQLite, and Django, say of a connection in the wrong thread.
_WRONG_THREAD = "can only be used in that same thread"


def django_connections() -> list[Any]:
    """Those that this thread has opened."""
    conf, db = sys.modules.get("django.conf"), sys.modules.get("django.db")
    if conf is None or db is None or not conf.settings.configured:
        return []
    return [each for each in db.connections.all() if each.connection is not None]


def close_django_connections() -> None:
    """The thread ends."""
    for each in django_connections():
        each.close()


def complaints(task: str, error: BaseException | None, *, transactions: Collection[str]) -> Iterator[FidelityError]:
    """What a body in this thread could not see or use, and its test has to know of.

    Args:
        task: The name of its task.
        error: What it has raised.
        transactions: Django's databases in which the thread that waits for it has a transaction open.
    """
    hidden = {each.alias for each in django_connections()}.intersection(transactions) if transactions else set()
    if hidden:
        yield FidelityError(_hidden_by_transaction(task, hidden))
    if error is not None and _WRONG_THREAD in str(error):
        yield FidelityError(
            f"{task} uses a connection that was opened in the test's thread "
            f"({type(error).__name__}: {error}). Copies that run at once, and bodies that are held, have "
            "threads of their own. To fix this, open it with check_same_thread=False, or inside the task."
        )


def _hidden_by_transaction(task: str, databases: set[str]) -> str:
    return (
        f"{task} uses the database {', '.join(map(repr, sorted(databases)))} while the test has a transaction open "
        "there, as Django's TestCase and the fixture db have. Copies that run at once, and bodies that are held, have "
        "threads and connections of their own: they neither see what the test has not committed, nor can they change "
        "it. To fix this, use TransactionTestCase, or pytest.mark.django_db(transaction=True); or ask for "
        "plans=['sequence', 'crashes']."
    )
