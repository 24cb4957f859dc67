"""Apps beside the one that is served, at the same broker: what they publish reaches the same worker.

A suite may define its tasks on an app of its own and let Celery's fixtures make the one that runs them.  That works
where both are at one broker, as ``memory://`` is for a whole process.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import celery.app.base
from celery import _state
from kombu import Connection
from kombu.pools import ProducerPool
from kombu.utils.imports import symbol_by_name

from .local_tasks import is_borrowed

__all__ = ["apps_beside", "are_at_one_broker", "gone"]

#: Apps of fixtures that have ended: Celery lists them until they are collected.
gone: weakref.WeakSet[Any] = weakref.WeakSet()

#: What an app has made of its configuration.
_DERIVED = ("amqp", "amqp_cls", "control", "events", "_pool", "_backend_cache", "_local", "_get_backend")
_MISSING = object()


@contextmanager
def apps_beside(
    served: Any, *, connect: Callable[[], Any], backend: Any, equip: Callable[[Any], object]
) -> Iterator[None]:  # fmt: skip
    """While entered, other apps with the broker of ``served`` publish to ours, and so do those that are made later.

    Args:
        served: The app that has a worker.
        connect: A new connection to the broker that it has instead.
        backend: The result backend that it has instead, for those that have the same as well.
        equip: Called with each ``app.amqp`` that publishes there.
    """
    broker, results = _identity(served.conf.broker_url), served.conf.result_backend

    def lend(app: Any) -> None:
        if app is not served and not is_borrowed(app):
            stack.callback(_Lent(app, make_amqp, get_backend).give_back)

    def make_amqp(app: Any, own: Callable[..., Any], outer: Callable[..., Any]) -> Any:
        if is_borrowed(app):
            return own(app=app)
        if _identity(app.conf.broker_url) != broker:
            return outer(app=app)
        amqp = own(app=app)
        _lead(app, amqp, connect)
        equip(amqp)
        return amqp

    def get_backend(app: Any, own: Callable[[], Any]) -> Any:
        return backend if results and app.conf.result_backend == results else own()

    with ExitStack() as stack, _told_of_new_apps(lend):
        for app in set(_state._get_active_apps()) - set(gone):
            lend(app)
        yield


def are_at_one_broker(one: Any, other: Any) -> bool:
    """Whether what one app publishes would reach a worker of the other one."""
    return _identity(one.conf.broker_url) == _identity(other.conf.broker_url)


class _Lent:
    """One app, which decides when it first publishes: to ask it for its configuration any earlier would load that."""

    def __init__(self, app: Any, make_amqp: Callable[..., Any], get_backend: Callable[..., Any]) -> None:
        """It is kept alive by nobody here: a suite makes many."""
        self._app = known = weakref.ref(app)
        outer, taken = symbol_by_name(app.amqp_cls), app._get_backend
        own = getattr(outer, "own", outer)  # where it is lent to another one already
        self._before = {name: vars(app).pop(name, _MISSING) for name in _DERIVED}
        self._amqp: Any = None

        def amqp_cls(app: Any) -> Any:
            app.conf  # noqa: B018 - loads it: Celery's own takes that for granted
            self._amqp = make_amqp(app, own, outer)
            return self._amqp

        amqp_cls.own = own  # type: ignore[attr-defined]
        vars(app).update(
            amqp_cls=amqp_cls, _pool=None, _backend_cache=None, _local=threading.local(),
            _get_backend=lambda: get_backend(known(), taken),
        )  # fmt: skip

    def give_back(self) -> None:
        """As it was."""
        app = self._app()
        if app is None:
            return
        for name, value in self._before.items():
            vars(app).pop(name, None)
            if value is not _MISSING:
                vars(app)[name] = value
        if self._amqp is not None:  # it would listen to the configuration for ever
            observers = app.conf._observers
            observers[:] = [each for each in observers if getattr(each, "__self__", None) is not self._amqp]


@contextmanager
def _told_of_new_apps(lend: Callable[[Any], None]) -> Iterator[None]:
    register = celery.app.base._register_app

    def register_app(app: Any) -> None:
        register(app)
        lend(app)

    celery.app.base._register_app = register_app
    try:
        yield
    finally:
        celery.app.base._register_app = register


def _lead(app: Any, amqp: Any, connect: Callable[[], Any]) -> None:
    amqp.Connection = lambda *args, **kwargs: connect()
    app._pool = connect().Pool(limit=app.conf.broker_pool_limit)
    amqp._producer_pool = ProducerPool(app._pool, limit=app._pool.limit, Producer=amqp.Producer)


def _identity(url: Any) -> tuple[Any, ...]:
    """Of which two are the same for the same broker; one in the process is, whatever else its URL says."""
    first = str(url[0] if isinstance(url, (list, tuple)) and url else url or "").partition(";")[0]
    if first.startswith("memory:"):
        return ("memory",)
    where = Connection(first or "amqp://")
    kind = str(where.transport_cls).replace("pyamqp", "amqp")
    virtual_host = (where.virtual_host or "").strip("/")
    port = where.port or {"amqp": 5672, "redis": 6379}.get(kind)
    return kind, where.hostname or "localhost", port, "" if virtual_host == "0" else virtual_host
