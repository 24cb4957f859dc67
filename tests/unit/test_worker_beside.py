"""Which apps are at one broker, and what becomes of one that is lent."""

from __future__ import annotations

import gc
import weakref

import pytest
from celery import Celery
from kombu import Connection

from pytest_taskharness import Harness
from pytest_taskharness.harness.served import end, serve
from pytest_taskharness.worker.borrowing.beside import are_at_one_broker


def app_at(url, **kwargs):
    return Celery("one", broker=url, set_as_current=False, **kwargs)


@pytest.mark.parametrize(
    "one, other",
    [
        ("memory://", "memory://localhost/"),
        ("redis://", "redis://localhost:6379/0"),
        ("redis://:secret@here/1", "redis://here:6379/1"),
        ("amqp://", "pyamqp://guest:guest@localhost:5672//"),
        (["redis://a", "redis://b"], "redis://a;redis://c"),
    ],
)
def test_one_broker(one, other):
    assert are_at_one_broker(app_at(one), app_at(other))


@pytest.mark.parametrize(
    "one, other",
    [
        ("memory://", "redis://"),
        ("redis://localhost/0", "redis://localhost/1"),
        ("redis://a", "redis://b"),
        ("amqp://here//", "amqp://here/shop"),
        ("redis://here:1/0", "redis://here:2/0"),
    ],
)
def test_two_brokers(one, other):
    assert not are_at_one_broker(app_at(one), app_at(other))


@pytest.fixture
def served():
    harness = serve(app_at("memory://", backend="cache+memory://"), "memory", config={})
    yield harness
    end(harness, passed=True)


def test_an_app_that_is_lent_is_given_back():
    other = app_at("memory://", backend="cache+memory://")
    assert other.backend and other.amqp
    before = dict(vars(other))
    harness = serve(app_at("memory://", backend="cache+memory://"), "memory", config={})
    other.send_task("anything")
    lent, backend = other.amqp, other.backend
    end(harness, passed=True)

    assert len(harness.outbox) == 1
    assert {name: vars(other)[name] for name in before} == before
    assert lent is not other.amqp and backend is not other.backend
    assert not [each for each in other.conf._observers if each.__self__ is lent]


def test_an_app_that_is_made_meanwhile_is_kept_alive_by_nobody(served):
    other = weakref.ref(app_at("memory://"))
    gc.collect()

    assert other() is None


def test_an_app_at_another_broker_is_left_alone(served):
    other = app_at("redis://nowhere.invalid", backend="cache+memory://")

    assert other.amqp.Connection is Connection


def test_an_app_with_a_harness_of_its_own_has_its_own_messages(served):
    other = app_at("memory://", backend="cache+memory://")
    with Harness.open(other) as harness:
        other.send_task("anything")
        assert len(harness.outbox) == 1
    assert served.outbox == []
    other.send_task("anything")
    assert len(served.outbox) == 1
