"""Where ``celery.contrib`` starts workers and makes apps for tests: there, and nowhere else, ours are put in.

Who has imported ``start_worker`` before, or imports the fixtures into a conftest of his own, gets them all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import celery.contrib.pytest
import celery.contrib.testing.worker

from .beside import gone

__all__ = ["fixtures_of_celery", "seams_taken"]


@contextmanager
def seams_taken(
    *, start: Callable[..., AbstractContextManager[Any]], made: Callable[[Any], AbstractContextManager[Any]]
) -> Iterator[Callable[..., AbstractContextManager[Any]]]:  # fmt: skip
    """While entered, ``start_worker`` starts by ``start(app, …)``, and ``made(app)`` is entered for each app.

    Yields Celery's own in the place of ``start``.
    """
    testing, fixtures = celery.contrib.testing.worker, celery.contrib.pytest
    start_in_thread, create_app = testing._start_worker_thread, fixtures._create_app

    @contextmanager
    def create(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with create_app(*args, **kwargs) as app, made(app):
            yield app
        gone.add(app)

    testing._start_worker_thread, fixtures._create_app = start, create
    try:
        yield start_in_thread
    finally:
        testing._start_worker_thread, fixtures._create_app = start_in_thread, create_app


def fixtures_of_celery() -> dict[str, Any]:
    """Celery's own fixtures by name, those included that a suite overrides."""
    prefixes = ("celery_", "depends_on_", "use_celery_")
    return {name: value for name, value in vars(celery.contrib.pytest).items() if name.startswith(prefixes)}
