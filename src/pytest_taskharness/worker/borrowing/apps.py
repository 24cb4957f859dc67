"""Finds the Celery app that a path names, as ``celery -A`` does."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from celery.app.base import Celery
from celery.app.utils import find_app
from celery.local import Proxy

from ...errors import ConfigurationError
from ...wording import did_you_mean

__all__ = ["checked_app", "load_app", "unregistered", "user_part"]

#: Whose frames stand between the import of a user's module and what it does.
MACHINERY = {"__main__", "celery", "importlib", "kombu", "pytest_taskharness", "runpy"}


def load_app(path: str) -> Any:
    """Import the app at ``path``: ``package``, ``package.module``, ``package.module:attribute``.

    Raises:
        ConfigurationError: Nothing can be imported there, or it is no app; the text has the real error.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        # ``celery -A`` looks in the working directory too.
        sys.path.insert(0, here)
    try:
        return checked_app(find_app(path), origin=repr(path))
    except ConfigurationError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        error = _real(error)
        found = traceback.format_exception(type(error), error, user_part(error.__traceback__), chain=False)
        lines = "".join(found).rstrip()
        where = f"\n\n{lines}" if "\n" in lines else ""  # one line says what the first one has said
        raise ConfigurationError(
            f"the Celery app {path!r} cannot be imported: {type(error).__name__}: {error}{where}\n\n"
            f"It is looked up as `celery -A {path}` would: try that command in {here!r}."
        ) from error


def checked_app(app: Any, *, origin: str) -> Any:
    """The app behind a proxy, or an error that says what was found instead."""
    while isinstance(app, Proxy):
        app = app._get_current_object()
    if not isinstance(app, Celery):
        raise ConfigurationError(
            f"expected a Celery app, found {app!r} (type {type(app).__qualname__}) from {origin}. "
            "Name the Celery(…) object itself, for instance 'shop.tasks:app'."
        )
    return app


def unregistered(app: Any, name: str | None) -> str:
    """What is wrong with a task's name, and which one was meant."""
    meant = did_you_mean(name, [known for known in app.tasks if known != name])
    return f"no task {name!r} is registered on app {app.main or app!r}{meant.replace(' Did', '; did', 1)}"


def _real(error: BaseException) -> BaseException:
    """Celery looks a path up twice: after an AttributeError as a module, whose absence then says nothing."""
    first = error.__context__
    return first if isinstance(error, ModuleNotFoundError) and isinstance(first, AttributeError) else error


def user_part(tb: Any) -> Any:
    """The traceback without the frames of the import machinery, of Celery and of ours that come first."""
    candidate = tb
    while candidate is not None:
        name = candidate.tb_frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in MACHINERY:
            return candidate
        candidate = candidate.tb_next
    return None
