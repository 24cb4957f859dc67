"""A guarded process: what it reports, and that nothing of it is left, whoever dies."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import freezegun
import pytest
import time_machine

from pytest_taskharness.clock.real import Real
from pytest_taskharness.errors import ServerError
from pytest_taskharness.servers import guarded
from pytest_taskharness.servers.guarded import GuardedProcess

PATIENCE = 20.0
FOR_EVER = ["sleep", "1000000"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")

HOLDER = """
import os, sys
from pathlib import Path
from pytest_taskharness.servers.guarded import GuardedProcess

folder = Path({folder!r})
process = GuardedProcess.start({argv!r}, log=folder / "log", directory=folder, announcement="up")
assert process.wait_announced(20), process.log_tail()
print(process._guard.pid, process.pid)
"""
#: Deaf to all but SIGKILL, and not alone.
FORGETFUL = ["sh", "-c", 'trap "" TERM HUP; sleep 1000000 & echo up; wait']
ALONE = ["sh", "-c", "echo up; exec sleep 1000000"]


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as closing:

        def start(*argv, **kwargs):
            kwargs.setdefault("log", tmp_path / "log")
            return closing.enter_context(GuardedProcess.start(argv, **kwargs))

        yield start


@pytest.fixture
def lifeline():
    """A pipe that ends when the last process that was given its writing end has ended."""
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def ended(lifeline):
    reading, writing = lifeline
    os.close(writing)
    return bool(select.select([reading], [], [], PATIENCE)[0]) and os.read(reading, 1) == b""


def sh(text):
    return ("sh", "-c", text)


# -- what it reports


def test_an_exit_code_is_reported_and_the_output_is_in_the_log(start, tmp_path):
    process = start(*sh("echo out; echo err >&2; exit 3"))

    assert process.wait(PATIENCE) == process.returncode == 3
    assert process.log_tail() == "out\nerr"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_signal_is_reported_as_subprocess_does(start):
    process = start(*sh("kill -11 $$"))

    assert process.wait(PATIENCE) == -signal.SIGSEGV


def test_it_has_not_ended_while_it_runs(start):
    process = start(*FOR_EVER)

    assert process.poll() is None
    assert process.wait(0.01) is None


def test_the_return_code_stays_known_after_closing(start):
    process = start(*sh("exit 4"))
    process.wait(PATIENCE)
    process.close()

    assert process.poll() == process.wait(None) == 4


def test_closing_what_runs_ends_it_by_sigkill(start):
    process = start(*FOR_EVER)
    process.close()

    assert process.returncode == -signal.SIGKILL


def test_its_descriptor_becomes_readable_when_it_ends(start):
    process = start(*FOR_EVER)
    assert select.select([process], [], [], 0)[0] == []

    process.kill()

    assert select.select([process], [], [], PATIENCE)[0] == [process]
    assert process.poll() == -signal.SIGKILL


def test_terminate_is_sigterm_to_the_command(start):
    process = start(*sh('trap "echo asked; exit 5" TERM; echo up; sleep 1000000 & wait'), announcement="up")
    assert process.wait_announced(PATIENCE)

    process.terminate()

    assert process.wait(PATIENCE) == 5
    assert process.log_tail(1) == "asked"


def test_a_signal_to_what_has_ended_is_no_error(start):
    process = start("true")
    process.wait(PATIENCE)

    process.kill()
    process.kill_group()
    process.close()
    process.kill()
    process.kill_group()


def test_it_runs_where_and_with_what_it_is_told(start, tmp_path):
    word = "ünïcode \udcff"  # as os.environ has bytes that are no text
    process = start(
        *sh("pwd; printf %s $WORD >word; env | grep -c =; cat"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "WORD": word},
    )

    assert process.wait(PATIENCE) == 0, "its standard input is empty: `cat` ends"
    where, count = process.log_tail().splitlines()
    assert Path(where).samefile(tmp_path)
    assert (tmp_path / "word").read_bytes() == os.fsencode(word).replace(b" ", b"")
    assert int(count) <= 2 + len(("PWD", "SHLVL", "_", "OLDPWD")), "two, and what a shell adds"


def test_a_descriptor_is_passed_under_its_number(start):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb"):
        start(*sh(f"echo through >/dev/fd/{writing}"), pass_fds=[writing]).wait(PATIENCE)

        assert select.select([reading], [], [], 0)[0]
        assert os.read(reading, 100) == b"through\n"


def test_nobody_else_keeps_a_passed_descriptor_open(start, lifeline):
    start("true", pass_fds=[lifeline[1]]).wait(PATIENCE)

    assert ended(lifeline), "the guard lives, and has closed its copy"


def test_sigpipe_ends_it_as_it_would_in_a_shell(start):
    process = start(*sh("kill -13 $$; echo survived"))

    assert process.wait(PATIENCE) == -signal.SIGPIPE


def test_an_environment_larger_than_a_pipe_arrives(start):
    many = {f"V{number}": "x" * 1000 for number in range(300)}
    process = start(*sh("env | grep -c ^V"), env={"PATH": os.environ["PATH"], **many})
    process.wait(PATIENCE)

    assert process.log_tail() == "300"


# -- the announcement


def test_an_announcement_is_found_wherever_it_stands(start):
    process = start(*sh("echo one; printf 'we are re'; printf 'ady now\\n'; sleep 1000000"), announcement="ready")

    assert process.wait_announced(PATIENCE)
    assert process.log_tail().startswith("one\nwe are re")


def test_a_command_that_ends_unannounced_has_not_announced_itself(start):
    process = start(*sh("echo sorry; exit 1"), announcement="ready")

    assert not process.wait_announced(PATIENCE)
    assert (process.returncode, process.log_tail()) == (1, "sorry")


def test_an_announcement_may_be_late(start):
    process = start(*FOR_EVER, announcement="ready")

    assert not process.wait_announced(0.01)
    assert process.returncode is None


def test_all_of_the_output_is_in_the_log_when_the_end_is_reported(start):
    process = start(*sh("seq 1 20000; exit 7"), announcement="never said")

    assert process.wait(PATIENCE) == 7
    assert process.log_tail(1) == "20000"


def test_a_command_that_closes_its_output_is_still_attended_to(start):
    process = start(*sh("exec >&- 2>&-; kill -9 $$"), announcement="never said")

    assert process.wait(PATIENCE) == -signal.SIGKILL


# -- what cannot be run


@pytest.fixture
def not_executable(tmp_path):
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    return path


def test_a_missing_program_is_named(start, folder):
    with pytest.raises(FileNotFoundError) as caught:
        start("/no/such/program", directory=folder)

    assert caught.value.filename == "/no/such/program"
    assert not folder.exists()


def test_a_program_that_is_not_executable_is_named(start, not_executable):
    with pytest.raises(PermissionError) as caught:
        start(str(not_executable))

    assert caught.value.filename == str(not_executable)


def test_a_missing_working_directory_is_named(start, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        start("true", cwd=tmp_path / "none")

    assert caught.value.filename == str(tmp_path / "none")


def test_an_argument_that_no_program_can_have_is_refused(start):
    with pytest.raises(OSError, match="Invalid argument"):
        start("echo", "a\0b")


def test_a_guard_that_does_not_start_shows_its_log(start, monkeypatch, folder):
    monkeypatch.setattr(guarded, "GUARD", ("-c", "raise SystemExit('no memory left')"))

    with pytest.raises(ServerError) as caught:
        start("true", directory=folder)

    assert not folder.exists()
    text = str(caught.value)
    assert text.startswith("expected the guard process to start true within 30 s; it ended.\n")
    assert text.endswith("no memory left")


# -- what closing leaves


def test_closing_ends_all_that_it_started_and_removes_the_directory(start, lifeline, folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    (folder / "link").symlink_to("/", target_is_directory=True)
    process = start(
        *sh("sleep 1000000 & sleep 1000000 & echo up; wait"),
        log=folder / "log", directory=folder, announcement="up", pass_fds=[lifeline[1]],
    )  # fmt: skip
    assert process.wait_announced(PATIENCE)

    process.close()

    assert ended(lifeline)
    assert not folder.exists()
    assert process.log_tail() == "up", "what it said is still known"


def test_closing_ends_children_whose_parent_is_dead_already(start, lifeline):
    process = start(*sh("sleep 1000000 & exit 0"), pass_fds=[lifeline[1]])
    assert process.wait(PATIENCE) == 0

    process.close()

    assert ended(lifeline)


DAEMON = """
import os
if os.fork():
    os.wait()
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.execlp("sleep", "sleep", "1000000")
"""


@linux_only
def test_closing_ends_daemons_that_left_its_group(start, lifeline):
    process = start(sys.executable, "-c", DAEMON, pass_fds=[lifeline[1]])
    assert process.wait(PATIENCE) == 0

    process.close()

    assert ended(lifeline)


def test_a_stopped_command_can_be_closed(start, lifeline):
    process = start(*FOR_EVER, pass_fds=[lifeline[1]])
    process.send_signal(signal.SIGSTOP)

    process.close()

    assert ended(lifeline)


def test_a_group_can_be_killed_while_its_leader_is_dead(start, lifeline):
    process = start(*sh("sleep 1000000 & exit 0"), pass_fds=[lifeline[1]])
    process.wait(PATIENCE)

    process.kill_group()

    assert ended(lifeline)


def test_with_a_grace_it_is_asked_first(start, tmp_path):
    process = start(
        *sh('trap "echo tidied; exit 0" TERM; echo up; sleep 1000000 & wait'), announcement="up", grace=PATIENCE
    )
    assert process.wait_announced(PATIENCE)

    process.close()

    assert process.returncode == 0
    assert (tmp_path / "log").read_text() == "up\ntidied\n"


def test_a_grace_is_no_longer_than_it_is(start):
    process = start(*FORGETFUL, announcement="up", grace=0.05)
    assert process.wait_announced(PATIENCE)

    process.close()

    assert process.returncode == -signal.SIGKILL


def test_without_a_grace_it_is_not_asked(start, tmp_path):
    process = start(*sh('trap "echo asked" TERM; echo up; sleep 1000000 & wait'), announcement="up")
    assert process.wait_announced(PATIENCE)

    process.close()

    assert (tmp_path / "log").read_text() == "up\n"


def test_closing_twice_is_closing_once(start):
    process = start(*FOR_EVER)
    process.close()
    process.close()


def test_a_guard_that_hangs_is_said_and_its_command_killed(start, monkeypatch, watch):
    process = start(*FOR_EVER)
    watch.add(process.pid)
    os.kill(process._guard.pid, signal.SIGSTOP)
    monkeypatch.setattr(guarded, "PATIENCE", 0.05)

    with pytest.raises(
        ServerError, match=r"expected the guard of sleep \(process \d+\) to end it within 0.05 s; it did"
    ):
        process.close()

    watch.until_gone(process.pid)


# -- whoever dies


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_sigkill_of_the_test_process_leaves_nothing(script, watch, folder, group):
    holder = script(HOLDER.format(folder=str(folder), argv=FORGETFUL) + "sys.stdin.read()")
    guard, command = map(int, holder.line().split())
    watch.add(guard)
    watch.add(command)

    holder.kill(group=group)

    watch.until_gone(command)
    watch.until_gone(guard)
    assert not folder.exists()


def test_an_exit_without_closing_leaves_nothing(script, watch, folder):
    holder = script(HOLDER.format(folder=str(folder), argv=FORGETFUL) + "sys.stdin.readline(); os._exit(0)")
    guard, _ = map(int, holder.line().split())
    watch.add(guard)

    holder.say("go")

    watch.until_gone(guard)
    assert not folder.exists()


FORK = """
if os.fork() == 0:
    process.close(); process.kill(); process.kill_group()
    print("child", os.getpid(), process.poll(), process.log_tail())
    os.read(0, 100)  # lives longer than its parent: nobody writes
    os._exit(0)
os.wait()
"""


def test_a_forked_child_neither_ends_it_nor_keeps_it_alive(script, watch, folder):
    holder = script(HOLDER.format(folder=str(folder), argv=FORGETFUL) + FORK)
    guard, command = map(int, holder.line().split())
    watch.add(guard)
    watch.add(command)
    _, child, code, tail = holder.line().split()
    watch.add(int(child))
    assert (code, tail, watch.lives(command)) == ("None", "up", True)

    holder.kill()

    watch.until_gone(guard)
    assert watch.lives(int(child)), "it holds no end of the guard's pipe"


def test_sigterm_to_the_guard_tidies_up(start, folder):
    process = start(*FOR_EVER, directory=folder, log=folder / "log")

    process._guard.terminate()

    assert process.wait(PATIENCE) == -signal.SIGKILL
    process._guard.wait()
    assert not folder.exists()


@linux_only
def test_without_its_guard_a_command_does_not_live_though_nobody_looks(script, watch, folder):
    holder = script(HOLDER.format(folder=str(folder), argv=ALONE) + "input()")
    guard, command = map(int, holder.line().split())
    watch.add(command)

    os.kill(guard, signal.SIGKILL)

    watch.until_gone(command)


def test_without_its_guard_a_command_does_not_live(start, lifeline):
    process = start(*FOR_EVER, pass_fds=[lifeline[1]])

    process._guard.kill()

    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert ended(lifeline)


def test_a_ctrl_c_in_the_terminal_does_not_reach_it(script, watch, folder):
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    holder = script(ignoring + HOLDER.format(folder=str(folder), argv=FORGETFUL) + "print(input()); input()")
    guard, command = map(int, holder.line().split())
    watch.add(guard)
    watch.add(command)

    os.killpg(holder.process.pid, signal.SIGINT)
    holder.say("still there")

    assert holder.line() == "still there"
    assert watch.lives(guard)
    assert watch.lives(command)


# -- what it does not touch


@pytest.mark.parametrize("freeze", [freezegun.freeze_time, time_machine.travel])
def test_waits_are_real_under_a_frozen_clock(start, freeze):
    options = {"tick": False} if freeze is time_machine.travel else {}
    with freeze("2030-01-01", **options):
        began = Real.monotonic()
        process = start(*FOR_EVER)
        assert process.wait(0.05) is None
        assert Real.monotonic() - began >= 0.05
        process.close()

    assert process.returncode == -signal.SIGKILL


@linux_only
def test_what_is_preloaded_into_the_command_is_not_in_its_guard(start, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "")
    process = start(*FOR_EVER)

    def environment(pid):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    assert b"LD_PRELOAD=" in environment(process.pid)
    assert b"LD_PRELOAD=" not in environment(process._guard.pid)


def test_a_guard_imports_no_more_than_it_must():
    program = guarded.PROGRAM.replace("guard.main()", "print(*sys.modules)")
    environment = os.environ | guarded.FOLDER
    command = [sys.executable, "-I", "-S", "-c", program]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    heavy = {"subprocess", "threading", "logging", "typing", "pathlib", "json", "shutil", "tempfile", "redis", "re"}
    assert heavy.isdisjoint(loaded.split())


def test_killing_by_the_name_of_pytest_does_not_hit_the_guard(start):
    process = start(*FOR_EVER)

    assert not [word for word in process._guard.args[1:] if "pytest" in word]
