"""What users do wrong with a real worker, and what happens to them: said at once, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import textwrap
from pathlib import Path

import process_app as plant
import process_features_app as mill
import pytest
from celery import Celery

from pytest_taskharness import Harness
from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import (
    ConfigurationError,
    FidelityError,
    HarnessClosed,
    LeftoverWork,
    ServerError,
    WorkerDied,
)
from pytest_taskharness.servers.redis import the_redis

pytestmark = pytest.mark.usefixtures("redis_server")

HERE = Path(__file__).parent
MODE = "redis+process"
#: What an error may take until it is there, in real seconds, on a busy machine.
SECONDS = 25.0


def test_nobody_hears_of_each_state_of_another_process():
    with Harness.open(plant.app, MODE) as harness:
        result = plant.add.delay(1, 2)
        with pytest.raises(FidelityError, match=r"result\.get\(on_message=…\) hears of .* mode='memory'"):
            result.get(on_message=print)
        assert harness.settle().counts == {"SUCCESS": 1}


@pytest.fixture
def within_seconds():
    began = Real.monotonic()
    yield
    assert Real.monotonic() - began < SECONDS


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(name, then=...)``: a module with an app; ``then`` is added once it was imported here."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, *, then):
        source = f"from celery import Celery\napp = Celery({name!r}, broker='redis://nowhere.invalid:1/0')\n"
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        made = __import__(name)
        path.write_text(source + then)
        return made.app

    return write


def workers_of(harness):
    """The worker processes of a harness."""
    return list(harness._world.nodes)


def watch_all(harness, watch):
    """Watch the processes of the workers; call the result to wait until they are gone, and their files too."""
    nodes = workers_of(harness)
    for node in nodes:
        watch.add(node.pid)

    def all_gone():
        for node in nodes:
            watch.until_gone(node.pid)
            assert not node.directory.exists()

    return all_gone


def await_start(harness, result):
    """Wait until the body of a task runs, by the events that workers send."""
    world = harness._world
    limit = world.limit_of("the test", 20)
    while not any(event.kind == "start" for event in world.timeline.of(result.id)):
        world.quiescence.hear(limit)


def running(harness):
    """The result of a body that has started, and does not end by itself."""
    result = plant.nap.delay(3600)
    await_start(harness, result)
    return result


# -- a worker that does not start


def test_an_app_that_a_fixture_has_made_is_refused_before_anything_starts(within_seconds):
    app = Celery("made in a test", broker="redis://nowhere.invalid:1/0")
    with pytest.raises(ConfigurationError, match="give the app a name at the top level of a module") as caught:
        Harness.open(app, MODE)
    assert "memory, fakeredis or redis" in str(caught.value)
    with Harness.open(app):  # and it was given back
        pass


def test_the_app_is_given_back_when_its_worker_cannot_import_it(module, within_seconds):
    app = module("torn", then="raise RuntimeError('torn in the middle')\n")
    with pytest.raises(ConfigurationError, match="RuntimeError: torn in the middle") as caught:
        Harness.open(app, MODE)
    assert 'torn.py", line 3' in str(caught.value)
    with Harness.open(app):
        pass


def test_a_syntax_error_is_shown_as_python_shows_it(module, within_seconds):
    app = module("misspelt", then="def task(:\n")
    with pytest.raises(ConfigurationError, match=r"(?s)SyntaxError: .*def task\(:\s+.*\^"):
        Harness.open(app, MODE)


def test_an_app_that_has_gone_from_its_module_is_named(module, within_seconds):
    app = module("moved", then="del app\n")
    with pytest.raises(ConfigurationError, match="module 'moved' has no attribute 'app'"):
        Harness.open(app, MODE)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--no-such-option"], "No such option"),
        (["--autoscale=many"], r"Expected an integer\. Got \['many'\] instead"),
        (["--loglevel=loud"], "'LOUD' is not one of 'DEBUG', 'INFO'"),
        (["stray"], "Unable to parse extra configuration"),
    ],
)
def test_a_wrong_command_line_is_explained_by_celery_itself(arguments, text, within_seconds):
    with Harness.open(plant.app, MODE) as harness:
        with pytest.raises(ConfigurationError, match=f"the worker process 'odd' cannot start: .*{text}"):
            harness.worker("odd", arguments=arguments)
        assert workers_of(harness) == []


def test_a_second_worker_that_does_not_start_leaves_the_first_as_it_was(within_seconds):
    with Harness.open(plant.app, MODE) as harness:
        harness.worker("good")
        with pytest.raises(ConfigurationError, match="the worker process 'bad' cannot start"):
            harness.worker("bad", arguments=["--no-such-option"])
        assert [node.name for node in workers_of(harness)] == ["good"]
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_a_pool_that_cannot_be_listened_to_is_refused_with_those_that_can(within_seconds):
    with pytest.raises(ConfigurationError, match="pool= takes one of prefork, threads, solo; given: 'gevent'"):
        Harness.open(plant.app, MODE, pool="gevent")


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis"])
def test_what_only_a_process_has_is_refused_where_there_is_none(mode):
    with pytest.raises(FidelityError, match=r"mode='redis\+process'"):
        Harness.open(plant.app, mode, pool="threads")
    with Harness.open(plant.app, mode) as harness, pytest.raises(FidelityError, match=r"mode='redis\+process'"):
        harness.worker("a", arguments=["-E"])


# -- what the worker cannot have


def test_a_task_that_a_test_defines_is_unknown_to_the_worker_and_the_timeline_says_why(within_seconds):
    with Harness.open(plant.app, MODE) as harness:

        @plant.app.task(name="plant.only_here", shared=False)
        def only_here():
            return None

        result = only_here.delay()
        harness.settle()
        run = harness.run_of(result)
        assert (run.state, run.attempts) == ("FAILURE", [])
        [poison] = [event for event in run.timeline if event.kind == "poison"]
        assert "'plant.only_here' is registered on app 'plant'" in poison.detail["note"]
        assert "it is defined inside a function, and a worker process has only what it can import" in str(
            harness.timeline
        )
        assert plant.add.delay(1, 2).get(timeout=20) == 3


def test_a_setting_that_no_other_process_can_have_is_named(within_seconds):
    with pytest.raises(FidelityError, match="^task_routes cannot be given to a worker process: .*lambda") as caught:
        Harness.open(plant.app, MODE, config={"task_routes": lambda *args, **kwargs: {"queue": "any"}})
    assert "at the top level of a module, or run this test with mode='memory'" in str(caught.value)
    with Harness.open(plant.app):  # and it was given back
        pass


# -- a worker that dies


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("verb", ["settle", "get"])
def test_a_worker_that_is_killed_from_outside_ends_every_wait(number, verb, within_seconds):
    """As the kernel does where memory runs out."""
    with Harness.open(plant.app, MODE) as harness:
        [node] = workers_of(harness)
        result = running(harness)
        os.kill(node.pid, number)
        with pytest.raises(WorkerDied, match=f"was killed by {number.name}, and the test has not asked for that"):
            {"settle": harness.settle, "get": result.get}[verb]()


def test_after_a_worker_has_died_another_one_takes_its_place(within_seconds):
    # With one slot: what it takes back itself, because it has started its body late, dies with it.
    with Harness.open(mill.app, MODE, visibility_timeout=1, config={"worker_concurrency": 1}) as harness:
        [node] = workers_of(harness)
        result = mill.nap_unless_again.delay(60)
        await_start(harness, result)
        os.kill(node.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match=f"It had in its hands: {mill.nap_unless_again.name} {result.id[:8]}"):
            result.get(timeout=20)
        harness.worker("other")
        harness.settle()
        run = harness.run_of(result)
        assert (run.state, run.worker, run.redelivered) == ("SUCCESS", "other", True)


def test_a_pool_process_that_dies_is_a_failed_task_and_not_a_dead_worker(within_seconds):
    with Harness.open(mill.app, MODE) as harness:
        crashed = mill.crash.delay()
        harness.settle()
        harness.assert_failed(mill.crash, match="SIGKILL")
        assert harness.run_of(crashed).attempts[0].outcome == "LOST"
        assert mill.where.delay().get(timeout=20) != workers_of(harness)[0].pid


# -- a server that dies


@pytest.mark.parametrize("verb", ["delay", "settle", "get", "worker"])
def test_a_server_that_dies_ends_the_test_at_once_and_its_workers_with_it(verb, watch, within_seconds):
    said = r"(?s)it was ended by SIGKILL, and the harness did not do that\..*next test"
    with pytest.raises(ServerError, match=said), Harness.open(plant.app, MODE) as harness:
        all_gone = watch_all(harness, watch)
        result = plant.nap.delay(1)
        os.kill(the_redis().process.pid, signal.SIGKILL)
        {
            "delay": lambda: plant.add.delay(1, 2),
            "settle": harness.settle,
            "get": lambda: result.get(timeout=20),
            "worker": lambda: (harness.worker("late"), harness.settle()),
        }[verb]()
    all_gone()
    with Harness.open(plant.app, MODE):
        assert plant.add.delay(1, 2).get(timeout=20) == 3


# -- harnesses


def test_two_harnesses_of_two_apps_do_not_see_each_other():
    with Harness.open(plant.app, MODE) as one, Harness.open(mill.app, MODE) as two:
        here, there = plant.where.delay(), mill.where.delay()
        two.settle()
        one.settle()
        assert here.get(timeout=20) != there.get(timeout=20)
        assert [run.task for run in one.runs()] == [plant.where.name]
        assert [run.task for run in two.runs()] == [mill.where.name]


def test_a_harness_inside_another_of_the_same_app_gives_it_back():
    with Harness.open(plant.app, MODE) as outer:
        before = plant.add.delay(1, 2)
        outer.settle()
        with Harness.open(plant.app, MODE) as inner:
            plant.add.delay(3, 4)
            inner.settle()
            assert len(inner.runs()) == 1
        assert [run.id for run in outer.runs()] == [before.id]
        assert plant.add.delay(5, 6).get(timeout=20) == 11


def test_closing_does_not_wait_for_what_runs(watch, within_seconds):
    with Harness.open(plant.app, MODE) as harness:
        all_gone = watch_all(harness, watch)
        result = plant.nap.delay(3600)
        await_start(harness, result)
    all_gone()
    with pytest.raises(HarnessClosed):
        harness.settle()
    assert harness.run_of(result).state == "STARTED"


def test_strict_leftovers_name_what_still_runs(watch, within_seconds):
    said = f"(?s)still pending:.*{re.escape(plant.late_nap.name)}"
    with pytest.raises(LeftoverWork, match=said), Harness.open(plant.app, MODE, strict_leftovers=True) as harness:
        all_gone = watch_all(harness, watch)
        await_start(harness, plant.late_nap.delay(3600))
    all_gone()


# -- a test process that dies

TEST_PROCESS = f"""
    import json, sys
    sys.path.insert(0, {str(HERE)!r})
    import process_app as plant
    from pytest_taskharness import Harness
    from pytest_taskharness.servers.redis import the_redis
    from test_process_bad_input import await_start, workers_of

    with Harness.open(plant.app, {MODE!r}, workers=2) as harness:
        await_start(harness, plant.nap.delay(3600))
        server = the_redis().process
        processes = [server, *(node.process for node in workers_of(harness))]
        folders = [server.log.parent, *(node.directory for node in workers_of(harness))]
        print(json.dumps([[each.pid for each in processes], [str(each) for each in folders]]), flush=True)
        sys.stdin.readline()
"""


def family(pid):
    """A process, its guard, and its children."""
    if sys.platform != "linux":
        return [pid]
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, parent, *map(int, children)]


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_a_test_process_that_is_killed_leaves_no_worker_no_pool_process_no_server_and_no_file(script, watch, group):
    program = script(textwrap.dedent(TEST_PROCESS))
    pids, folders = json.loads(program.line())
    everybody = {each for pid in pids for each in family(pid)} - {program.process.pid}
    for pid in everybody:
        watch.add(pid)
    assert all(map(watch.lives, everybody))
    assert all(Path(folder).exists() for folder in folders)
    program.kill(group=group)
    for pid in everybody:
        watch.until_gone(pid)
    assert [folder for folder in folders if Path(folder).exists()] == []
