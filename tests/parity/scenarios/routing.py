"""Which queue a message goes to, and who takes it."""

from __future__ import annotations

from celery import chain, group
from celery.exceptions import Reject
from parity_app import add, app, boom, echo, task, total
from parity_scenario import in_order, nobody_consumes, outcome, scenario


@task(bind=True)
def moves_on(self):
    if not self.request.retries:
        raise self.retry(queue="slow", countdown=1)
    return self.request.delivery_info["routing_key"]


@task(bind=True)
def whereabouts(self):
    info = self.request.delivery_info
    return [info["exchange"], info["routing_key"], info["redelivered"]]


@task(bind=True, acks_late=True)
def once_more(self, name):
    if not self.request.delivery_info["redelivered"]:
        raise Reject("later", requeue=True)
    return name


@task
def passes_on(queue):
    whereabouts.apply_async(queue=queue)


def by_arguments(name, args, kwargs, options, task=None, **_):
    return {"queue": "slow"} if args else None


def queues(harness):
    return [message.queue for message in harness.outbox]


@scenario(task_routes={"routing.whereabouts": {"queue": "slow"}})
def a_route(harness):
    """A route says the queue, and the body sees it."""
    result = whereabouts.delay()
    harness.settle()
    return outcome(result), queues(harness)


@scenario(task_routes={"routing.where*": "slow", "parity_app.*": "kept"})
def a_glob(harness):
    """A pattern of names says the queue."""
    results = [whereabouts.delay(), add.delay(1, 2), total.delay([1])]
    harness.settle()
    return outcome(*results), queues(harness)


@scenario(task_routes={"routing.whereabouts": {"queue": "slow"}})
def a_call_that_knows_better(harness):
    """What a call says wins over a route."""
    result = whereabouts.apply_async(queue="kept")
    harness.settle()
    return outcome(result), queues(harness)


@scenario(task_routes="scenarios.routing.by_arguments")
def a_function(harness):
    """A function looks at the arguments."""
    results = [echo.delay(1), echo.delay()]
    harness.settle()
    return outcome(*results), queues(harness)


@scenario(task_default_queue="slow")
def another_default_queue(harness):
    """The default queue is the app's to name."""
    result = whereabouts.delay()
    harness.settle()
    return outcome(result), queues(harness)


@scenario()
def a_retry_in_another_queue(harness):
    """A retry may name a queue."""
    result = moves_on.delay()
    harness.settle()
    return outcome(result), queues(harness)


@scenario(task_routes={"parity_app.total": "slow"})
def the_parts_of_a_canvas(harness):
    """Each part goes to its own queue."""
    result = (group(add.s(1, 1), add.s(2, 2)) | total.s())()
    other = chain(add.s(1, 2).set(queue="slow"), add.s(3).set(queue="kept"))()
    harness.settle()
    return outcome(result, other), sorted(queues(harness))


@scenario()
def from_within_a_body(harness):
    """A body sends to a queue."""
    passes_on.delay("kept")
    harness.settle()
    return queues(harness)


@scenario()
def by_routing_key(harness):
    """Exchange and routing key in the place of a queue."""
    result = whereabouts.apply_async(exchange="celery", routing_key="celery")
    harness.settle()
    return outcome(result)


@scenario(task_create_missing_queues=False)
def a_queue_that_must_not_be_made(harness):
    """An unknown queue is the caller's error."""
    try:
        add.apply_async((1, 2), queue="unheard of")
    except Exception as error:
        return type(error).__name__, str(error), queues(harness)


@scenario()
def a_queue_that_nobody_consumes(harness):
    """What waits in a queue stays there until somebody comes."""
    with nobody_consumes("nobodys"):
        result = add.apply_async((1, 2), queue="nobodys")
        harness.settle()
        before = outcome(result), harness.broker.depth("nobodys")
    harness.settle()
    return before, outcome(result), harness.broker.depth("nobodys")


@scenario(task_queue_max_priority=10)
def the_urgent_first(harness):
    """Of what waits, the more urgent is taken first."""
    with nobody_consumes("ranked"):
        for priority in (9, 0, 6):
            echo.apply_async((priority,), priority=priority, queue="ranked")
    harness.settle()
    return in_order(harness)


@scenario(task_inherit_parent_priority=True, task_default_priority=3)
def priorities_that_are_inherited(harness):
    """A child is as urgent as its parent."""
    passes_on.apply_async(("celery",), priority=6)
    harness.settle()
    return [message.priority for message in harness.outbox]


@scenario()
def requeued_behind_the_others(harness):
    """On Redis what is rejected with requeue goes to the end."""
    with nobody_consumes("line"):
        for name in "abc":
            once_more.apply_async((name,), queue="line")
    harness.settle()
    return in_order(harness)


@scenario()
def an_errback_with_a_queue(harness):
    """An errback goes where it says."""
    boom.apply_async(link_error=echo.si("failed").set(queue="kept"))
    harness.settle()
    return sorted(queues(harness))


@scenario()
def consumed_on_demand(harness):
    """A queue that a worker is told to consume."""
    app.control.add_consumer("later", reply=True, limit=1)
    result = whereabouts.apply_async(queue="later")
    harness.settle()
    return outcome(result)
