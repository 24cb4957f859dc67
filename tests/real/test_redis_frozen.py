"""A user's own frozen clock, in a process in which nothing of Redis was imported or started before."""

from __future__ import annotations

import textwrap

import pytest

from pytest_taskharness.servers.redis import find_binary

PROGRAM = """
    import datetime, time
    from celery import Celery, chord
    from pytest_taskharness import Harness

    app = Celery("shop", broker="redis://localhost:1/0")

    @app.task(name="shop.add")
    def add(x, y):
        return x + y

    @app.task(name="shop.total")
    def total(numbers):
        return sum(numbers)

    {freeze}
    with frozen:
        with Harness.open(app, {mode!r}, visibility_timeout=60) as harness:
            print(harness.clock.now.isoformat())
            add.apply_async((1, 2), countdown=90)
            harness.settle()
            print(len(harness.runs()[0].attempts), harness.clock.now.isoformat())
            print(chord([add.s(1, 1), add.s(2, 2).set(countdown=5)])(total.s()).get())
            print(app.control.inspect(timeout=1).ping() is not None)
        print(datetime.datetime.now(datetime.timezone.utc).isoformat())

    # Nothing of it is left: neither in the modules that were imported meanwhile, nor in those of the server's client.
    import sys

    def is_fake(value):
        return callable(value) and str(getattr(value, "__module__", "")).startswith("freezegun")

    fakes = [
        name + "." + attribute
        for name, module in list(sys.modules.items())
        if not name.startswith(("freezegun", "time_machine", "__main__", "__mp_main__"))
        for attribute, value in list(getattr(module, "__dict__", {{}}).items())
        if is_fake(value)
    ]
    print(fakes)
    before = time.time()
    time.sleep(0.001)
    print(time.time() > before)

    with Harness.open(app, {mode!r}) as harness:
        print(add.delay(3, 4).get())
"""

FREEZERS = {
    "freezegun": "from freezegun import freeze_time; frozen = freeze_time('2012-01-14 03:21:34.123457')",
    "time-machine": "import time_machine; frozen = time_machine.travel("
    "datetime.datetime(2012, 1, 14, 3, 21, 34, 123457, tzinfo=datetime.timezone.utc), tick=False)",
}  # fmt: skip


@pytest.mark.parametrize("freeze", FREEZERS.values(), ids=FREEZERS)
@pytest.mark.parametrize("mode", ["fakeredis", "redis"])
def test_the_users_own_frozen_clock_is_shared_from_the_first_import_on(script, needed, mode, freeze):
    needed(find_binary(), "a Redis server")
    program = script(textwrap.dedent(PROGRAM.format(mode=mode, freeze=freeze)))
    assert program.line() == "2012-01-14T03:21:34.123457+00:00"
    assert program.line() == "2 2012-01-14T03:23:04.123457+00:00"
    assert program.line() == "6"
    assert program.line() == "True"
    assert program.line() == "2012-01-14T03:23:09.123457+00:00"
    assert program.line() == "[]"
    assert program.line() == "True"
    assert program.line() == "7"
