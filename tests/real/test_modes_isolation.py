"""All modes at once, in several pytest processes: no test sees a message, a result, a key or a file of another."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from pytest_taskharness.servers.rabbitmq_binary import find_rabbitmq
from pytest_taskharness.servers.redis import find_binary, start_redis

SHOP = """
    import os
    from celery import Celery, chord

    app = Celery("shop", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")

    @app.task
    def echo(number):
        return number

    @app.task
    def total(numbers):
        return sum(numbers)

    @app.task(bind=True, max_retries=1)
    def second_time(self, number):
        if not self.request.retries:
            raise self.retry(countdown=1)  # at once, Celery might store RETRY after the SUCCESS of the next attempt
        return number
"""
SUITE = """
    import pytest
    from celery import chord
    from shop import app, echo, second_time, total

    @pytest.fixture
    def taskharness_app():
        return app

    @pytest.mark.parametrize("number", range({count}))
    def test_one_of_many(harness, number):
        assert harness.outbox == [] and harness.runs() == []
        assert echo.AsyncResult("the same id").state == "PENDING"
        echo.apply_async((number,), task_id="the same id")
        harness.settle()
        assert echo.AsyncResult("the same id").get() == number
        retried = second_time.delay(number)
        together = chord([echo.s(number), echo.s(1)])(total.s())
        harness.settle()
        assert (retried.get(), together.get()) == (number, number + 1)
        if harness.mode != "eager":
            echo.apply_async((-number,), queue="nobody-reads-it-in-time", countdown=7200)
        assert {{run.args[0] for run in harness.runs(echo)}} <= {{number, 1, -number}}
        assert len(harness.runs()) == 5 + (harness.mode != "eager")
        assert harness.tally.unexpected == harness.tally.duplicated == harness.tally.lost == []
"""
MODES = 7


@pytest.fixture
def run(tmp_path):
    """``run(*options, count=…)``: the suite in four processes; what was said, and the files that were left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")

    def start(*options, count):
        (tmp_path / "test_suite.py").write_text(textwrap.dedent(SUITE.format(count=count)), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-n4", "-p", "no:cacheprovider", "--taskharness-mode=all"]
        environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONHASHSEED": "random"}
        done = subprocess.run(
            [*command, *options, "test_suite.py"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        left = [path.name for path in temporary.iterdir() if path.name.startswith("taskharness")]
        return done.stdout + done.stderr, left

    return start


#: A hundred take minutes, for each test of redis+process has a worker of its own.
COUNT = int(os.environ.get("TASKHARNESS_REPETITIONS", "4"))


def test_each_process_has_a_server_of_its_own(run, needed):
    needed(find_binary(), "a Redis server")
    needed(find_rabbitmq(), "a RabbitMQ server")
    said, left = run(count=COUNT)
    assert f"{MODES * COUNT} passed" in said, said[-3000:]
    assert left == []


def test_all_processes_share_a_server(run, needed):
    needed(find_rabbitmq(), "a RabbitMQ server")
    with closing(start_redis(needed(find_binary(), "a Redis server"))) as server:
        said, left = run(f"--taskharness-redis-url={server.url}", count=COUNT)
        assert f"{MODES * COUNT} passed" in said, said[-3000:]
        assert left == []
        assert keys_of(server.url) == []


def keys_of(url):
    from redis import Redis

    with Redis.from_url(url) as client:
        return list(client.keys("*"))
