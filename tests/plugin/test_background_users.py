"""``harness.background()`` and ``await harness.wait()`` as users meet them: Django, event loops, frameworks, Ctrl-C."""

from __future__ import annotations

import pytest
from test_django import SETTINGS, SHOP

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


def test_bodies_of_the_thread_see_what_the_test_has_not_committed(project):
    project.file(
        settings=SETTINGS,
        shop=SHOP,
        test_orders="""
        import queue

        import pytest
        from django.db import connection, transaction
        from shop import app, order

        told = queue.Queue()

        def rows():
            with connection.cursor() as cursor:
                return cursor.execute("select number from orders order by number").fetchall()

        @app.task
        def look():
            told.put(rows())

        @pytest.fixture(autouse=True)
        def in_transaction():
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("create table if not exists orders (number integer)")
                yield
                transaction.set_rollback(True)

        @pytest.mark.parametrize("number", [1, 2])
        def test_order(harness, number):
            with harness.background():
                with connection.cursor() as cursor:
                    cursor.execute("insert into orders values (%s)", [number])
                order.delay(10 * number)
                look.delay()
                assert told.get(timeout=20) == [(number,), (10 * number,)]
            assert rows() == [(number,), (10 * number,)]
            assert connection.allow_thread_sharing is False

        def test_a_connection_that_the_thread_opens_first_is_the_tests(harness):
            with harness.background():
                order.delay(3)
            assert rows() == [(3,)]
        """,
    )

    project.run().assert_outcomes(passed=3)


def test_ctrl_c_in_the_block_ends_the_run_and_the_thread(project):
    result = project.test(
        """
        import atexit
        import os
        import signal
        import threading

        from shop import add

        atexit.register(lambda: print("left:", [each.name for each in threading.enumerate()][1:]))

        def test_interrupted(harness):
            with harness.background():
                add.delay(1, 2).get()
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(20)
        """,
        "-s",
    )
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert "left: []" in result.stdout.str()
    assert result.ret == 2


def test_what_goes_wrong_in_the_thread_fails_the_test_with_its_timeline(project):
    result = project.test(
        """
        import pytest
        from shop import app

        @app.task
        def picky():
            pytest.fail("a body is not content")

        def test_it(harness):
            with harness.background():
                picky.delay()
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*a body is not content*", "*taskharness timeline*", "*start*picky*"])


def test_the_error_of_the_test_names_what_went_wrong_in_the_thread(project):
    result = project.test(
        """
        import queue

        import pytest
        from shop import app

        told = queue.Queue()

        @app.task
        def picky():
            told.put(1)
            raise KeyboardInterrupt("in a body")

        def test_it(harness):
            with harness.background():
                picky.delay()
                told.get(timeout=20)
                while not harness.run_of(picky).attempts:
                    pass
                told.get(timeout=0.1)
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*KeyboardInterrupt: in a body*", "*During handling*", "*Empty*"])


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_pytest_asyncio(project, mode):
    pytest.importorskip("pytest_asyncio", reason="needs pytest-asyncio")
    mark = "@pytest.mark.asyncio"
    result = project.test(ASYNC.format(mark=mark), f"--taskharness-mode={mode}", "-W", "ignore::DeprecationWarning")
    result.assert_outcomes(passed=3)


def test_anyio_on_asyncio(project):
    pytest.importorskip("anyio", reason="needs anyio")
    result = project.test(
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        + ASYNC.format(mark="@pytest.mark.anyio"),
        "-p", "no:asyncio",
    )  # fmt: skip
    result.assert_outcomes(passed=3)


def test_anyio_on_trio(project):
    pytest.importorskip("trio", reason="needs trio")
    pytest.importorskip("anyio", reason="needs anyio")
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
    pytest.importorskip("starlette", reason="needs starlette")
    pytest.importorskip("httpx", reason="needs httpx")
    project.test(STARLETTE, "-W", "ignore").assert_outcomes(passed=6)


def test_a_timeout_of_the_test_runner_ends_the_block(project):
    pytest.importorskip("pytest_timeout", reason="needs pytest-timeout")
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
