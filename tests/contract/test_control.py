"""Remote control: Celery's own code asks and answers, at once, and each worker speaks for itself."""

from __future__ import annotations

import os
import time

import pytest
from celery import signals
from celery.canvas import StampingVisitor
from celery.worker.control import Panel, control_command, inspect_command
from kombu import Queue
from scenario import START, after, passed

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)

OK = {"ok": "pong"}
A, B = "a@taskharness", "b@taskharness"


@pytest.fixture
def two(tasks, open_harness):
    """Two workers that consume every queue."""
    return open_harness(workers=2)


@pytest.fixture
def slow(app):
    @app.task(name="shop.slow", shared=False)
    def slow(*args, **kwargs):
        return list(args)

    return slow


@pytest.fixture
def held(slow, two):
    """Its body is held on worker a."""
    two.worker("b").pause()
    result = slow.delay(1, x=2)
    with two.worker("a").hold_in(slow):
        two.drain()
        two.worker("b").resume()
        yield result


@pytest.fixture
def commands():
    """What a test adds to the commands that workers know is gone after it."""
    before = {name: dict(getattr(Panel, name)) for name in ("data", "meta")}
    yield
    for name, contents in before.items():
        getattr(Panel, name).clear()
        getattr(Panel, name).update(contents)


# -- who answers


@STEPPED
def test_all_workers_answer_at_once(two, app):
    assert app.control.ping(timeout=5) == [{A: OK}, {B: OK}]
    assert app.control.inspect().ping() == {A: OK, B: OK}
    assert passed(two) == 0


@STEPPED
def test_those_who_are_meant_answer(two, app):
    assert app.control.ping(destination=[B]) == [{B: OK}]
    assert app.control.inspect([A]).ping() == {A: OK}
    assert app.control.broadcast("ping", pattern="a@*", matcher="glob", reply=True) == [{A: OK}]
    assert app.control.broadcast("ping", pattern="^b", matcher="pcre", reply=True) == [{B: OK}]
    assert app.control.inspect(pattern="b@*", matcher="glob").ping() == {B: OK}
    assert app.control.broadcast("ping", reply=True, limit=1) == [{A: OK}]
    assert passed(two) == 0


@STEPPED
def test_where_nobody_answers_the_timeout_passes_and_no_real_time(two, app):
    began = time.thread_time()
    assert app.control.ping(destination=["nobody@taskharness"], timeout=60) == []
    assert passed(two) == 60
    for name in "ab":
        two.worker(name).kill()
    assert app.control.inspect(timeout=60).ping() is None
    assert passed(two) == 120
    assert time.thread_time() - began < 30


@STEPPED
def test_a_worker_that_is_paused_does_not_answer_before_it_goes_on(two, app, tasks):
    two.worker("a").pause()
    assert app.control.ping() == [{B: OK}]
    app.control.rate_limit("shop.noop", "1/m")
    two.worker("a").resume()
    two.drain()
    assert A in app.control.inspect().ping()


@STEPPED
def test_a_body_may_ask_too(two, app):
    @app.task(name="shop.asks", shared=False)
    def asks():
        active = app.control.inspect().active()
        return sorted(name for name, running in active.items() if running)

    result = asks.delay()
    two.drain()
    assert result.get() == [two.run_of(result).worker + "@taskharness"]
    assert passed(two) == 0


@STEPPED
def test_whoever_asks_again_and_again_waits_for_it(two, app, tasks):
    result = tasks.noop.apply_async(countdown=60)
    while result.id not in str(app.control.inspect().scheduled()):
        pass
    while app.control.inspect().scheduled() != {A: [], B: []}:
        pass
    assert result.state == "SUCCESS"


# -- what they say


@STEPPED
def test_active_shows_what_a_worker_runs_and_since_when(two, app, held):
    two.clock.advance(seconds=5)
    active = app.control.inspect().active()
    [request] = active[A]
    assert active[B] == []
    assert (request["id"], request["name"], request["args"], request["kwargs"]) == (
        held.id, "shop.slow", [1], {"x": 2},
    )  # fmt: skip
    assert request["time_start"] == START.timestamp()
    assert (request["hostname"], request["acknowledged"]) == (A, True)


@STEPPED
def test_reserved_and_scheduled_show_what_waits(two, app, tasks, held):
    two.worker("b").kill()
    later = tasks.noop.apply_async((), countdown=60)
    two.drain()
    [scheduled] = app.control.inspect().scheduled()[A]
    assert (scheduled["request"]["id"], scheduled["eta"]) == (later.id, after(seconds=60).isoformat())
    assert app.control.inspect().reserved() == {A: []}


@STEPPED
def test_each_worker_knows_its_own_tasks(two, app, held):
    found = app.control.inspect().query_task(held.id)
    assert [found[A][held.id][0], found[B]] == ["active", {}]
    assert app.control.inspect().query_task("no such id") == {A: {}, B: {}}


@STEPPED
def test_stats_count_for_each_worker(two, app, tasks, held):
    stats = app.control.inspect().stats()
    assert [stats[A]["total"], stats[B]["total"]] == [{"shop.slow": 1}, {}]
    assert stats[A]["pool"]["max-concurrency"] == 4
    assert stats[A]["prefetch_count"] == 16


@STEPPED
def test_stats_of_the_pool_are_those_of_prefork_with_one_process(app, open_harness):
    harness = open_harness()
    harness.worker("first")
    app.conf.update(task_time_limit=20, task_soft_time_limit=10)
    harness.worker("second")
    found = app.control.inspect().stats()
    first, second = (found[f"{name}@taskharness"]["pool"] for name in ("first", "second"))
    assert first["processes"] == second["processes"] == [os.getpid()]
    assert {"max-concurrency", "max-tasks-per-child", "put-guarded-by-semaphore", "writes"} <= first.keys()
    assert (first["timeouts"], second["timeouts"]) == ([0, 0], [10, 20])


@STEPPED
def test_the_rest_of_inspect_answers(two, app, tasks):
    inspect = app.control.inspect()
    assert "shop.noop" in inspect.registered()[A]
    assert inspect.registered_tasks() == inspect.registered()
    assert [queue["name"] for queue in inspect.active_queues()[A]] == ["celery"]
    assert inspect.conf()[A]["worker_hijack_root_logger"] is False
    assert "software" in inspect.report()[A]["ok"]
    assert set(inspect.clock()[A]) == {"clock"}
    assert set(inspect.hello("c@taskharness")[A]) == {"revoked", "clock"}
    assert set(inspect.memsample()) == {A, B}
    assert set(inspect.memdump()) == {A, B}
    assert passed(two) == 0


@STEPPED
def test_a_command_that_nobody_knows_is_an_answer(two, app):
    [answer] = app.control.broadcast("no_such_command", reply=True, destination=[A])
    assert "error" in answer[A]


@STEPPED
def test_commands_of_the_users_own(two, app, commands):
    seen = []

    @control_command(args=[("number", int)], name="set_number")
    def set_number(state, number=0):
        seen.append((state.hostname, number))
        return {"ok": number}

    @inspect_command(name="get_number")
    def get_number(state):
        return len(seen)

    assert app.control.broadcast("set_number", arguments={"number": 3}, reply=True) == [{A: {"ok": 3}}, {B: {"ok": 3}}]
    assert seen == [(A, 3), (B, 3)]
    assert app.control.inspect()._request("get_number") == {A: 2, B: 2}
    app.control.broadcast("set_number", arguments={"number": 4}, destination=[B])
    two.drain()
    assert seen[2:] == [(B, 4)]


# -- revoke


@STEPPED
def test_a_list_of_ids(two, app, tasks):
    results = [tasks.noop.apply_async(countdown=60) for _ in range(3)]
    two.drain()
    app.control.revoke([result.id for result in results[:2]])
    two.settle()
    assert [two.run_of(result).state for result in results] == ["REVOKED", "REVOKED", "SUCCESS"]
    assert {result.id for result in results[:2]} == set(app.control.inspect().revoked()[A])


@STEPPED
def test_terminate_is_said_once(two, app, held):
    told = []

    def on_revoked(request, terminated, **_):
        told.append((request.id, terminated))

    signals.task_revoked.connect(on_revoked)
    answers = app.control.terminate(held.id, reply=True)
    assert two.run_of(held).state == "REVOKED"
    assert told == [(held.id, True)]
    assert {tuple(answer) for answer in answers} == {(A,), (B,)}
    assert f"terminate: {held.id}" in str(answers)


@STEPPED
def test_a_body_that_ends_itself_ends_where_it_sleeps(two, app):
    trace = []

    @app.task(name="shop.suicidal", shared=False, bind=True)
    def suicidal(self):
        app.control.revoke(self.request.id, terminate=True)
        trace.append("before")
        time.sleep(1)
        trace.append("after")

    result = suicidal.delay()
    two.settle()
    assert (trace, two.run_of(result).state, passed(two)) == (["before"], "REVOKED", 0)


@STEPPED
def test_a_body_that_waits_is_terminated_by_the_one_that_it_waits_for(two, app):
    @app.task(name="shop.child", shared=False)
    def child(parent):
        app.control.revoke(parent, terminate=True)

    @app.task(name="shop.parent", shared=False, bind=True)
    def parent(self):
        from celery.result import allow_join_result

        with allow_join_result():
            child.delay(self.request.id).get()
        raise AssertionError("it lives")

    result = parent.delay()
    two.settle()
    assert two.run_of(result).state == "REVOKED"
    assert two.run_of(child).state == "SUCCESS"


class Tenant(StampingVisitor):
    """Stamps with the name of a tenant."""

    def on_signature(self, sig, **headers):
        return {"tenant": "acme"}


@STEPPED
def test_by_stamped_headers(two, app, slow, tasks):
    stamped = slow.si(1)
    stamped.stamp(Tenant())
    first, second = stamped.apply_async(countdown=60), slow.apply_async((1,), countdown=60)
    two.drain()
    app.control.revoke_by_stamped_headers({"tenant": ["acme"]})
    two.settle()
    assert [two.run_of(result).state for result in (first, second)] == ["REVOKED", "SUCCESS"]


@STEPPED
def test_by_stamped_headers_a_body_that_runs_is_terminated(two, app, slow):
    stamped = slow.si(1)
    stamped.stamp(Tenant())
    result = stamped.apply_async()
    two.bring_to(result, "running")
    app.control.revoke_by_stamped_headers({"tenant": "acme"}, terminate=True)
    two.settle()
    assert two.run_of(result).state == "REVOKED"


# -- limits by control


@STEPPED
def test_a_new_rate_limit_is_for_what_comes_after_it(two, app, tasks):
    two.worker("b").kill()
    app.control.rate_limit("shop.noop", "1/m")
    results = [tasks.noop.delay() for _ in range(3)]
    two.drain()
    assert [two.run_of(result).state for result in results] == ["SUCCESS", "RECEIVED", "RECEIVED"]

    # Celery makes new buckets; what is in the old one goes on as it was.
    app.control.rate_limit("shop.noop", "1/s")
    results += [tasks.noop.delay() for _ in range(3)]
    two.settle()
    started = [(two.run_of(result).started_at - START).total_seconds() for result in results]
    assert started == [0, 60, 120, 0, 1, 2]


@STEPPED
def test_a_rate_limit_of_one_worker(two, app, tasks):
    tasks.noop.delay()
    tasks.noop.delay()
    two.drain()
    app.control.rate_limit("shop.noop", "1/m", destination=[A], reply=True)
    results = [tasks.noop.delay() for _ in range(4)]
    two.settle()
    started = {name: [] for name in "ab"}
    for result in results:
        run = two.run_of(result)
        started[run.worker].append((run.started_at - START).total_seconds())
    assert started == {"a": [0, 60], "b": [0, 0]}


@STEPPED
def test_time_limits_come_too_late_as_for_any_worker_that_has_started(two, app, slow):
    @app.task(name="shop.naps", shared=False)
    def naps():
        time.sleep(60)

    assert app.control.time_limit("shop.naps", soft=3, hard=5, reply=True) == [
        {name: {"ok": "time limits set successfully"}} for name in (A, B)
    ]
    result = naps.delay()
    two.settle()
    assert (two.run_of(result).state, passed(two)) == ("SUCCESS", 60)
    assert naps.soft_time_limit == 3


@STEPPED
def test_what_cannot_be_set_is_an_answer(two, app):
    assert app.control.rate_limit("shop.nope", "1/s", destination=[A], reply=True) == [{A: {"error": "unknown task"}}]
    assert app.control.time_limit("shop.nope", soft=1, destination=[A], reply=True) == [{A: {"error": "unknown task"}}]


# -- queues


@STEPPED
def test_a_queue_is_added_and_taken_away(open_harness, app, tasks):
    harness = open_harness()
    a, b = (harness.worker(name, queues=["celery"]) for name in "ab")
    app.control.add_consumer(
        "extra", exchange="shop", exchange_type="topic", routing_key="extra.#", destination=[A], reply=True
    )
    assert (a.queues, b.queues) == (["celery", "extra"], ["celery"])
    [added] = [queue for queue in app.control.inspect().active_queues()[A] if queue["name"] == "extra"]
    assert (added["exchange"]["name"], added["exchange"]["type"], added["routing_key"]) == ("shop", "topic", "extra.#")

    result = tasks.noop.apply_async(exchange="shop", routing_key="extra.fast")
    harness.drain()
    assert harness.run_of(result).worker == "a"

    app.control.cancel_consumer("extra", reply=True)
    late = tasks.noop.apply_async(queue="extra")
    harness.drain()
    assert (a.queues, late.state, harness.broker.depth("extra")) == (["celery"], "PENDING", 1)


@STEPPED
def test_purge_throws_away_what_waits_in_the_queues_of_the_app(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery"), Queue("mail")]
    harness = open_harness()
    app.control.cancel_consumer("mail", reply=True)
    results = [tasks.noop.apply_async(queue=queue) for queue in ("celery", "celery", "mail")]
    assert app.control.purge() == 3
    harness.drain()
    assert [result.state for result in results] == ["PENDING"] * 3


# -- life


@STEPPED
def test_one_is_shut_down(two, app, tasks):
    later = tasks.noop.apply_async(countdown=60)
    two.drain()
    name = next(event.worker for event in two.run_of(later).timeline if event.kind == "receive")
    [other] = {"a", "b"} - {name}
    app.control.shutdown(destination=[f"{name}@taskharness"])
    two.drain()

    assert app.control.inspect().ping() == {f"{other}@taskharness": OK}
    two.settle()
    assert two.run_of(later).worker == other


@STEPPED
def test_a_shutdown_waits_for_the_body_that_runs(two, app, held, slow):
    app.control.shutdown(destination=[A])
    two.drain()
    other = slow.delay()
    two.drain()
    assert two.run_of(other).worker == "b"
    assert app.control.inspect().ping() == {B: OK}
    assert not two.run_of(held).finished


@STEPPED
def test_and_then_it_ends(two, app, slow):
    stopped = []

    def on_shutdown(**_):
        stopped.append(1)

    signals.worker_shutdown.connect(on_shutdown)
    result = slow.delay()
    two.bring_to(result, "running")
    app.control.shutdown()
    two.drain()
    two.drain()
    assert two.run_of(result).state == "SUCCESS"
    assert stopped == [1, 1]
    assert app.control.inspect().ping() is None


@STEPPED
def test_a_body_shuts_its_own_worker_down(two, app):
    @app.task(name="shop.quits", shared=False, bind=True)
    def quits(self):
        app.control.shutdown(destination=[self.request.hostname])
        time.sleep(1)
        return "done"

    result = quits.delay()
    two.drain()
    assert result.get() == "done"
    assert list(app.control.inspect().ping()) == [B if two.run_of(result).worker == "a" else A]


# -- the pool


@STEPPED
def test_the_pool_grows_and_shrinks(two, app):
    app.control.pool_grow(2, destination=[A], reply=True)
    pools = {name: (said["pool"]["max-concurrency"], said["prefetch_count"]) for name, said in stats(app)}
    assert pools == {A: (6, 24), B: (4, 16)}

    app.control.pool_shrink(5, destination=[A], reply=True)
    pools = {name: (said["pool"]["max-concurrency"], said["prefetch_count"]) for name, said in stats(app)}
    assert pools[A] == (1, 4)
    [refused] = app.control.pool_shrink(1, destination=[A], reply=True)
    assert "Can't shrink pool" in refused[A]["error"]


def stats(app):
    return app.control.inspect().stats().items()


@STEPPED
def test_a_smaller_pool_runs_less_at_a_time(two, app, slow, tasks):
    two.worker("b").kill()
    app.control.pool_shrink(3, destination=[A], reply=True)
    with two.worker("a").hold_in(slow):
        slow.delay()
        other = tasks.noop.delay()
        two.drain()
        assert two.run_of(other).state == "RECEIVED"
        app.control.pool_grow(1, destination=[A], reply=True)
        two.drain()
        assert two.run_of(other).state == "SUCCESS"


@STEPPED
def test_pool_restart_and_autoscale_say_that_they_are_not_enabled(two, app):
    assert "Pool restarts not enabled" in str(app.control.pool_restart(destination=[A], reply=True))
    assert "Autoscale not enabled" in str(app.control.autoscale(4, 2, destination=[A], reply=True))


@STEPPED
def test_pool_restart_where_it_is_enabled(open_harness, app, tasks):
    open_harness(config={"worker_pool_restarts": True})
    assert app.control.pool_restart(reply=True) == [{"worker@taskharness": {"ok": "reload started"}}]
    assert tasks.add.delay(1, 2).get() == 3


@STEPPED
def test_an_election_without_gossip_elects_nobody(two, app):
    assert app.control.election("id", "topic") is None
    two.drain()
    assert app.control.inspect().ping() == {A: OK, B: OK}


# -- asking for a worker


@STEPPED
def test_the_default_worker_gives_way_to_one_of_its_name(open_harness, app, tasks):
    from pytest_taskharness.errors import ConfigurationError

    harness = open_harness()
    worker = harness.worker("worker", queues=["mail"], concurrency=2)
    assert worker.queues == ["mail"]
    assert app.control.inspect().stats()["worker@taskharness"]["pool"]["max-concurrency"] == 2
    assert harness.worker("worker", queues=["mail"], concurrency=2).queues == ["mail"]
    with pytest.raises(ConfigurationError, match=r"worker\('worker', queues=\['other'\]\): a worker of this name"):
        harness.worker("worker", queues=["other"])


@STEPPED
def test_a_default_worker_that_was_named_stays(open_harness):
    harness = open_harness()
    harness.worker("worker")
    harness.worker("other")
    assert harness.worker("worker").name == "worker"
    assert sorted(node.name for node in harness._world.nodes) == ["other", "worker"]


@STEPPED
@pytest.mark.parametrize("concurrency", [0, -1, "2", True, 1.5])
def test_a_worker_has_at_least_one_slot(open_harness, concurrency):
    from pytest_taskharness.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="at least 1; given"):
        open_harness().worker("a", concurrency=concurrency)


@STEPPED
def test_a_hold_that_never_holds_fails_the_test(open_harness, tasks):
    from pytest_taskharness.errors import FaultNeverStruck

    harness = open_harness()
    harness.worker().hold_in(tasks.noop)
    with pytest.raises(
        FaultNeverStruck, match=r"1 run to be held by hold_in\(\); none has begun:\n  shop.noop on worker"
    ):
        harness.close()


@STEPPED
def test_one_that_was_released_or_forgiven_does_not(open_harness, tasks):
    first, second = open_harness(), None
    first.worker().hold_in(tasks.noop).release()
    first.close()
    second = open_harness()
    second.worker().hold_in(tasks.noop)
    second.forgive()
    second.close()
