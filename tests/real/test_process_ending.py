"""How a real worker begins and ends: what goes wrong is said with its log, and nothing is left of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path

import process_app as plant
import process_features_app as mill
import pytest
from celery import Celery
from process_worlds import opened, started, until

from pytest_taskharness.errors import ConfigurationError, FidelityError, WorkerDied
from pytest_taskharness.process.outside import node as nodes

pytestmark = pytest.mark.usefixtures("redis_server")

HERE = Path(__file__).parent
PATIENCE = 20.0


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(name, source)``: a module that can be imported, once it is not any more what it was."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return write


def gone(node, watch):
    """Watch all processes of a worker; call the result to wait until they are gone."""
    pids = [node.pid, *plant_children(node.pid)]
    for pid in pids:
        watch.add(pid)
    return lambda: [watch.until_gone(pid) for pid in pids]


def plant_children(pid):
    if sys.platform != "linux":
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- beginning


def test_an_app_that_no_module_has_cannot_be_imported_by_a_worker():
    app = Celery("hidden", broker="redis://nowhere.invalid:1/0")
    with (
        pytest.raises(ConfigurationError, match="expected the Celery app 'hidden' to be an attribute of a module"),
        opened(app),
    ):
        pass


def test_a_worker_that_cannot_import_the_app_shows_its_own_traceback(module, tmp_path):
    source = "from celery import Celery\napp = Celery('fickle', broker='redis://nowhere.invalid:1/0')\n"
    fickle = module("fickle", source)
    (tmp_path / "fickle.py").write_text(f"{source}import no_such_thing\n")
    with pytest.raises(ConfigurationError) as caught, opened(fickle.app):
        pass
    text = str(caught.value)
    assert "the worker process 'worker' cannot start: ModuleNotFoundError: No module named 'no_such_thing'" in text
    assert 'fickle.py", line 3' in text
    assert "importing.py" not in text.partition("The end of its log")[0]


def test_a_module_that_ends_the_interpreter_is_no_mystery(module, tmp_path):
    source = "from celery import Celery\napp = Celery('fickle', broker='redis://nowhere.invalid:1/0')\n"
    fickle = module("fickle", source)
    (tmp_path / "fickle.py").write_text(f"{source}raise SystemExit('not today')\n")
    with pytest.raises(ConfigurationError, match="cannot start: SystemExit: not today"), opened(fickle.app):
        pass


def test_a_worker_that_ends_before_it_is_ready_shows_its_log(module, tmp_path):
    source = "from celery import Celery\napp = Celery('fickle', broker='redis://nowhere.invalid:1/0')\n"
    fickle = module("fickle", source)
    (tmp_path / "fickle.py").write_text(f"{source}import os\nprint('last words', flush=True)\nos._exit(4)\n")
    with pytest.raises(WorkerDied, match="ended with exit code 4 before it was ready") as caught, opened(fickle.app):
        pass
    assert "last words" in str(caught.value)


def test_a_worker_that_never_gets_ready_is_stopped(module, tmp_path, monkeypatch, gate):
    source = "from celery import Celery\napp = Celery('fickle', broker='redis://nowhere.invalid:1/0')\n"
    fickle = module("fickle", source)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stuck = f"""
        import fcntl
        print("waiting for Godot", flush=True)
        print("so it waits", file=open({str(pipe)!r}, "w"), flush=True)
        fcntl.flock(open({gate.path!r}), fcntl.LOCK_SH)
    """
    (tmp_path / "fickle.py").write_text(source + textwrap.dedent(stuck))
    await_ready = nodes.WorkerProcess.await_ready

    def await_ready_when_it_waits(node, pump):
        with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as told:
            assert select.select([told], [], [], PATIENCE)[0]
        await_ready(node, pump)

    monkeypatch.setattr(nodes.WorkerProcess, "await_ready", await_ready_when_it_waits)
    monkeypatch.setattr(nodes, "READY_SECONDS", 0.1)
    with pytest.raises(WorkerDied, match=r"was not ready after 0\.1 s, and was stopped") as caught, opened(fickle.app):
        pass
    assert "waiting for Godot" in str(caught.value)


def test_a_wrong_command_line_is_said_to_be_wrong():
    with (
        pytest.raises(ConfigurationError, match="No such option"),
        opened(arguments=["--no-such-option"]),
    ):
        pass


def test_a_start_elsewhere_than_now_needs_virtual_time():
    start = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(FidelityError, match=r"(?s)start=2030-.*needs virtual time"), opened(start=start):
        pass


def test_the_app_of_a_program_is_imported_without_running_the_program_again():
    program = [sys.executable, HERE / "process_main.py"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("program.where __mp_main__\n", "")


# -- ending


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_kill_is_a_sigkill_to_all_processes(pool, watch):
    with opened(pool=pool) as world:
        [node] = world.nodes
        result = plant.nap.delay(60)
        started(world, result)
        all_gone = gone(node, watch)
        world.kill(node)
        all_gone()
        assert node.process.returncode == -signal.SIGKILL
        assert not node.alive
        [fault] = [event for event in world.timeline if event.kind == "fault"]
        assert fault.worker == "worker"
        assert world.settle().counts == {}


def test_what_a_killed_worker_held_is_delivered_to_another_after_the_visibility_timeout():
    # Whatever it takes back itself, because it has started its body late, waits behind that body and is lost with it.
    with opened(mill.app, visibility_timeout=1, concurrency=1) as world:
        result = mill.nap_unless_again.delay(60)
        started(world, result)
        world.kill(world.nodes[0])
        world.add_node("other", concurrency=1)
        world.settle()
        run = world.timeline.run(result.id)
        assert (run.state, run.worker, run.redelivered) == ("SUCCESS", "other", True)
        assert [attempt.outcome for attempt in run.attempts] == [None, "SUCCESS"]
        assert "restore" in [event.kind for event in run.timeline]


def test_a_warm_shutdown_ends_what_runs_and_gives_back_what_is_held(watch):
    with opened() as world:
        [node] = world.nodes
        running, held = plant.nap.delay(0.5), plant.add.apply_async((1, 2), countdown=3600)
        started(world, running)
        until(world, lambda event: event.kind == "receive" and event.id == held.id)
        all_gone = gone(node, watch)
        world.stop(node)
        all_gone()
        assert node.process.returncode == 0
        assert world.timeline.run(running.id).state == "SUCCESS"
        world.add_node("other", concurrency=1)
        assert until(world, lambda event: event.kind == "deliver" and event.worker == "other").id == held.id
        assert world.timeline.run(held.id).redelivered


def test_a_cold_shutdown_does_not_wait_for_what_runs(watch):
    with opened() as world:
        [node] = world.nodes
        result = plant.nap.delay(60)
        started(world, result)
        all_gone = gone(node, watch)
        world.stop(node, warm=False)
        all_gone()
        assert world.timeline.run(result.id).state != "SUCCESS"


def test_closing_leaves_no_process_and_no_file(watch):
    with opened(workers=["a", "b"]) as world:
        directories = [node.directory for node in world.nodes]
        ends = [gone(node, watch) for node in world.nodes]
        assert all(directory.exists() for directory in directories)
    for all_gone in ends:
        all_gone()
    assert not any(directory.exists() for directory in directories)


def test_a_paused_worker_can_be_ended_too(watch):
    with opened() as world:
        [node] = world.nodes
        all_gone = gone(node, watch)
        node.pause()
    all_gone()


def test_remote_control_may_shut_a_worker_down():
    with opened() as world:
        [node] = world.nodes
        plant.app.control.shutdown()
        assert node.process.wait(20) == 0
        assert world.settle().counts == {}
        assert not node.alive


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_by_itself_ends_the_wait_for_it(number):
    with opened() as world:
        [node] = world.nodes
        result = plant.nap.delay(60)
        started(world, result)
        os.kill(node.pid, number)
        with pytest.raises(WorkerDied, match=f"was killed by {number.name}, and the test has not asked for") as caught:
            result.get(timeout=20)
        assert f"It had in its hands: {plant.nap.name} {result.id[:8]}" in str(caught.value)
        assert "The end of its log:" in str(caught.value)


def test_a_task_that_ends_its_worker_ends_the_wait_for_it():
    with opened() as world:
        result = plant.kill_main_process.delay()
        with pytest.raises(WorkerDied, match="was killed by SIGKILL"):
            result.get(timeout=20)
        assert not world.nodes[0].alive


def test_nothing_outlives_a_test_process_that_is_killed(script, watch):
    source = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        from process_worlds import opened
        with opened() as world:
            node = world.nodes[0]
            print(node.pid, node.directory, flush=True)
            sys.stdin.readline()
    """
    program = script(textwrap.dedent(source))
    pid, directory = program.line().split(maxsplit=1)
    assert Path(directory).exists()
    pids = [int(pid), *plant_children(int(pid))]
    for each in pids:
        watch.add(each)
    program.kill(group=True)
    for each in pids:
        watch.until_gone(each)
