"""``harness.background()`` and ``await harness.wait()`` beside event loops, a web framework and a timeout of others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ASYNC = """
import asyncio
import pytest
from shop import add

{mark}
async def test_wait(harness):
    ticks = []

    async def ticker():
        while True:
            await asyncio.sleep(10)
            ticks.append(1)

    ticking = asyncio.create_task(ticker())
    assert await harness.wait(add.apply_async((1, 2), countdown=35)) == 3
    assert len(ticks) == 3
    ticking.cancel()

{mark}
async def test_polling(harness):
    result = add.apply_async((1, 2), countdown=60)
    while not result.ready():
        await asyncio.sleep(0.5)
    assert result.get() == 3

{mark}
async def test_background(harness):
    async with harness.background():
        result = add.apply_async((1, 2), countdown=60)
        assert await asyncio.to_thread(result.get, 100) == 3
"""


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_pytest_asyncio(project, mode):
    mark = "@pytest.mark.asyncio"
    result = project.test(ASYNC.format(mark=mark), f"--taskharness-mode={mode}", "-W", "ignore::DeprecationWarning")
    result.assert_outcomes(passed=3)


def test_anyio_on_asyncio(project):
    result = project.test(
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        + ASYNC.format(mark="@pytest.mark.anyio"),
        "-p", "no:asyncio",
    )  # fmt: skip
    result.assert_outcomes(passed=3)


def test_anyio_on_trio(project):
    project.test(
        """
        import pytest
        import trio
        from pytest_taskharness.errors import ConfigurationError
        from shop import add

        @pytest.fixture
        def anyio_backend():
            return "trio"

        @pytest.mark.anyio
        async def test_it(harness):
            async with harness.background():
                assert await trio.to_thread.run_sync(lambda: add.delay(1, 2).get(timeout=10)) == 3
            with pytest.raises(ConfigurationError, match="asyncio"):
                await harness.wait(add.delay(1, 2))
        """,
        "-p", "no:asyncio",
    ).assert_outcomes(passed=1)  # fmt: skip


STARLETTE = """
import asyncio

import pytest
from shop import add
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient


async def poll(request):
    result = add.apply_async((1, 2), countdown=60)
    while not result.ready():
        await asyncio.sleep(0.01)
    return JSONResponse(result.get())


def block(request):
    return JSONResponse(add.apply_async((1, 2), countdown=60).get(timeout=100))


async def socket(websocket):
    await websocket.accept()
    async for x in websocket.iter_json():
        result = add.apply_async((x, 1), countdown=60)
        while not result.ready():
            await asyncio.sleep(0.01)
        await websocket.send_json(result.result)


web = Starlette(routes=[Route("/poll", poll), Route("/block", block), WebSocketRoute("/socket", socket)])


@pytest.fixture(params=["background", "driven_waits"])
def driven(harness, request):
    with getattr(harness, request.param)():
        yield


@pytest.mark.parametrize("path", ["/poll", "/block"])
def test_request(driven, path):
    with TestClient(web) as client:
        assert client.get(path).json() == 3


def test_websocket(driven):
    with TestClient(web) as client, client.websocket_connect("/socket") as websocket:
        for number in range(3):
            websocket.send_json(number)
            assert websocket.receive_json() == number + 1
"""


def test_a_web_framework_whose_test_client_runs_in_a_thread(project):
    project.test(STARLETTE, "-W", "ignore").assert_outcomes(passed=6)


def test_a_timeout_of_the_test_runner_ends_the_block(project):
    result = project.test(
        """
        import threading

        import pytest
        from shop import add

        @pytest.mark.timeout(1, method="signal", func_only=True)
        def test_slow(harness):
            with harness.background():
                add.delay(1, 2)
                threading.Event().wait(20)

        def test_next(harness):
            assert add.delay(1, 2).get() == 3
        """
    )
    result.assert_outcomes(failed=1, passed=1)


PAGE = Path(__file__).parents[2] / "docs" / "how-do-i.md"
#: A block that is a file of the page's project: its path, its text.
FILE = re.compile(r"^```python\n(# (?P<path>[\w/]+\.py)\n.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_recipe_for_fastapi_holds_where_fastapi_is(tmp_path):
    for block in FILE.finditer(PAGE.read_text(encoding="utf-8")):
        path = tmp_path / block["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block[1], encoding="utf-8")
        if path.name == "test_fastapi.py":
            break
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:celery",
        "-p",
        "no:django",
        "test_fastapi.py",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
