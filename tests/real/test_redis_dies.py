"""The server dies in the middle of a test: that test says so at once, and gives everything back."""

from __future__ import annotations

import os
import signal
import time
import warnings

import pytest
from celery import Celery

from pytest_taskharness import Harness
from pytest_taskharness.broker import redis_access
from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import ServerError
from pytest_taskharness.servers.redis import find_binary, start_redis, the_redis
from pytest_taskharness.worker.supplies import redis_supply

#: What a dead server may cost, in real seconds; it is a tenth of a second on a machine that has nothing else to do.
AT_ONCE = 20.0


@pytest.fixture
def app():
    return Celery("shop", broker="redis://localhost:1/0", set_as_current=False)


@pytest.fixture
def die(needed):
    """Kill the server of this process."""
    needed(find_binary(), "a Redis server")
    return lambda: os.kill(the_redis().process.pid, signal.SIGKILL)


@pytest.fixture
def tasks(app, die):
    @app.task(name="shop.add", shared=False)
    def add(x, y):
        return x + y

    @app.task(name="shop.fatal", shared=False)
    def fatal():
        die()

    @app.task(name="shop.careful", shared=False)
    def careful():
        die()
        try:
            add.delay(1, 2)
        except Exception:
            return "never mind"

    return app.tasks


def publish(harness, tasks, die):
    die()
    tasks["shop.add"].delay(1, 2)


def drive(harness, tasks, die):
    tasks["shop.add"].delay(1, 2)
    die()
    harness.settle()


def read(harness, tasks, die):
    result = tasks["shop.add"].delay(1, 2)
    harness.settle()
    die()
    result.get()


def look(harness, tasks, die):
    result = tasks["shop.add"].delay(1, 2)
    harness.settle()
    die()
    assert result.state == "SUCCESS"


def advance(harness, tasks, die):
    tasks["shop.add"].apply_async((1, 2), countdown=60)
    harness.drain()
    die()
    harness.clock.advance(hours=2)


def sleep(harness, tasks, die):
    tasks["shop.add"].delay(1, 2)
    die()
    time.sleep(3600)


def inspect(harness, tasks, die):
    die()
    harness.app.control.inspect(timeout=1).ping()


def in_a_body(harness, tasks, die):
    tasks["shop.fatal"].delay()
    harness.settle()


def in_a_body_that_does_not_mind(harness, tasks, die):
    tasks["shop.careful"].delay()
    harness.settle()


def peek(harness, tasks, die):
    tasks["shop.add"].delay(1, 2)
    die()
    harness.strict_leftovers = True
    harness.close()


SCENES = [publish, drive, read, look, advance, sleep, inspect, in_a_body, in_a_body_that_does_not_mind, peek]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_test_whose_server_dies_says_so_at_once(app, tasks, die, scene):
    the_redis()
    began = Real.monotonic()
    with pytest.raises(ServerError, match=r"(?s)was ended by SIGKILL.*The end of its log"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Celery's tracer: "Exception raised outside body"
        with Harness.open(app, "redis") as harness:
            scene(harness, tasks, die)
    assert Real.monotonic() - began < AT_ONCE


def test_the_app_is_given_back(app, tasks, die):
    before = dict(app.conf.maps[0])
    moment = time.time()
    with pytest.raises(ServerError), Harness.open(app, "redis") as harness:
        drive(harness, tasks, die)
    assert dict(app.conf.maps[0]) == before
    assert time.time() != moment


def test_a_server_that_dies_after_the_last_look_is_nobodys_trouble(app, tasks, die):
    with Harness.open(app, "redis"):
        assert tasks["shop.add"].delay(1, 2).get() == 3
        die()


def test_the_next_test_gets_another_server(app, tasks, die):
    with pytest.raises(ServerError), Harness.open(app, "redis") as harness:
        drive(harness, tasks, die)
    with Harness.open(app, "redis"):
        assert tasks["shop.add"].delay(1, 2).get() == 3


def test_a_given_server_that_dies_is_told_apart(app, tasks, die):
    given = start_redis(find_binary())
    with (
        given.process as process,
        pytest.raises(ServerError, match=r"(?s)not the harness's own, and answers no more.*"),
        Harness.open(app, "redis", redis_url=given.url) as harness,
    ):
        tasks["shop.add"].delay(1, 2)
        process.kill()
        assert process.wait(AT_ONCE) == -signal.SIGKILL
        harness.settle()


def test_a_server_that_hangs_ends_the_test_too(app, tasks, die, monkeypatch):
    monkeypatch.setattr(redis_access, "PATIENCE", 0.2)
    monkeypatch.setattr(redis_supply, "_servers", {})  # connections that know of the other patience
    process = the_redis().process
    try:
        text = r"expected an answer of the Redis of this test run within 0\.2 s"
        with pytest.raises(ServerError, match=text), Harness.open(app, "redis") as harness:
            tasks["shop.add"].delay(1, 2)
            process.send_signal(signal.SIGSTOP)
            harness.settle()
    finally:
        process.send_signal(signal.SIGCONT)


def test_an_idle_connection_that_is_lost_though_the_server_lives_is_made_anew(app, tasks, die, monkeypatch):
    monkeypatch.setattr(redis_access, "FRESH", -1.0)
    with Harness.open(app, "redis") as harness:
        tasks["shop.add"].delay(1, 2)
        harness._world.broker.client.client_kill_filter(_type="normal", skipme=False)
        assert harness.settle().counts == {"SUCCESS": 1}
