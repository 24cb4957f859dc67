"""Whatever an app is configured with, the harness opens, runs its tasks, and never reaches for its servers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery, group
from kombu import Exchange, Queue
from kombu.common import Broadcast

from pytest_taskharness import Harness

TOPIC = {
    "task_queues": [Queue("t", Exchange("topic", "topic"), routing_key="a.#")],
    "task_default_queue": "t",
    "task_default_exchange": "topic",
    "task_default_exchange_type": "topic",
    "task_default_routing_key": "a.b",
}


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": ["redis://nowhere.invalid", "redis://nobody.invalid"], "broker_failover_strategy": "shuffle"},
        {"broker_use_ssl": {"ca_certs": "nowhere"}, "broker_transport_options": {"visibility_timeout": 10}},
        {"broker_pool_limit": None},
        {"broker_pool_limit": 0},
        {"result_backend": "rpc://"},
        {"result_extended": True, "task_track_started": True, "result_compression": "gzip"},
        {"result_backend_transport_options": {"global_keyprefix": "x"}},
        {"task_protocol": 1},
        {"task_send_sent_event": True, "worker_send_task_events": True},
        {"task_default_queue": "q1", "task_create_missing_queues": False},
        {"task_queues": [Broadcast("everybody"), Queue("celery")]},
        TOPIC,
        {"task_acks_late": True, "worker_prefetch_multiplier": 1},
        {"timezone": "Europe/Berlin", "enable_utc": False},
        {"worker_concurrency": "auto"},
        {"worker_direct": True},
        {"worker_enable_remote_control": False},
        {"worker_pool": "gevent"},
        {"worker_consumer": "celery.worker.consumer:Consumer", "worker_timer": "celery.utils.timer2:Timer"},
        {"worker_state_db": "nowhere.db"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_an_app_with_these_settings_is_stepped(settings, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://nowhere.invalid/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://nowhere.invalid/1")
    app = Celery("configured", set_as_current=False)
    app.conf.update(settings)

    @app.task(shared=False, name="configured.add")
    def add(x, y):
        return x + y

    with Harness.open(app) as harness:
        results = group(add.s(number, number) for number in range(3))()
        later = add.apply_async((1, 1), countdown=10)

        harness.settle()

        assert (results.get(), later.get()) == ([0, 2, 4], 2)


def spaced():
    """Configured as by Django's settings: ``app.config_from_object("django.conf:settings", namespace="CELERY")``."""
    app = Celery("spaced", set_as_current=False)
    nightly = {"nightly": {"task": "spaced.work", "schedule": 3600}}
    settings = SimpleNamespace(CELERY_BROKER_URL="redis://nowhere.invalid", CELERY_BEAT_SCHEDULE=nightly)
    app.config_from_object(settings, namespace="CELERY")
    return app


@pytest.mark.parametrize(
    "name, value",
    [("beat_schedule", {"hourly": {"task": "spaced.work", "schedule": 60}}), ("task_routes", {"spaced.work": "mail"})],
)
def test_what_a_test_sets_holds_on_an_app_with_a_namespace_as_without_a_harness(name, value):
    natively = spaced()
    setattr(natively.conf, name, value)
    app = spaced()
    with Harness.open(app, config={"task_routes": {}}):
        setattr(app.conf, name, value)
        # Before Celery 5.7 what the settings file says wins over what is set later.
        assert app.conf[name] == natively.conf[name]


def test_what_is_configured_for_a_test_wins_over_the_settings_of_a_namespace():
    app = spaced()
    with Harness.open(app, config={"beat_schedule": {}}):
        assert app.conf.beat_schedule == {}
    assert list(app.conf.beat_schedule) == ["nightly"]
