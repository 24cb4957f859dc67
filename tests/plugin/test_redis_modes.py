"""The modes on Redis, and the canary, as a user of the plugin meets them."""

from __future__ import annotations

import os

import pytest

from pytest_taskharness.servers.redis import find_binary

#: In CI it has to be: a test that needs it fails there, and is not skipped.
REDIS_IS_THERE = bool(os.environ.get("CI")) or find_binary() is not None

on_redis = pytest.mark.parametrize(
    "mode",
    ["fakeredis", pytest.param("redis", marks=pytest.mark.skipif(not REDIS_IS_THERE, reason="needs a Redis server"))],
)


@on_redis
def test_the_marker_says_the_visibility_timeout(project, mode):
    project.test(
        f"""
        import pytest
        from shop import add

        @pytest.mark.taskharness(mode={mode!r}, visibility_timeout=3600)
        def test_too_short(harness):
            add.apply_async((1, 2), countdown=7200)
            harness.settle()
            assert [attempt.redelivered for attempt in harness.run_of(add).attempts] == [False, True]

        @pytest.mark.taskharness(mode={mode!r}, visibility_timeout=3 * 3600)
        def test_long_enough(harness):
            add.apply_async((1, 2), countdown=7200)
            harness.settle()
            assert len(harness.run_of(add).attempts) == 1
        """
    ).assert_outcomes(passed=2)


@on_redis
def test_the_apps_configuration_says_it_too(project, mode):
    project.test(
        f"""
        import pytest
        from shop import add, app

        @pytest.fixture
        def taskharness_config():
            return {{"broker_transport_options": {{"visibility_timeout": 600}}}}

        @pytest.mark.taskharness(mode={mode!r})
        def test_it(harness):
            add.apply_async((1, 2), countdown=900)
            harness.settle()
            [restored] = [event.at for event in harness.timeline if event.kind == "restore"]
            assert (restored - harness.timeline.start).total_seconds() == 600
        """
    ).assert_outcomes(passed=1)


SMUGGLER = """
    import pytest
    from shop import add

    def test_before():
        pass

    @pytest.mark.taskharness(mode="memory")
    def test_that_sees_another(harness):
        add.delay(1, 2)
        broker = harness._world.broker
        [message] = broker.peek("celery")
        broker.purge("celery")
        broker.put("celery", {**message.payload, "taskharness": "another-1-1"})
        with pytest.raises(Exception, match="."):
            harness.drain()

    @pytest.mark.parametrize("number", range(100))
    def test_after(number):
        pass
    """


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_message_of_another_test_ends_the_session(project, arguments):
    result = project.test(SMUGGLER, *arguments)
    result.stdout.fnmatch_lines([
        "*taskharness: a message of another test came out of queue 'celery': shop.add *",
        "expected a message of harness *; found one of another-1-1 *",
        "*it ends here.",
    ])  # fmt: skip
    assert result.ret != 0
    assert result.parseoutcomes().get("passed", 0) < 102
