"""``harness.broker``: messages that come twice, again, out of order, or not at all."""

from __future__ import annotations

import celery
import pytest
from broker_scenes import deliveries, faults, started, waiting, with_broker
from celery import chord, signature
from kombu import Exchange, Queue
from rabbit_scenes import not_on_rabbitmq

from pytest_taskharness.errors import AmbiguousRun, ConfigurationError, FidelityError, NoSuchMessage, NoSuchRun

pytestmark = with_broker


@pytest.fixture
def late(app):
    @app.task(name="shop.late", shared=False, acks_late=True)
    def late(x):
        return x

    return late


# -- duplicate


@pytest.mark.parametrize("named", ["result", "id", "run", "message", "task"])
def test_a_duplicate_runs_the_task_twice(harness, tasks, named):
    result = tasks.add.delay(1, 2)
    x = {
        "result": result, "id": result.id, "run": harness.run_of(result), "message": harness.outbox[0],
        "task": tasks.add,
    }[named]  # fmt: skip
    harness.broker.duplicate(x)
    harness.settle()
    run = harness.run_of(result)
    assert [attempt.outcome for attempt in run.attempts] == ["SUCCESS", "SUCCESS"]
    assert deliveries(run) == [False, False]
    assert run.states == ["PENDING", "RECEIVED", "STARTED", "SUCCESS", "RECEIVED", "STARTED", "SUCCESS"]
    assert harness.tally.duplicated == [run]
    assert faults(run) == ["duplicated: a second copy at the end of queue 'celery'"]


def test_a_duplicate_comes_at_the_end_of_the_queue(harness, tasks):
    first, _ = tasks.echo.delay(1), tasks.echo.delay(2)
    harness.broker.duplicate(first)
    assert waiting(harness) == [1, 2, 1]


def test_what_has_run_already_can_come_again(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    harness.broker.duplicate(result)
    assert harness.settle().counts == {"SUCCESS": 1}
    assert len(harness.run_of(result).attempts) == 2


def test_a_duplicate_may_be_duplicated(harness, tasks):
    result = tasks.add.delay(1, 2)
    for _ in range(3):
        harness.broker.duplicate(result)
    harness.settle()
    assert len(harness.run_of(result).attempts) == 4


def test_a_duplicate_is_the_same_message(harness, app):
    @app.task(name="shop.context", shared=False, bind=True)
    def context(self, x):
        seen.append((self.request.id, self.request.headers, self.request.args, self.request.priority_of_mine))

    seen = []
    result = context.apply_async((1,), headers={"priority_of_mine": 3})
    harness.broker.duplicate(result)
    harness.settle()
    assert seen == [(result.id, {"priority_of_mine": 3}, [1], 3)] * 2


def test_a_duplicate_of_a_task_that_was_retried_is_its_last_message(harness, app):
    @app.task(name="shop.flaky", shared=False, bind=True, default_retry_delay=60)
    def flaky(self):
        seen.append(self.request.retries)
        if not self.request.retries:
            raise self.retry()

    seen = []
    result = flaky.delay()
    harness.settle()
    harness.broker.duplicate(result)
    harness.broker.duplicate(harness.outbox[0])
    harness.settle()
    assert seen == [0, 1, 1, 0, 1]


def test_a_duplicate_of_a_message_that_is_held_for_its_eta(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    harness.broker.duplicate(result)
    harness.settle()
    assert [attempt.outcome for attempt in harness.run_of(result).attempts] == ["SUCCESS", "SUCCESS"]


def test_the_second_copy_of_a_late_task_is_skipped_where_celery_deduplicates(open_harness, app, late):
    harness = open_harness(config={"worker_deduplicate_successful_tasks": True})
    result = late.delay(1)
    harness.settle()
    harness.broker.redeliver(result)
    harness.settle()
    run = harness.run_of(result)
    assert [event.detail["outcome"] for event in run.timeline if event.kind == "finish"] == ["SUCCESS", "SKIPPED"]
    assert harness.tally.duplicated == []


def test_a_duplicated_expiry_is_still_an_expiry(harness, tasks):
    result = tasks.add.apply_async((1, 2), expires=60)
    harness.settle()
    harness.clock.advance(seconds=61)
    harness.broker.duplicate(result)
    harness.settle()
    assert len(harness.run_of(result).attempts) == 1


@not_on_rabbitmq("priorities")
def test_a_priority_of_a_duplicate_holds(harness, tasks):
    urgent = tasks.echo.apply_async((0,), priority=0)
    tasks.echo.apply_async((9,), priority=9)
    harness.broker.duplicate(urgent)
    harness.settle()
    assert started(harness) == [0, 0, 9]


def test_a_message_in_an_exchange_of_the_users(open_harness, app, tasks):
    app.conf.task_queues = [Queue("orders", Exchange("shop", type="topic"), routing_key="order.#")]
    harness = open_harness()
    result = tasks.add.apply_async((1, 2), exchange="shop", routing_key="order.new")
    harness.broker.duplicate(result)
    assert harness.broker.depth("orders") == 2
    harness.settle()
    harness.broker.redeliver(result)
    harness.settle()
    assert deliveries(harness.run_of(result)) == [False, False, True]


def test_a_duplicate_in_protocol_1(open_harness, app, tasks):
    harness = open_harness(config={"task_protocol": 1})
    result = tasks.add.delay(1, 2)
    harness.broker.duplicate(result)
    assert [(message.task, message.args) for message in harness.broker.peek("celery")] == [("shop.add", (1, 2))] * 2
    harness.settle()
    assert len(harness.run_of(result).attempts) == 2


def test_a_duplicate_of_nothing_lists_what_there_is(harness, tasks):
    tasks.add.delay(1, 2)
    with pytest.raises(NoSuchRun, match=r"no run of no-such-id; there is 1 run, nearest first"):
        harness.broker.duplicate("no-such-id")


def test_a_duplicate_of_one_of_several_runs(harness, tasks):
    tasks.add.delay(1, 2)
    tasks.add.delay(3, 4)
    with pytest.raises(AmbiguousRun, match=r"2 runs of shop\.add, which one is meant\?"):
        harness.broker.duplicate(tasks.add)


def test_what_was_performed_without_a_broker_cannot_be_duplicated(harness, tasks):
    run = harness.perform(tasks.add.s(1, 2))
    with pytest.raises(NoSuchMessage, match=r"performed without a broker"):
        harness.broker.duplicate(run)


@pytest.mark.parametrize("given", [1, "yes", (1, -1), (True,), 0.5])
def test_a_schedule_that_is_none(harness, tasks, given):
    result = tasks.add.delay(1, 2)
    with pytest.raises(ConfigurationError, match=r"concurrently= takes True, or numbers of lines"):
        harness.broker.duplicate(result, concurrently=given)
    assert harness.broker.depth("celery") == 1


def test_a_duplicate_cannot_run_at_once_with_what_has_ended(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    with pytest.raises(ConfigurationError, match=r"needs a first copy that has yet to run: .* the run is SUCCESS"):
        harness.broker.duplicate(result, concurrently=True)


def test_two_copies_at_once_lose_an_update(harness, app):
    @app.task(name="shop.count", shared=False)
    def count():
        seen = counter["value"]
        counter["value"] = seen + 1

    counter = {"value": 0}
    harness.broker.duplicate(count.delay(), concurrently=True)
    harness.settle()
    assert counter == {"value": 1}
    assert harness.tally.duplicated == [harness.run_of(count)]


@pytest.mark.parametrize("schedule, value", [((1,), 1), ((2,), 2), ((), 2), ([1, 1], 1)])
def test_two_copies_at_once_by_a_schedule(harness, app, schedule, value):
    @app.task(name="shop.count", shared=False)
    def count():
        seen = counter["value"]
        counter["value"] = seen + 1

    counter = {"value": 0}
    harness.broker.duplicate(count.delay(), concurrently=schedule)
    harness.settle()
    assert counter == {"value": value}


# -- redeliver


def test_what_was_acknowledged_comes_again_as_redelivered(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    harness.broker.redeliver(result)
    harness.settle()
    run = harness.run_of(result)
    assert deliveries(run) == [False, True]
    assert [attempt.redelivered for attempt in run.attempts] == [False, True]
    assert faults(run) == ["redelivered: the broker takes its delivery for lost"]


def test_what_is_not_acknowledged_goes_back_while_its_worker_holds_it(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    harness.broker.redeliver(result)
    assert harness.broker.depth("celery") == 1
    assert harness.broker.unacked == []
    harness.settle()
    run = harness.run_of(result)
    assert deliveries(run) == [False, True]
    assert [attempt.outcome for attempt in run.attempts] == ["SUCCESS", "SUCCESS"]


def test_a_redelivered_message_goes_to_the_head_of_its_queue(harness, tasks):
    first = tasks.echo.apply_async((1,), countdown=60)
    harness.drain()
    tasks.echo.delay(2)
    harness.broker.redeliver(first)
    assert waiting(harness) == [1, 2]


def test_the_acknowledgement_of_a_delivery_that_was_taken_for_lost_means_nothing(open_harness, late):
    harness = open_harness()
    result = late.apply_async((1,), countdown=60)
    harness.drain()
    with harness.broker.hold("celery"):
        harness.broker.redeliver(result)
        harness.clock.advance(seconds=60)
        assert harness.broker.depth("celery") == 1
    harness.settle()
    assert deliveries(harness.run_of(result)) == [False, True]
    assert harness.broker.unacked == []
    assert harness.broker.depth("celery") == 0


def test_a_worker_that_dies_does_not_bring_back_what_was_redelivered(open_harness, late):
    harness = open_harness()
    result = late.apply_async((1,), countdown=60)
    harness.drain()
    harness.broker.redeliver(result)
    harness.worker().kill()
    assert harness.broker.depth("celery") == 1


def test_what_was_never_delivered_cannot_be_redelivered(harness, tasks):
    result = tasks.add.delay(1, 2)
    with pytest.raises(NoSuchMessage, match=r"needs a delivery, and there was none: it waits in queue 'celery'\."):
        harness.broker.redeliver(result)


# -- drop


def test_a_dropped_message_is_lost(harness, tasks):
    result, other = tasks.add.delay(1, 2), tasks.add.delay(3, 4)
    harness.broker.drop(result)
    harness.settle()
    assert harness.run_of(result).attempts == []
    assert harness.run_of(other).state == "SUCCESS"
    assert harness.tally.lost == [harness.run_of(result)]
    assert faults(harness.run_of(result)) == ["dropped from queue 'celery'"]


def test_of_two_copies_one_is_dropped(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.duplicate(result)
    harness.broker.drop(result)
    assert harness.broker.depth("celery") == 1
    assert harness.tally.lost == []
    harness.broker.drop(result)
    assert harness.tally.lost == [harness.run_of(result)]


def test_a_dropped_message_can_be_sent_again(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.drop(result)
    harness.broker.duplicate(result)
    assert result.get() == 3
    assert harness.tally.lost == []


def test_who_waits_for_a_dropped_message_is_told(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.drop(result)
    with pytest.raises(Exception, match="PENDING, dropped from its queue"):
        result.get()


def test_what_a_worker_holds_cannot_be_dropped(harness, tasks):
    result = tasks.add.apply_async((1, 2), countdown=60)
    harness.drain()
    with pytest.raises(NoSuchMessage, match=r"waits in a queue: worker 'worker' holds it, not acknowledged\."):
        harness.broker.drop(result)


def test_what_is_done_cannot_be_dropped(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.settle()
    with pytest.raises(NoSuchMessage, match=r"worker 'worker' has taken it and acknowledged it; the run is SUCCESS\."):
        harness.broker.drop(result)


def test_what_is_dropped_cannot_be_dropped(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.drop(result)
    with pytest.raises(NoSuchMessage, match=r"waits in a queue: it was dropped\."):
        harness.broker.drop(result)


# -- reorder


def test_an_order_that_was_asked_for(harness, tasks):
    first, _, third = [tasks.echo.delay(number) for number in (1, 2, 3)]
    harness.broker.reorder(order=[third, first])
    assert waiting(harness) == [3, 1, 2]
    harness.settle()
    assert started(harness) == [3, 1, 2]
    assert faults(harness) == ["queue 'celery' is in another order"]


def test_an_order_of_copies(harness, tasks):
    first, second = [tasks.echo.delay(number) for number in (1, 2)]
    harness.broker.duplicate(first)
    harness.broker.reorder("celery", order=[first, first, second])
    assert waiting(harness) == [1, 1, 2]


def test_a_random_order_follows_from_the_seed(open_harness, tasks):
    orders = []
    for seed in (1, 1, 2):
        harness = open_harness(seed=seed)
        for number in range(10):
            tasks.echo.delay(number)
        harness.broker.reorder()
        orders.append(waiting(harness))
        harness.close()
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(10))


def test_only_one_queue_is_reordered(harness, tasks):
    for number in range(10):
        tasks.echo.apply_async((number,), queue="mail")
        tasks.echo.delay(number)
    harness.broker.reorder("mail")
    assert waiting(harness, "mail") != list(range(10))
    assert waiting(harness) == list(range(10))


@not_on_rabbitmq("priorities")
def test_priorities_stay(harness, tasks):
    urgent = [tasks.echo.apply_async((number,), priority=0) for number in range(3)]
    other = tasks.echo.apply_async((9,), priority=9)
    harness.broker.reorder()
    assert waiting(harness)[3:] == [9]
    with pytest.raises(ConfigurationError, match=r"cannot put a less urgent message of queue 'celery' before a more"):
        harness.broker.reorder(order=[other, urgent[0]])


def test_what_does_not_wait_cannot_be_put_first(harness, tasks):
    done = tasks.echo.delay(1)
    harness.settle()
    tasks.echo.delay(2)
    with pytest.raises(NoSuchMessage, match=r"does not wait in queue 'celery': worker 'worker' has taken it"):
        harness.broker.reorder("celery", order=[done])


def test_nothing_can_be_reordered_where_nothing_waits(harness, tasks):
    harness.broker.reorder()
    harness.broker.reorder(order=[])
    assert faults(harness) == []
    done = tasks.echo.delay(1)
    harness.settle()
    with pytest.raises(NoSuchMessage, match=r"does not wait in queue 'celery': worker 'worker' has taken"):
        harness.broker.reorder(order=[done])


# -- looking


def test_peek_shows_what_waits_in_order(harness, tasks):
    tasks.add.apply_async((1,), {"y": 2}, headers={"tenant": 7})
    tasks.echo.apply_async(countdown=60)
    add, echo = harness.broker.peek("celery")
    assert (add.task, add.args, add.kwargs, add.queue) == ("shop.add", (1,), {"y": 2}, "celery")
    assert add.headers["tenant"] == 7
    assert (echo.task, echo.countdown) == ("shop.echo", 60)
    assert [add.id, echo.id] == [message.id for message in harness.outbox]
    assert add.call_site is not None
    assert harness.broker.depth("celery") == 2


def test_peek_takes_nothing(harness, tasks):
    result = tasks.add.delay(1, 2)
    harness.broker.peek("celery")
    assert result.get() == 3


def test_hidden_arguments_stay_hidden(harness, tasks):
    tasks.add.apply_async((1, 2), argsrepr="(…)")
    assert harness.broker.peek("celery")[0].argsrepr == "(…)"


def test_what_somebody_else_has_published(harness, app, tasks):
    with app.connection_for_write() as connection:
        headers = {"task": "shop.add", "id": "abc"}
        connection.SimpleQueue("celery").put([[1], {"y": 2}, {}], headers=headers)
    [message] = harness.broker.peek("celery")
    assert (message.task, message.id, message.args, message.kwargs) == ("shop.add", "abc", (1,), {"y": 2})


def test_what_is_no_task_counts_as_a_message(harness, app):
    with app.connection_for_write() as connection:
        connection.SimpleQueue("celery").put("hello")
    [message] = harness.broker.peek("celery")
    assert (message.task, message.args) == ("", ())


def test_unacked_shows_what_workers_hold(harness, tasks):
    first = tasks.echo.apply_async((1,), countdown=60)
    second = tasks.echo.apply_async((2,), countdown=30)
    assert harness.broker.unacked == []
    harness.drain()
    assert [message.id for message in harness.broker.unacked] == [first.id, second.id]
    assert [message.queue for message in harness.broker.unacked] == ["celery", "celery"]
    assert harness.broker.depth("celery") == 0
    harness.settle()
    assert harness.broker.unacked == []


@not_on_rabbitmq("lost")
def test_the_visibility_timeout(harness):
    assert harness.broker.visibility_timeout == 3600


def test_a_queue_that_the_app_knows_is_empty_before_it_is_declared(open_harness, app):
    app.conf.task_routes = {"shop.add": {"queue": "mail"}}
    app.conf.task_queues = [Queue("orders")]
    harness = open_harness()
    assert [harness.broker.depth(queue) for queue in ("orders", "mail")] == [0, 0]
    assert harness.broker.peek(Queue("orders")) == []


@pytest.mark.parametrize("verb", ["depth", "peek", "hold", "release", "reorder"])
def test_an_unknown_queue_and_the_nearest(harness, verb):
    with pytest.raises(ConfigurationError, match=r"no queue 'celry'\. Did you mean 'celery'\? Queues: 'celery'"):
        getattr(harness.broker, verb)("celry")


# -- chains, groups, chords


def test_a_duplicated_head_of_a_chain_runs_its_tail_twice_under_the_same_id(harness, tasks):
    result = (tasks.add.s(1, 2) | tasks.add.s(3)).apply_async()
    harness.broker.duplicate(result.parent)
    harness.settle()
    tail = harness.run_of(result)
    assert len(tail.messages) == 2
    assert [attempt.outcome for attempt in tail.attempts] == ["SUCCESS", "SUCCESS"]
    assert harness.tally.duplicated == [harness.run_of(result.parent), tail]


def test_a_chord_whose_part_is_delivered_twice_is_joined_once_with_everybody(harness, tasks):
    last = tasks.add.s(2, 1).set(countdown=60)
    result = chord([tasks.add.s(0, 1), tasks.add.s(1, 1), last])(tasks.total.s())
    harness.drain()
    harness.broker.duplicate(result.parent.results[0])
    harness.settle()
    assert result.get() == 6
    assert len(harness.run_of(result).attempts) == 1


def test_a_chord_whose_part_returns_something_else_the_second_time(harness, app, tasks):
    """Celery 5.7 takes the first result; before, both count, and the body runs before the last part is there."""

    @app.task(name="shop.count", shared=False)
    def count():
        counted.append(0)
        return len(counted)

    counted = []
    result = chord([count.s(), tasks.echo.s().set(countdown=60)])(tasks.echo.s())
    harness.drain()
    harness.broker.duplicate(result.parent.results[0])
    harness.settle()
    [[parts], _] = result.get()
    assert parts == ([1, [[], {}]] if celery.VERSION >= (5, 7) else [1, 2])


# -- where it cannot be


def test_eager_has_no_broker(open_harness, tasks):
    harness = open_harness(mode="eager")
    result = tasks.add.delay(1, 2)
    verbs = {
        "duplicate()": lambda broker: broker.duplicate(result),
        "redeliver()": lambda broker: broker.redeliver(result),
        "drop()": lambda broker: broker.drop(result),
        "reorder()": lambda broker: broker.reorder(),
        "hold()": lambda broker: broker.hold("celery"),
        "release()": lambda broker: broker.release("celery"),
        "outage()": lambda broker: broker.outage(),
        "depth()": lambda broker: broker.depth("celery"),
        "peek()": lambda broker: broker.peek("celery"),
        "unacked": lambda broker: broker.unacked,
        "visibility_timeout": lambda broker: broker.visibility_timeout,
    }
    for name, verb in verbs.items():
        with pytest.raises(FidelityError) as raised:
            verb(harness.broker)
        assert str(raised.value) == (
            f"broker.{name} needs a broker; eager mode has none: the body runs at the call. Run this test with "
            "mode='memory'."
        )


def test_a_signature_names_a_message_too(harness, tasks):
    tasks.add.delay(1, 2)
    tasks.add.delay(3, 4)
    harness.broker.duplicate(signature("shop.add", args=(3, 4), app=harness.app))
    assert waiting(harness) == [1, 3, 3]
