"""Whatever happened, a closed harness leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import warnings

import celery.app.trace
import celery.backends.base
import celery.result
import celery.utils.time
import celery.worker.request
import kombu.transport
import kombu.utils.limits
import pytest
from celery import Celery, _state, signals
from celery.app.task import Task
from celery.worker import state as worker_state
from scenario import both_clocks

from pytest_taskharness import Harness
from pytest_taskharness.errors import ConfigurationError, FidelityError

pytestmark = both_clocks

PROCESS_WIDE = {
    "time.sleep": lambda: time.sleep,
    "time.time": lambda: time.time,
    "time.monotonic": lambda: time.monotonic,
    "asyncio.sleep": lambda: asyncio.sleep,
    "Task.apply": lambda: Task.apply,
    "Task.apply_async": lambda: Task.apply_async,
    "limits.monotonic": lambda: kombu.utils.limits.monotonic,
    "request.monotonic": lambda: celery.worker.request.monotonic,
    "result.time": lambda: celery.result.time,
    "utils.time.random": lambda: celery.utils.time.random,
    "trace globals": lambda: dict(vars(celery.app.trace)),
    "backend class": lambda: dict(vars(celery.backends.base.Backend)),
    "current app": lambda: _state._tls.current_app,
    "default app": lambda: _state.default_app,
    "join will block": _state.task_join_will_block,
    "finalizers": lambda: set(_state._on_app_finalizers),
    "task stack": lambda: list(_state._task_stack.stack),
    "requests": lambda: dict(worker_state.requests),
    "reserved": lambda: set(worker_state.reserved_requests),
    "active": lambda: set(worker_state.active_requests),
    "revoked": lambda: list(worker_state.revoked),
    "total count": lambda: dict(worker_state.total_count),
    "should stop": lambda: (worker_state.should_stop, worker_state.should_terminate),
    "transports": lambda: {
        name: value for name, value in kombu.transport.TRANSPORT_ALIASES.items() if "taskharness" not in name
    },
    "environment": lambda: {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    "time zone": lambda: (time.tzname, time.timezone),
    "sys.path": lambda: list(sys.path),
    "threads": lambda: set(threading.enumerate()),
    "running loop": asyncio._get_running_loop,
    "stdout": lambda: (sys.stdout, sys.stderr),
    "excepthook": lambda: sys.excepthook,
    "signals": lambda: {
        name: len(signal.receivers or ()) for name, signal in vars(signals).items() if hasattr(signal, "receivers")
    },
}

OF_THE_APP = {
    "conf changes": lambda app: dict(app.conf.maps[0]),
    "conf": lambda app: {key: app.conf[key] for key in ("broker_url", "result_backend", "task_always_eager")},
    "amqp": lambda app: app.__dict__.get("amqp"),
    "pool": lambda app: app._pool,
    "control": lambda app: app.__dict__.get("control"),
    "events": lambda app: app.__dict__.get("events"),
    "backend": lambda app: app._backend_cache,
    "backend maker": lambda app: app.__dict__.get("_get_backend"),
    "timezone": lambda app: app.__dict__.get("timezone"),
    "steps": lambda app: {name: set(steps) for name, steps in app.steps.items()},
    "tasks": lambda app: set(app._tasks),
    "attributes": lambda app: set(app.__dict__),
    "task attributes": lambda app: {name: dict(task.__dict__) for name, task in app._tasks.items()},
    "class attributes": lambda app: {name: dict(vars(type(task))) for name, task in app._tasks.items()},
}


def picture(app):
    found = {name: read() for name, read in PROCESS_WIDE.items()}
    return {**found, **{f"app: {name}": read(app) for name, read in OF_THE_APP.items()}}


def differences(before, after):
    """What is not what it was: the keys all the way down, then (before, after)."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return (before, after)
    missing = object()
    pairs = {key: (before.get(key, missing), after.get(key, missing)) for key in {*before, *after}}
    return {key: differences(old, new) for key, (old, new) in pairs.items() if old is not new and old != new}


@pytest.fixture
def kept(app, tasks):
    """Compares everything that a harness touches before and after the test."""
    app.finalize()
    assert app.amqp is not None
    assert app.control is not None
    app.set_current()
    with Harness.open(app):  # what is made once per process, is made
        pass
    for task in app._tasks.values():
        task._get_exec_options()  # Celery keeps them on the task
    before = picture(app)
    yield
    assert differences(before, picture(app)) == {}
    _state._set_current_app(None)


def work(app, tasks):
    @app.task(bind=True)
    def busy(self):
        app.conf.task_default_priority = 5
        tasks.add.delay(1, 2)
        if not self.request.retries:
            raise self.retry(countdown=5)

    busy.delay().get()
    tasks.noop.apply_async(countdown=60)
    tasks.noop.apply_async(queue="elsewhere").revoke()
    app.conf.worker_prefetch_multiplier = 7


def test_after_success(kept, app, tasks, open_harness):
    with open_harness() as harness:
        work(app, tasks)
        harness.settle()


def test_with_work_still_pending(kept, app, tasks, open_harness):
    with open_harness() as harness:
        work(app, tasks)
        harness.drain()


def test_after_a_failed_test(kept, app, tasks, open_harness):
    with pytest.raises(AssertionError, match="on purpose"), open_harness():
        work(app, tasks)
        raise AssertionError("on purpose")


def test_after_a_keyboard_interrupt_in_a_body(kept, app, tasks, open_harness):
    @app.task(shared=False)
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_harness() as harness:
        interrupted.delay()
        harness.drain()
    app._tasks.unregister(interrupted.name)


def test_after_several_workers_and_a_kill(kept, app, tasks, open_harness, mode):
    if mode == "eager":
        mode = "memory"
    with open_harness(mode=mode, workers=3) as harness:
        tasks.noop.apply_async(countdown=60)
        harness.drain()
        harness.worker("a").kill()
        harness.worker("b").shutdown()


@pytest.mark.parametrize(
    "options, error",
    [
        ({"workers": 0}, ConfigurationError),
        ({"workers": "two"}, ConfigurationError),
        ({"start": "not a time"}, ConfigurationError),
        ({"pool": "prefork"}, FidelityError),
        ({"visibility_timeout": 60, "mode": "eager"}, FidelityError),
        ({"visibility_timeout": -60, "mode": "fakeredis"}, ConfigurationError),
        ({"mode": "carrier pigeon"}, ConfigurationError),
        ({"config": {"worker_concurrency": "many"}}, ConfigurationError),
    ],
    ids=str,
)
def test_after_an_error_in_open(kept, app, open_harness, options, error):
    with pytest.raises(error):
        open_harness(**options)


def test_after_a_boot_step_that_raises(kept, app, open_harness):
    def broken(**_):
        raise LookupError("the user's own receiver")

    signals.worker_init.connect(broken)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_harness():
                pass
    except LookupError:
        pass
    finally:
        signals.worker_init.disconnect(broken)


def test_after_closing_twice(kept, app, open_harness):
    harness = open_harness()
    harness.close()
    harness.close()


def test_after_two_harnesses_of_one_app_inside_one_another(kept, app, tasks, open_harness):
    with open_harness(), open_harness(start=None):
        tasks.add.delay(1, 2).get()


def test_after_two_harnesses_that_are_closed_in_the_order_of_their_opening(kept, app, tasks, open_harness):
    outer, inner = open_harness(), open_harness(Celery("warehouse", broker="redis://localhost:1/0"))
    result = tasks.add.delay(1, 2)
    outer.close()
    assert outer.runs() == [outer.run_of(result)]
    inner.close()


def test_what_the_test_changed_in_conf_is_undone(kept, app, open_harness):
    with open_harness():
        app.conf.task_default_queue = "changed"
        app.conf.update(task_acks_late=True)


def test_a_harness_that_was_never_closed_by_hand_is_closed_by_its_fixture(kept, app, tasks, open_harness):
    harness = open_harness()
    tasks.add.delay(1, 2).get()
    harness.close()


def test_memory_is_given_back(open_harness, app, tasks, mode, clock_library):
    import gc
    import weakref

    with open_harness() as harness:
        tasks.add.delay(1, 2).get()
        world = weakref.ref(harness._world)
    opened = open_harness.__closure__
    for cell in opened:
        if isinstance(cell.cell_contents, list):
            cell.cell_contents.clear()
    del harness
    gc.collect()
    assert world() is None


def test_an_app_that_never_was_finalized_can_be_borrowed(open_harness, mode):
    fresh = Celery("fresh", set_as_current=False)

    @fresh.task(shared=False)
    def late():
        return 1

    with open_harness(fresh):
        assert late.delay().get() == 1
    assert fresh.conf.broker_url is None or "taskharness" not in fresh.conf.broker_url


def test_an_app_configured_from_an_object_keeps_its_configuration(open_harness):
    fresh = Celery("fresh", set_as_current=False)
    fresh.config_from_object({"broker_url": "redis://production:6379/0", "task_default_queue": "mine"})
    with open_harness(fresh) as harness:
        result = fresh.send_task("celery.backend_cleanup")
        assert harness.outbox[0].queue == "mine"
        result.get()
    assert fresh.conf.broker_url == "redis://production:6379/0"
    assert fresh.conf.task_default_queue == "mine"
