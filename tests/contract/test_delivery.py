"""Messages and workers: routing, priorities, acknowledgement, loss and redelivery."""

from __future__ import annotations

import pytest
from celery import Celery
from celery.exceptions import Ignore
from kombu import Queue
from kombu.exceptions import OperationalError
from rabbit_scenes import not_on_rabbitmq
from scenario import after, eager_only, kinds, memory_only, passed

from pytest_taskharness.errors import ConfigurationError, Deadlock, FidelityError


@memory_only
def test_early_acknowledgement_comes_before_the_body(harness, tasks):
    tasks.add.delay(1, 2).get()
    assert kinds(harness.run_of(tasks.add)) == ["publish", "deliver", "receive", "ack", "start", "store", "finish"]


@memory_only
def test_late_acknowledgement_comes_after_the_body(harness, app):
    @app.task(acks_late=True)
    def late():
        pass

    late.delay().get()
    order = kinds(harness.run_of(late))
    assert order[:4] == ["publish", "deliver", "receive", "start"]
    assert order[-1] == "ack"


@memory_only
def test_late_acknowledgement_of_a_failure_is_an_ack(harness, app):
    @app.task(acks_late=True)
    def late():
        raise ValueError("no")

    late.delay()
    harness.settle()
    assert harness.run_of(late).acked


@memory_only
def test_without_acks_on_failure_a_late_failure_is_rejected(harness, app):
    @app.task(acks_late=True, acks_on_failure_or_timeout=False)
    def late():
        raise ValueError("no")

    late.delay()
    harness.settle()
    assert not harness.run_of(late).acked


@memory_only
@pytest.mark.parametrize("options", [{}, {"acks_late": True}], ids=["early", "late"])
def test_a_task_with_an_eta_is_acknowledged_in_the_end(harness, app, options):
    @app.task(**options)
    def eventual():
        pass

    eventual.apply_async(countdown=60)
    harness.settle()
    assert harness.run_of(eventual).acked


@memory_only
def test_an_early_task_whose_node_dies_in_its_body_is_lost(open_harness, app):
    harness = open_harness(workers=2)

    @app.task(bind=True)
    def fatal(self):
        harness.worker(self.request.hostname.partition("@")[0]).kill()

    result = fatal.delay()
    harness.settle()
    assert result.state == "PENDING"
    assert [run.id for run in harness.tally.lost] == [result.id]


@memory_only
def test_a_held_message_is_not_acknowledged(harness, tasks):
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    assert not harness.run_of(tasks.noop).acked
    assert kinds(harness.run_of(tasks.noop)) == ["publish", "deliver", "receive"]


@memory_only
@pytest.mark.parametrize("url, seconds", [("amqp://", 60), ("redis://", 3600)])
def test_a_killed_worker_gives_back_what_it_held(open_harness, app, tasks, url, seconds):
    app.conf.broker_url = url
    harness = open_harness(workers=2)
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    held_by = next(event.worker for event in harness.run_of(tasks.noop).timeline if event.kind == "receive")
    harness.worker(held_by).kill()
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert run.state == "SUCCESS"
    assert run.redelivered
    assert run.worker != held_by
    assert passed(harness) == seconds


@memory_only
def test_a_redelivered_task_says_so_to_its_body(open_harness, app):
    harness = open_harness(workers=2)

    @app.task(bind=True)
    def ask(self):
        return self.request.delivery_info["redelivered"]

    result = ask.apply_async(countdown=60)
    harness.drain()
    held_by = next(event.worker for event in harness.run_of(ask).timeline if event.kind == "receive")
    harness.worker(held_by).kill()
    assert result.get() is True


@memory_only
def test_nothing_runs_after_the_only_worker_is_killed(harness, tasks):
    harness.worker().kill()
    result = tasks.noop.delay()
    assert harness.settle().counts == {}
    with pytest.raises(Deadlock, match="no worker is alive"):
        result.get()


@memory_only
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_shutdown_gives_back_what_the_worker_held(harness, tasks, warm):
    tasks.noop.apply_async(countdown=60)
    harness.drain()
    harness.worker().shutdown(warm=warm)
    harness.worker("second")
    harness.settle()
    run = harness.run_of(tasks.noop)
    assert (run.worker, run.state) == ("second", "SUCCESS")


@memory_only
def test_a_paused_worker_takes_nothing_until_it_resumes(harness, tasks):
    worker = harness.worker()
    worker.pause()
    result = tasks.noop.delay()
    assert harness.settle().counts == {}
    worker.resume()
    assert harness.settle().counts == {"SUCCESS": 1}
    assert result.state == "SUCCESS"


@memory_only
def test_a_paused_worker_runs_what_it_holds_late(harness, tasks):
    tasks.noop.apply_async(countdown=10)
    harness.drain()
    harness.worker().pause()
    harness.clock.advance(seconds=60)
    harness.worker().resume()
    harness.settle()
    assert harness.run_of(tasks.noop).started_at == after(seconds=60)


@memory_only
def test_two_workers_share_a_queue_in_turn(open_harness, tasks):
    harness = open_harness(workers=2)
    for _ in range(4):
        tasks.noop.delay()
    harness.drain()
    assert [run.worker for run in harness.runs(tasks.noop)] == ["a", "b", "a", "b"]


@memory_only
def test_a_worker_consumes_only_its_queues(harness, tasks):
    harness.worker("mailer", queues=["mail"])
    harness.worker("rest", queues=["celery"])
    mail, other = tasks.noop.apply_async(queue="mail"), tasks.noop.delay()
    harness.settle()
    assert harness.run_of(mail).worker == "mailer"
    assert harness.run_of(other).worker == "rest"


def test_routes_of_the_configuration_are_followed(open_harness, tasks):
    harness = open_harness(config={"task_routes": {"shop.noop": {"queue": "slow"}}})
    tasks.noop.delay()
    tasks.add.delay(1, 2)
    harness.settle()
    assert [message.queue for message in harness.outbox] == ["slow", "celery"]
    assert {run.state for run in harness.runs()} == {"SUCCESS"}


def test_a_router_function_is_followed(open_harness, tasks):
    def route(name, args, kwargs, options, task=None, **_):
        return {"queue": "odd" if args[0] % 2 else "even"}

    harness = open_harness(config={"task_routes": (route,)})
    tasks.add.delay(1, 0)
    tasks.add.delay(2, 0)
    harness.settle()
    assert [message.queue for message in harness.outbox] == ["odd", "even"]


def test_a_queue_that_publishing_creates_is_consumed(harness, tasks):
    assert tasks.add.apply_async((1, 2), queue="made-up").get() == 3


def test_queues_declared_in_the_configuration_are_consumed(open_harness, tasks):
    harness = open_harness(config={
        "task_queues": [Queue("first", routing_key="one"), Queue("second", routing_key="two")],
        "task_default_queue": "first", "task_default_routing_key": "one",
    })  # fmt: skip
    assert tasks.add.delay(1, 2).get() == 3
    assert tasks.add.apply_async((1, 2), queue="second").get() == 3
    assert [message.queue for message in harness.outbox] == ["first", "second"]


@memory_only
@pytest.mark.parametrize(
    "broker, order",
    [
        ("redis://localhost:1/0", [0, 3, 6, 9]),
        ("amqp://localhost:1//", [9, 3, 0, 6]),
        (None, [9, 6, 3, 0]),
    ],
    ids=["redis", "rabbitmq", "unknown"],
)
def test_priorities_follow_the_broker_of_production(open_harness, broker, order):
    app = Celery("shop", broker=broker, set_as_current=False)

    @app.task(shared=False)
    def noop():
        pass

    harness = open_harness(app)
    results = {noop.apply_async(priority=priority).id: priority for priority in (9, 3, 0, 6)}
    harness.drain()
    started = [event.id for event in harness.timeline if event.kind == "start"]
    assert [results[task_id] for task_id in started] == order


@memory_only
def test_priorities_count_on_a_rabbitmq_queue_that_declares_them(open_harness):
    app = Celery("shop", broker="amqp://localhost:1//", set_as_current=False)
    app.conf.task_queue_max_priority = 10

    @app.task(shared=False)
    def noop():
        pass

    harness = open_harness(app)
    results = {noop.apply_async(priority=priority).id: priority for priority in (3, 9, 0)}
    harness.drain()
    started = [event.id for event in harness.timeline if event.kind == "start"]
    assert [results[task_id] for task_id in started] == [9, 3, 0]


@memory_only
def test_requeued_message_goes_to_the_head_of_its_queue(open_harness, app, tasks):
    # On Redis it goes to the end: test_redis_visibility.py.
    app.conf.broker_url = "amqp://"
    harness = open_harness()
    from celery.exceptions import Reject

    @app.task(bind=True, acks_late=True)
    def picky(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)

    first, second = picky.delay(), tasks.noop.delay()
    harness.drain()
    started = [event.id for event in harness.timeline if event.kind == "start"]
    assert started == [first.id, first.id, second.id]


@memory_only
def test_a_worker_killed_inside_its_body_redelivers_a_late_task(open_harness, app):
    harness = open_harness(workers=2)
    log = []

    @app.task(bind=True, acks_late=True, name="shop.fatal")
    def fatal(self):
        redelivered = self.request.delivery_info["redelivered"]
        log.append(redelivered)
        if not redelivered:
            name = self.request.hostname.partition("@")[0]
            harness.worker(name).kill()
        return "done"

    result = fatal.delay()
    harness.settle()
    assert result.state == "SUCCESS"
    assert log == [False, True]


@memory_only
def test_prefetch_limit_holds_back_what_a_worker_cannot_hold(open_harness, tasks):
    harness = open_harness(config={"worker_prefetch_multiplier": 1, "worker_concurrency": 1})
    for _ in range(3):
        tasks.noop.delay()
    harness.settle()
    assert {run.state for run in harness.runs(tasks.noop)} == {"SUCCESS"}


@memory_only
def test_many_held_messages_do_not_stop_the_others(harness, tasks):
    # Celery raises its prefetch count with each message that it holds for later.
    for _ in range(100):
        tasks.noop.apply_async(countdown=3600)
    assert tasks.add.delay(1, 2).get(timeout=1) == 3
    assert passed(harness) == 0


@memory_only
def test_inspecting_the_workers_answers_at_once(harness, app):
    assert app.control.ping(timeout=1) or app.control.inspect(timeout=1).ping() is not None


def test_unknown_task_is_poison_and_names_the_nearest(harness, app):
    app.send_task("shop.noopp")
    harness.settle()
    poison = next(event for event in harness.timeline if event.kind == "poison")
    assert "did you mean 'shop.noop'" in poison.detail["note"]


@eager_only
def test_eager_mode_has_no_worker_to_hold(harness):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.worker()


@memory_only
def test_the_only_worker_is_ambiguous_where_there_are_two(open_harness, tasks):
    harness = open_harness(workers=2)
    with pytest.raises(ConfigurationError, match=r"\['a', 'b'\]"):
        harness.worker()


@memory_only
def test_tally_of_a_clean_run_is_empty(harness, tasks):
    tasks.add.delay(1, 2)
    harness.settle()
    tally = harness.tally
    assert (list(tally.lost), list(tally.duplicated), list(tally.unexpected), list(tally.unknown)) == ([], [], [], [])


@memory_only
@pytest.mark.filterwarnings("ignore::pytest_taskharness.errors.UnconsumedMessage")
def test_tally_does_not_count_what_still_waits_in_its_queue_as_lost(harness, tasks):
    harness.worker("mailer", queues=["mail"])
    tasks.noop.delay()
    harness.settle()
    assert list(harness.tally.lost) == []


@memory_only
def test_tally_counts_a_task_that_died_with_its_worker_after_an_early_ack_as_lost(harness, app):
    @app.task
    def fatal():
        harness.worker().kill()
        raise Ignore

    fatal.delay()
    harness.settle()
    assert list(harness.tally.unexpected) == []


@not_on_rabbitmq("transport")
def test_a_publish_that_raises_is_unknown(harness, app, tasks, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionResetError

    with app.connection_for_write() as connection:
        monkeypatch.setattr(type(connection.default_channel), "_put", refuse)
    with pytest.raises(OperationalError):
        tasks.noop.delay()
    assert [run.task for run in harness.tally.unknown] == ["shop.noop"]


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_the_queues_of_one_worker_do_not_limit_what_is_purged(harness, app, tasks):
    harness.worker("a", queues=["high"])
    tasks.noop.delay()

    assert app.control.purge() == 1
