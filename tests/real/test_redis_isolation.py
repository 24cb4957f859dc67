"""What a harness writes on a Redis, and what it leaves there: its own keys, and nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest
import redis
from celery import Celery, chain, chord, group
from celery.exceptions import Reject
from kombu import Exchange, Queue
from kombu.common import Broadcast

from pytest_taskharness import Harness
from pytest_taskharness.servers.given import KEY_PREFIX, GivenURL
from pytest_taskharness.servers.redis import find_binary, start_redis

OURS = KEY_PREFIX.encode()
#: Commands that name pub/sub channels, which belong to the whole server and not to a database.
CHANNELS = {b"PUBLISH", b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE"}
#: Commands that would touch what is not ours, whatever their arguments.
NEVER = {b"FLUSHDB", b"FLUSHALL", b"CONFIG", b"SWAPDB", b"MIGRATE", b"SHUTDOWN", b"RENAME", b"KEYS"}


@pytest.fixture(scope="module")
def server(needed):
    """A server that is given to the harness by its URL."""
    server = start_redis(needed(find_binary(), "a Redis server"))
    yield server
    server.close()


@pytest.fixture
def url(server):
    """An empty database of that server; others of it are somebody else's."""
    client = redis.Redis.from_url(server.url)
    client.flushall()
    client.close()
    return server.url


@pytest.fixture
def client(url):
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
def app():
    app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
    app.conf.task_queues = [
        Queue("celery", routing_key="celery"),
        Queue("media", Exchange("media", type="topic"), routing_key="media.#"),
        Queue("short", routing_key="short", expires=60),
        Broadcast("everybody"),
    ]
    return app


@pytest.fixture
def tasks(app):
    @app.task(name="shop.add", shared=False)
    def add(x, y):
        return x + y

    @app.task(name="shop.total", shared=False)
    def total(numbers):
        return sum(numbers)

    @app.task(name="shop.boom", shared=False)
    def boom(*args):
        raise RuntimeError("boom")

    @app.task(name="shop.limited", rate_limit="10/m", shared=False)
    def limited():
        pass

    @app.task(name="shop.stepwise", bind=True, shared=False)
    def stepwise(self):
        self.update_state(state="HALFWAY", meta={"done": 50})
        if not self.request.retries:
            raise self.retry(countdown=30)

    @app.task(name="shop.picky", bind=True, acks_late=True, shared=False)
    def picky(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)
        time.sleep(5400)

    return app.tasks


def everything(harness, tasks):
    """Use whatever writes to a broker or to a result backend."""
    app, add, total = harness.app, tasks["shop.add"], tasks["shop.total"]
    header = group(add.s(number, number) for number in range(3))
    assert chord(header)(total.s()).get() == 6
    assert chord([add.s(1, 1), chain(add.s(1, 1), add.s(1)), header])(total.s()).get is not None
    chord([add.s(1, 1), tasks["shop.boom"].s()])(total.s())
    saved = header.apply_async()
    saved.save()
    assert app.GroupResult.restore(saved.id).get() == [0, 2, 4]
    saved.delete()
    for priority in range(10):
        add.apply_async((1, priority), priority=priority)
    add.apply_async((1, 2), queue="media", routing_key="media.film")
    add.apply_async((1, 2), queue="short")
    add.apply_async((1, 2), queue="everybody")
    add.apply_async((1, 2), countdown=2 * 3600)
    for _ in range(3):
        tasks["shop.limited"].delay()
    tasks["shop.stepwise"].delay()
    tasks["shop.picky"].delay()
    result = add.delay(1, 2)
    result.revoke()
    app.control.rate_limit("shop.limited", "5/m")
    assert app.control.inspect(timeout=1).ping()
    assert app.control.inspect(timeout=1).stats()
    app.control.broadcast("ping", reply=True, timeout=1)
    harness.settle()
    result.forget()
    add.delay(1, 2).get()
    with app.connection_for_write() as connection:
        with connection.SimpleQueue("simple") as queue:
            queue.put({"hello": "world"})
            assert queue.get().payload == {"hello": "world"}
        bound = Queue("bound", Exchange("bound", type="direct"), routing_key="it")(connection.default_channel)
        bound.declare()
        connection.Producer().publish("hello", exchange="bound", routing_key="it")
        bound.queue_declare(passive=True)
        bound.unbind_from(Exchange("bound", type="direct"), routing_key="it")
        bound.purge()
        bound.delete()
    add.delay(1, 2)
    app.control.purge()
    add.delay(1, 2)
    harness.worker("second")
    add.apply_async((1, 2), countdown=60)
    harness.drain()
    harness.worker("second").kill()
    harness.worker("third")
    harness.settle()
    add.delay(1, 2)
    add.apply_async((1, 2), countdown=60)
    app.control.rate_limit("shop.limited", "5/m")


def nonempty(url):
    return GivenURL(url, source="this test", allow_nonempty=True)


def contents(client):
    return {key: (client.dump(key), client.pttl(key)) for key in client.keys("*")}


@contextmanager
def overheard(url):
    """Everything that clients of a server say meanwhile: a list of commands, each a list of bytes."""
    said = []
    pool = redis.ConnectionPool.from_url(url)
    with (
        redis.Redis(connection_pool=pool, single_connection_client=True) as listener,
        redis.Redis.from_url(url) as client,
    ):
        listener.execute_command("MONITOR")
        yield said
        client.echo("that is all")
        while (command := words(listener.connection.read_response())) != [b"ECHO", b"that is all"]:
            said.append(command)


def words(line):
    r"""A command as MONITOR shows it: ``1339518083.1 [0 127.0.0.1:60866] "SET" "key" "\x00"``."""
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line.decode() if isinstance(line, bytes) else line)
    return [text.encode().decode("unicode_escape").encode("latin-1") for text in quoted]


def named(client, command):
    """The keys and the channels that a command names."""
    verb, *arguments = command
    if verb.upper() in CHANNELS:
        return arguments[:1] if verb == b"PUBLISH" else arguments
    try:
        return [key if isinstance(key, bytes) else key.encode() for key in client.command_getkeys(*command)]
    except redis.ResponseError:
        return []  # it has none


OPTIONS = {
    "plain": {},
    "extended": {"result_extended": True, "task_track_started": True, "worker_send_task_events": True,
                 "task_send_sent_event": True, "result_compression": "gzip", "task_acks_late": True},
    "prefixes of the app's own": {
        "broker_transport_options": {"global_keyprefix": "shop:", "fanout_prefix": "/shop/{db}.", "sep": ":"},
        "result_backend_transport_options": {"global_keyprefix": "results:", "result_chord_ordered": False},
    },
    "no patterns": {"broker_transport_options": {"fanout_patterns": False, "fanout_prefix": False}},
    "keys of the app's own": {"broker_transport_options": {
        "unacked_key": "mine", "unacked_index_key": "mine_index", "unacked_mutex_key": "mine_mutex",
        "priority_steps": list(range(10)), "queue_order_strategy": "priority",
    }},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_is_written_outside_of_our_prefix_and_nothing_stays(app, tasks, url, client, options):
    app.conf.update(options)
    with overheard(url) as said:
        with Harness.open(app, "redis", redis_url=url, visibility_timeout=3600) as harness:
            everything(harness, tasks)
            assert client.dbsize() > 0
            assert client.pubsub_numpat() > 0
        assert contents(client) == {}
        assert (client.pubsub_channels(), client.pubsub_numpat()) == ([], 0)
    mine = [command for command in said if command[0] not in {b"PUBSUB", b"DBSIZE", b"KEYS"}]
    names = [(name, command) for command in mine for name in named(client, command)]
    assert len(names) > 500
    assert [(name, command) for name, command in names if not name.startswith(OURS)] == []
    assert NEVER.isdisjoint(command[0].upper() for command in mine)


def test_a_database_that_holds_other_keys_stays_as_it_is(app, tasks, url, client):
    client.set("celery", "not a list")
    client.rpush("unacked", "neither a hash")
    client.set(b"\x00\xff binary", b"\x01\x02", ex=3600)
    client.hset("celery-task-meta-x", mapping={"a": 1})
    client.sadd("_kombu.binding.celery", "taskharness")
    client.zadd("taskharness", {"a": 1.5})
    before = contents(client)
    with Harness.open(app, "redis", redis_url=nonempty(url), visibility_timeout=3600) as harness:
        everything(harness, tasks)
    after = contents(client)
    assert {key: value for key, (value, _) in after.items()} == {key: value for key, (value, _) in before.items()}
    assert {key for key, (_, ttl) in after.items() if ttl > 0} == {b"\x00\xff binary"}


def test_other_databases_of_the_server_stay_as_they_are(app, tasks, url, client):
    other = url[: -len("0")] + "7"
    with redis.Redis.from_url(other) as elsewhere:
        elsewhere.set("celery", "not a list")
        with Harness.open(app, "redis", redis_url=url, visibility_timeout=3600) as harness:
            everything(harness, tasks)
        assert list(contents(elsewhere)) == [b"celery"]


def test_a_database_too_large_for_one_look_is_cleaned_too(app, tasks, url, client, monkeypatch):
    monkeypatch.setattr("pytest_taskharness.broker.redis_broker.SCANNED", 1000)
    client.mset({f"somebody's {number}": number for number in range(20_000)})
    with Harness.open(app, "redis", redis_url=nonempty(url)):
        for number in range(100):
            tasks["shop.add"].delay(number, number)
        assert client.dbsize() > 20_000
    assert client.dbsize() == 20_000


def test_a_prefix_is_no_pattern(app, tasks, url, client):
    app.conf.broker_transport_options = {"global_keyprefix": "*?[a-z]\\"}
    with Harness.open(app, "redis", redis_url=url):
        assert tasks["shop.add"].delay(1, 2).get() == 3
    assert contents(client) == {}


def test_two_harnesses_in_one_process_do_not_see_each_other(app, tasks, url):
    other = Celery("other", broker="redis://localhost:1/0", set_as_current=False)

    @other.task(name="shop.add", shared=False)
    def add(x, y):
        return x * y

    with Harness.open(app, "redis", redis_url=url) as first, Harness.open(other, "redis", redis_url=url) as second:
        results = [tasks["shop.add"].delay(3, 4), add.delay(3, 4)]
        assert [result.get() for result in results] == [7, 12]
        assert [len(harness.runs()) for harness in (first, second)] == [1, 1]
        app.control.rate_limit("shop.add", "1/h")
        second.drain()
        assert not [event for event in second.timeline if event.kind == "poison"]


PROGRAM = """
    import sys
    from celery import Celery
    from pytest_taskharness import Harness
    app = Celery("shop", broker="redis://localhost:1/0")
    @app.task(name="shop.say")
    def say(what):
        return what
    with Harness.open(app, "redis", redis_url={url!r}) as harness:
        print("open", flush=True)
        for line in sys.stdin:
            verb, _, what = line.strip().partition(" ")
            if verb == "publish":
                say.delay(what)
                app.control.rate_limit("shop.say", what)
                print("published", flush=True)
            elif verb == "settle":
                harness.settle()
                said = sorted(run.result for run in harness.runs())
                print(*said, app.tasks["shop.say"].rate_limit, flush=True)
            else:
                break
    print("closed", flush=True)
"""


def test_two_processes_on_one_given_server_do_not_see_each_other(script, url, client):
    programs = [script(textwrap.dedent(PROGRAM.format(url=url))) for _ in range(2)]
    assert [program.line() for program in programs] == ["open", "open"]
    for program, what in zip(programs, ("1/s", "2/s"), strict=True):
        for _ in range(3):
            program.say(f"publish {what}")
            assert program.line() == "published"
    for program, what in zip(reversed(programs), ("2/s", "1/s"), strict=True):
        program.say("settle")
        assert program.line() == f"{what} {what} {what} {what}"
    programs[0].say("end")
    assert programs[0].line() == "closed"
    left = {key.split(b":")[1] for key in client.keys("*")}
    assert len(left) == 1
    programs[1].say("end")
    assert programs[1].line() == "closed"
    assert client.dbsize() == 0


SHOP = """
    from celery import Celery

    app = Celery("shop", broker="redis://localhost:1/0")

    @app.task(name="shop.add")
    def add(x, y):
        return x + y

    @app.task(name="shop.total")
    def total(numbers):
        return sum(numbers)
"""

SUITE = """
    import pytest
    from celery import chord
    from shop import add, app, total

    @pytest.fixture(scope="session")
    def taskharness_app():
        return app

    def sees_only_its_own(harness, number):
        assert harness.outbox == [] and harness.runs() == []
        assert add.delay(number, number).get(timeout=30) == 2 * number
        if number % 10 == 0 and harness.mode != "eager":
            assert chord([add.s(number, 1), add.s(number, 2)])(total.s()).get(timeout=30) == 2 * number + 3
            assert len(harness.runs(add)) == 3
        else:
            assert len(harness.runs(add)) == 1
        assert harness.tally.unexpected == harness.tally.duplicated == []

    @pytest.mark.taskharness(modes="eager,memory,fakeredis,redis")
    @pytest.mark.parametrize("number", range(100))
    def test_one_of_many(harness, number):
        sees_only_its_own(harness, number)

    @pytest.mark.taskharness(modes="eager,memory,fakeredis,redis")
    @pytest.mark.parametrize("number", range(100))
    def test_with_one_id_in_all_tests(harness, number):
        assert app.AsyncResult("one").state == "PENDING"
        add.apply_async((number, 1), countdown=60, task_id="one")
        harness.settle()
        assert app.AsyncResult("one").get() == number + 1

    @pytest.mark.taskharness(mode="redis+process")
    @pytest.mark.parametrize("number", range(8))
    def test_with_a_process(harness, number):
        sees_only_its_own(harness, number)
"""


def test_a_hundred_repetitions_in_all_modes_and_four_processes_at_once(tmp_path, url, client):
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")
    (tmp_path / "test_suite.py").write_text(textwrap.dedent(SUITE), encoding="utf-8")
    command = [
        sys.executable, "-m", "pytest", "-q", "-n4", "-p", "no:cacheprovider", f"--taskharness-redis-url={url}",
        "test_suite.py",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "808 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert client.dbsize() == 0
