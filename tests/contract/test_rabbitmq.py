"""What RabbitMQ does, on a real one and in memory by its rules: each test runs on both."""

from __future__ import annotations

import pytest
from amqp.exceptions import PreconditionFailed
from broker_scenes import deliveries, started, waiting
from celery import Celery, group
from celery.exceptions import Reject, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu import Exchange, Queue
from kombu.common import Broadcast
from kombu.exceptions import OperationalError
from redis_scenes import happened
from scenario import both_clocks, by_the_rules_of_rabbitmq, passed

from pytest_taskharness.errors import Deadlock

pytestmark = pytest.mark.filterwarnings("ignore::pytest_taskharness.errors.UnconsumedMessage")
on_rabbitmq = pytest.mark.parametrize("mode", ["rabbitmq"], indirect=True)


@pytest.fixture(params=["memory", "rabbitmq"])
def mode(request, served):
    return served(request.param)


@pytest.fixture
def app():
    return Celery("shop", broker="amqp://nobody@nowhere.invalid//", set_as_current=False)


# -- deliveries


def test_a_lost_connection_is_noticed_at_once(open_harness, tasks):
    harness = open_harness()
    first, second = harness.worker("first"), harness.worker("second")
    second.pause()
    result = tasks.echo.apply_async(("hi",), countdown=60)
    harness.drain()
    first.kill()
    second.resume()
    harness.settle()
    run = harness.run_of(result)
    assert (deliveries(run), run.worker, passed(harness)) == ([False, True], "second", 60)


def test_what_was_held_comes_again_in_the_old_order(open_harness, tasks):
    harness = open_harness()
    worker = harness.worker("first")
    for number in range(5):
        tasks.echo.apply_async((number,), countdown=60)
    harness.drain()
    tasks.echo.delay(5)
    assert len(harness.broker.unacked) == 5
    worker.kill()
    assert waiting(harness) == [0, 1, 2, 3, 4, 5]


def test_after_an_outage_it_is_redelivered(open_harness, tasks):
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with harness.broker.outage():
        with pytest.raises(OperationalError):
            tasks.noop.apply_async(retry=False)
        harness.clock.advance(seconds=10)
    harness.settle()
    assert deliveries(harness.run_of(result)) == [False, True]
    assert passed(harness) == 60


def test_a_rejected_message_goes_to_the_head_of_its_queue(open_harness, app):
    seen = []

    @app.task(name="shop.unsure", acks_late=True, shared=False)
    def unsure(number):
        seen.append(number)
        if seen == [0]:
            raise Reject("again", requeue=True)

    harness = open_harness()
    for number in range(3):
        unsure.delay(number)
    harness.settle()
    assert seen == [0, 0, 1, 2]


# -- priorities


def test_priorities_count_where_a_queue_has_a_greatest_one(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery", max_priority=5), Queue("plain", routing_key="plain")]
    harness = open_harness()
    for queue in ("celery", "plain"):
        for priority in (0, 9, 3, 5):
            tasks.echo.apply_async((priority,), queue=queue, priority=priority)
    assert waiting(harness) == [9, 5, 3, 0]
    assert waiting(harness, "plain") == [0, 9, 3, 5]


def test_a_more_urgent_message_stays_before_another(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery", max_priority=9)]
    harness = open_harness()
    for number, priority in enumerate((0, 9, 0, 9)):
        tasks.echo.apply_async((number,), priority=priority)
    harness.broker.reorder(order=[harness.outbox[3], harness.outbox[1]])
    assert waiting(harness) == [3, 1, 0, 2]
    harness.settle()
    assert started(harness) == [3, 1, 0, 2]


# -- looking changes nothing


def test_what_was_only_looked_at_was_not_delivered(open_harness, tasks):
    harness = open_harness()
    result = tasks.echo.delay("hi")
    assert (harness.broker.depth("celery"), waiting(harness)) == (1, ["hi"])
    harness.broker.reorder()
    harness.settle()
    assert deliveries(harness.run_of(result)) == [False]


def test_and_what_was_delivered_before_still_was(open_harness, tasks):
    harness = open_harness()
    result = tasks.echo.apply_async(("hi",), countdown=60)
    harness.drain()
    harness.broker.redeliver(result)
    assert waiting(harness) == ["hi"]
    harness.settle()
    assert deliveries(harness.run_of(result)) == [False, True]


def test_a_queue_that_was_put_in_order_keeps_where_its_messages_came_from(open_harness, app):
    @app.task(name="shop.look", bind=True, shared=False)
    def look(self, number):
        return self.request.delivery_info["exchange"], self.request.delivery_info["routing_key"]

    app.conf.task_queues = [Queue("celery", Exchange("media", type="topic"), routing_key="media.#")]
    harness = open_harness()
    first, second = (look.apply_async((kind,), routing_key=f"media.{kind}") for kind in ("image", "video"))
    harness.broker.reorder(order=[second, first])
    harness.settle()
    assert (first.get(), second.get()) == (["media", "media.image"], ["media", "media.video"])


# -- what is lost


def test_what_no_queue_is_bound_for_is_lost(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", Exchange("tasks", type="direct"), routing_key="task")]
    harness = open_harness()
    nowhere = tasks.noop.apply_async(exchange="tasks", routing_key="misspelt")
    no_exchange = tasks.noop.apply_async(exchange="nothing", routing_key="task")
    harness.settle()
    assert harness.tally.lost == [harness.run_of(nowhere), harness.run_of(no_exchange)]
    assert "no queue is bound to exchange 'tasks' for routing key 'misspelt'" in str(harness.timeline)
    assert "there is no exchange 'nothing'" in str(harness.timeline)


def test_what_has_expired_leaves_its_queue_undelivered(open_harness, tasks):
    harness = open_harness()
    harness.worker().pause()
    late, soon = tasks.noop.apply_async(expires=30), tasks.noop.apply_async(expires=90)
    harness.clock.advance(seconds=60)
    harness.worker().resume()
    harness.settle()
    assert happened(harness.run_of(late), "deliver", "expire") == [("expire", 60)]
    assert harness.run_of(soon).state == "SUCCESS"


def test_a_queue_of_one_connection_goes_with_it(open_harness, app):
    harness = open_harness()
    with app.connection_for_write() as connection:
        queue = Queue("mine", exclusive=True, durable=False)(connection.default_channel)
        queue.declare()
        connection.Producer().publish("hi", routing_key="mine")
        assert queue.get(no_ack=True).payload == "hi"
    if harness.mode == "rabbitmq":
        assert "mine" not in harness._world.broker.queues


# -- broadcasts and remote control


def test_each_worker_has_a_copy_of_a_broadcast(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    app.conf.task_routes = {"shop.noop": {"queue": "everybody"}}
    harness = open_harness(workers=3)
    result = tasks.noop.delay()
    harness.settle()
    assert sorted(attempt.worker for attempt in harness.run_of(result).attempts) == ["a", "b", "c"]


def test_a_worker_that_comes_late_hears_later_broadcasts(open_harness, app, tasks):
    app.conf.task_queues = [Queue("celery", routing_key="celery"), Broadcast("everybody")]
    app.conf.task_routes = {"shop.noop": {"queue": "everybody"}}
    harness = open_harness()
    first = harness.worker("first")
    tasks.noop.delay()
    harness.worker("second")
    first.kill()
    late = tasks.noop.delay()
    harness.settle()
    assert harness.run_of(late).worker == "second"


# -- the consumer_timeout


@both_clocks
def test_the_consumer_timeout_passes_in_virtual_time(open_harness, tasks):
    harness = open_harness(consumer_timeout=600)
    result = tasks.noop.apply_async(countdown=900)
    harness.settle()
    run = harness.run_of(result)
    assert happened(run, "deliver", "restore", "start") == [
        ("deliver", 0), ("restore", 600), ("deliver", 600), ("start", 900),
    ]  # fmt: skip
    assert deliveries(run) == [False, True]


# -- only a real server


@on_rabbitmq
def test_an_app_that_asks_for_confirms_hears_of_what_is_refused(open_harness, app, tasks):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    app.conf.task_queues = [Queue("celery", routing_key="celery", queue_arguments=arguments)]
    harness = open_harness(config={"broker_transport_options": {"confirm_publish": True}})
    tasks.noop.delay()
    with pytest.raises(OperationalError) as raised:
        tasks.noop.apply_async(retry=False)
    assert type(raised.value.__cause__).__name__ == "MessageNacked"
    with pytest.raises(Exception, match="NOT_FOUND - no exchange 'nothing'"):
        tasks.noop.apply_async(exchange="nothing", routing_key="x", retry=False)
    assert harness.broker.depth("celery") == 1


@on_rabbitmq
def test_a_queue_declared_twice_with_other_arguments_is_refused(open_harness, app):
    open_harness()
    with app.connection_for_write() as connection:
        Queue("twice", max_priority=3)(connection.default_channel).declare()
        with pytest.raises(PreconditionFailed, match=r"inequivalent arg 'x-max-priority' for queue 'twice'"):
            Queue("twice", max_priority=4)(connection.default_channel).declare()


# -- rpc://


@pytest.fixture
def rpc(app, open_harness):
    app.conf.result_backend = "rpc://"
    return open_harness


@on_rabbitmq
def test_results_by_rpc(rpc, tasks):
    harness = rpc()
    assert type(tasks.add.app.backend).__mro__[1].__name__ == "RPCBackend"
    assert tasks.add.delay(1, 2).get() == 3
    assert group(tasks.add.s(number, 1) for number in range(3))().get() == [1, 2, 3]
    with pytest.raises(RuntimeError, match="boom"):
        tasks.boom.delay().get()
    later = tasks.add.apply_async((1, 2), countdown=60)
    with pytest.raises(CeleryTimeoutError, match="timed out after 10 virtual seconds"):
        later.get(timeout=10)
    assert (later.get(timeout=60), passed(harness)) == (3, 60)


@on_rabbitmq
def test_a_state_by_rpc(rpc, tasks):
    harness = rpc()
    result = tasks.add.delay(1, 2)
    assert result.state == "PENDING"
    harness.settle()
    assert (result.state, result.result) == ("SUCCESS", 3)


@on_rabbitmq
def test_a_loop_that_waits_for_a_result_by_rpc_is_driven(rpc, tasks):
    rpc()
    result = tasks.add.delay(1, 2)
    while not result.ready():
        pass
    assert result.get() == 3


@on_rabbitmq
def test_what_expired_is_told_by_rpc(rpc, tasks):
    harness = rpc()
    result = tasks.add.apply_async((1, 2), countdown=100, expires=50)
    harness.settle()
    assert harness.run_of(result).state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()


@on_rabbitmq
def test_a_result_by_rpc_that_nobody_will_send_is_a_deadlock(rpc, tasks):
    harness = rpc()
    harness.worker().pause()
    with pytest.raises(Deadlock, match="it is paused"):
        tasks.add.delay(1, 2).get()


# -- what a test takes for its own


@by_the_rules_of_rabbitmq
def test_a_simple_queue_of_the_tests_own(open_harness, app):
    open_harness()
    with app.connection_for_write() as connection, connection.SimpleQueue("aside") as queue:
        queue.put({"hello": "world"})
        assert queue.qsize() == 1
        message = queue.get(timeout=1)
        assert message.payload == {"hello": "world"}
        message.ack()
        with pytest.raises(queue.Empty):
            queue.get(block=False)
