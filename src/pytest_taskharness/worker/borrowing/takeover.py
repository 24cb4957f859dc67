"""Borrows the user's own app: broker, backend and configuration are ours while a harness is open, and his after."""

from __future__ import annotations

import random
import sys
import threading
import time as _time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import celery.result
import celery.utils.time
import celery.worker.request
import kombu.utils.limits
from celery import _state
from celery.app.task import Task
from celery.worker import state as worker_state
from kombu.asynchronous.timer import to_timestamp
from kombu.pools import ProducerPool

from ...clock.virtual import VirtualTime
from .annotations import annotated
from .local_tasks import local_tasks_removed

__all__ = ["applied", "borrowed", "connect_anew", "send_late", "virtual_readers"]

#: What an app has made of its configuration; made anew from ours, and put back.
_DERIVED = (
    "amqp", "control", "events", "timezone", "_pool", "_backend_cache", "_local", "_get_backend", "redbeat_conf",
    "redbeat_redis", "redbeat_sentinel",
)  # fmt: skip
_MISSING = object()

#: What any mode needs; the user's configuration stays beneath it.
_NEEDED = {
    "task_always_eager": False,
    "worker_pool": "solo",  # ours takes its place; Celery warns of green ones
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    "broker_heartbeat": 0,
    "worker_enable_prefetch_count_reduction": False,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
}


@contextmanager
def borrowed(
    app: Any, *, config: Mapping[str, Any], connect: Callable[..., Any], make_backend: Callable[[], Any],
    current: bool = True,
) -> Iterator[Any]:  # fmt: skip
    """While entered, ``app`` publishes to ``connect()`` and stores in ``make_backend()``; yields its ``amqp``.

    Everything is put back on the way out, also what the test changed in ``app.conf`` meanwhile.
    """
    app.finalize()
    with ExitStack() as stack:
        stack.enter_context(_unobserved(app))
        stack.enter_context(_configured(app, {**_NEEDED, **_own_entries(app), **config}))
        stack.enter_context(_fresh(app))
        stack.enter_context(_rebound(app, config))
        if current:
            stack.enter_context(_current(app))
        stack.enter_context(_clean_worker_state())
        stack.enter_context(_django_connections_kept(app))
        stack.enter_context(local_tasks_removed(app))
        yield _equipped(app, stack, connect=connect, make_backend=make_backend)


def _equipped(app: Any, stack: ExitStack, *, connect: Callable[..., Any], make_backend: Callable[[], Any]) -> Any:
    amqp = app.amqp

    def connection(*args: Any, **kwargs: Any) -> Any:
        # Whatever URL, failover list, login or TLS the app would use: a test never reaches another broker.
        return connect()

    amqp.Connection = connection
    send_late(amqp)
    _fill_pools(app)
    stack.callback(_empty_pools, app)
    backend = make_backend()
    app._get_backend = lambda: backend
    return amqp


def send_late(amqp: Any) -> None:
    """Celery's sender is made at the first publish: before 5.7 it hears of no receiver of a signal that comes later."""

    @cache
    def sender() -> Any:
        ours = vars(amqp).pop("send_task_message")
        try:
            return amqp.send_task_message
        finally:
            amqp.send_task_message = ours

    def send_task_message(*args: Any, **kwargs: Any) -> Any:
        return sender()(*args, **kwargs)

    amqp.send_task_message = send_task_message


def _fill_pools(app: Any) -> None:
    app._pool = app.amqp.Connection().Pool(limit=app.conf.broker_pool_limit)
    app.amqp._producer_pool = ProducerPool(app._pool, limit=app._pool.limit, Producer=app.amqp.Producer)


def _empty_pools(app: Any) -> None:
    app._pool.force_close_all()


def connect_anew(app: Any) -> None:
    """After an outage: publishers and stepped workers share their pools, and one's broken channel is the other's."""
    _empty_pools(app)
    _fill_pools(app)
    app.control.mailbox.__dict__.pop("producer_pool", None)  # it remembers the one that it has seen


@contextmanager
def _unobserved(app: Any) -> Iterator[None]:
    """Each ``app.amqp`` listens to its app's configuration for ever: ours must not, nor the user's meanwhile."""
    observers = app.conf._observers
    before = list(observers)
    observers.clear()
    try:
        yield
    finally:
        observers[:] = before


def _own_entries(app: Any) -> dict[str, Any]:
    """``add_periodic_task()`` writes into the dict of the user's configuration: what a test adds goes into a copy."""
    entries = app.conf.beat_schedule
    return {"beat_schedule": dict(entries)} if isinstance(entries, dict) else {}


@contextmanager
def _configured(app: Any, config: Mapping[str, Any]) -> Iterator[None]:
    changes = app.conf.maps[0]
    before = dict(changes)
    app.conf.update(config)
    app.conf.update(_overruled(app.conf, config))
    try:
        yield
    finally:
        changes.clear()
        changes.update(before)


def _overruled(conf: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Under the names of their namespace, those that would not hold without it.

    Before Celery 5.7 a name with the namespace's prefix, in any of the maps, wins over one without it.  Where it does
    not, it must not be written: what the test sets on the app would not win over it.
    """
    return {conf._to_keys(name)[0]: value for name, value in config.items() if conf.get(name) is not value}


@contextmanager
def _fresh(app: Any) -> Iterator[None]:
    attributes = app.__dict__
    before = {name: attributes.pop(name, _MISSING) for name in _DERIVED}
    app._pool = None
    app._backend_cache = None
    app._local = threading.local()
    try:
        _adopt_queues(app, before["amqp"])
        yield
    finally:
        for name, value in before.items():
            attributes.pop(name, None)
            if value is not _MISSING:
                attributes[name] = value


def _adopt_queues(app: Any, amqp: Any) -> None:
    """Queues that the user's code added to ``app.amqp.queues`` by hand are in no configuration."""
    if amqp is not _MISSING and "queues" in amqp.__dict__:
        for name, queue in amqp.queues.items():
            if name not in app.amqp.queues:
                app.amqp.queues.add(queue)


@contextmanager
def _rebound(app: Any, config: Mapping[str, Any]) -> Iterator[None]:
    """A task copies its defaults from the configuration when it is bound: ours must reach those bound before."""
    with _limits_kept(app), annotated(app, config) as said:
        yield from _with_defaults(app, config, said)


def _with_defaults(app: Any, config: Mapping[str, Any], said: set[tuple[type, str]]) -> Iterator[None]:
    changed = {attribute: setting for attribute, setting in Task.from_config if setting in config}
    ours = [
        (task.__dict__, attribute, config[changed[attribute]])
        for task in (app._tasks.values() if changed else ())
        for attribute in _taken_from_configuration(type(task))
        # What was set on the task itself wins, as ever, and what an annotation says.
        if attribute in changed and attribute not in task.__dict__ and (type(task), attribute) not in said
    ]
    before = [attributes.get(name, _MISSING) for attributes, name, _ in ours]
    for attributes, name, value in ours:
        attributes[name] = value
        attributes.pop("_exec_options", None)
    try:
        yield
    finally:
        for (attributes, name, _), value in zip(ours, before, strict=True):
            attributes.pop(name, None)
            attributes.pop("_exec_options", None)
            if value is not _MISSING:
                attributes[name] = value


@contextmanager
def _limits_kept(app: Any) -> Iterator[None]:
    """What ``app.control.rate_limit()`` and ``time_limit()`` set on the user's task objects ends with the test."""
    names = ("rate_limit", "soft_time_limit", "time_limit")
    before = [(task, name, task.__dict__.get(name, _MISSING)) for task in app._tasks.values() for name in names]
    try:
        yield
    finally:
        for task, name, value in before:
            task.__dict__.pop(name, None)
            if value is not _MISSING:
                task.__dict__[name] = value


def _taken_from_configuration(cls: type) -> list[str]:
    """``Task.bind`` first marks the class as bound, then fills in what the task does not say itself."""
    names = list(vars(cls))
    return names[names.index("__bound__") + 1 :] if "__bound__" in names else []


@contextmanager
def _current(app: Any) -> Iterator[None]:
    """``@shared_task`` and ``current_app`` mean this app, as in a worker that was started with ``-A``."""
    current, default = _state._tls.current_app, _state.default_app
    joining = _state.task_join_will_block()
    _state._set_current_app(app)
    _state.set_default_app(app)
    try:
        yield
    finally:
        _state._set_current_app(current)
        _state.set_default_app(default)
        _state._set_task_join_will_block(joining)


@contextmanager
def _clean_worker_state() -> Iterator[None]:
    """celery.worker.state is process-wide: revoked ids, requests, counters."""
    kept = {name: getattr(worker_state, name) for name in ("should_stop", "should_terminate")}
    containers = [worker_state.requests, worker_state.total_count, worker_state.revoked_stamps]
    before = [dict(container) for container in containers]
    revoked, successful = list(worker_state.revoked), list(worker_state.successful_requests)
    count = worker_state.all_total_count[0]
    worker_state.reset_state()
    try:
        yield
    finally:
        worker_state.reset_state()
        for container, contents in zip(containers, before, strict=True):
            container.update(contents)
        worker_state.revoked.update(revoked)
        worker_state.successful_requests.update(successful)
        worker_state.all_total_count[0] = count
        for name, value in kept.items():
            setattr(worker_state, name, value)


class _NoWorkerFixup:
    """In the place of Celery's DjangoWorkerFixup, which closes the test's own database connections."""

    worker = None

    def install(self) -> None:
        """Connect nothing, close nothing."""

    validate_models = install


@contextmanager
def _django_connections_kept(app: Any) -> Iterator[None]:
    fixups = [fixup for fixup in getattr(app, "_fixups", ()) if hasattr(fixup, "_worker_fixup")]
    before = [fixup._worker_fixup for fixup in fixups]
    for fixup in fixups:
        fixup._worker_fixup = _NoWorkerFixup()
    try:
        yield
    finally:
        for fixup, original in zip(fixups, before, strict=True):
            fixup._worker_fixup = original


def _sleep(seconds: float) -> None:
    _time.sleep(seconds)  # looked up when it is called: it is virtual by then


def _monotonic() -> float:
    return _time.monotonic()  # as above


@contextmanager
def virtual_readers(time: VirtualTime, seed: int) -> Iterator[None]:
    """The named places where Celery and kombu read a monotonic clock, or a random number that decides a delay.

    time-machine leaves ``monotonic`` alone and freezegun stops it for good; virtual time needs it to move.
    """
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=_sleep)
    patches: list[tuple[Any, str, Any]] = [
        (kombu.utils.limits, "monotonic", time.monotonic),
        # It makes an instant of the monotonic clock of an eta, and reads that clock through a default argument.
        (to_timestamp, "__defaults__", (*(to_timestamp.__defaults__ or ())[:-1], _monotonic)),
        (celery.worker.request, "monotonic", time.monotonic),
        (celery.result, "time", clock),
        (celery.utils.time, "random", random.Random(seed)),
    ]
    if (transport := sys.modules.get("kombu.transport.redis")) is not None:
        # time-machine's float of an instant is not always the nearest one, which decides who is overdue.
        patches.append((transport, "time", time.timestamp))
    before = [(module, name, getattr(module, name)) for module, name, _ in patches]
    for module, name, value in patches:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def applied(app: Any, apply: Callable[..., Any]) -> Iterator[None]:
    """While entered, ``task.apply()`` of this app's tasks is ``apply(task, …)``."""
    original = Task.apply

    def dispatch(task: Any, *args: Any, **kwargs: Any) -> Any:
        return (apply if task.app is app else original)(task, *args, **kwargs)

    Task.apply = dispatch
    try:
        yield
    finally:
        Task.apply = original
