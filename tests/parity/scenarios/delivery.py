"""Acknowledging, rejecting, redelivering, routing."""

from __future__ import annotations

import sys
import time

from celery import states
from celery.exceptions import Ignore, Reject
from kombu import Queue
from parity_app import add, app, boom, echo, task
from parity_scenario import in_order, nobody_consumes, outcome, scenario

#: An older Celery does not expect what Billiard 4.3 says of a process that ends: its whole worker ends.
BILLIARD_43 = (5, 7)


@task(bind=True)
def where(self):
    info = self.request.delivery_info
    return [info["routing_key"], info["priority"], bool(info["redelivered"])]


@scenario()
def early(harness):
    """By default a message is acknowledged before its body ends, whatever becomes of it."""
    fine, broken = where.delay(), boom.delay()
    harness.settle()
    return outcome(fine, broken), [harness.run_of(result).acked for result in (fine, broken)]


@scenario()
def late(harness):
    """With acks_late it is acknowledged after its result is stored."""
    result = late_add.delay(1, 2)
    return result.get(timeout=10)


@task(acks_late=True)
def late_add(x, y):
    return x + y


@scenario()
def late_and_failing(harness):
    """A late task that fails is acknowledged: it is not run again."""
    result = late_boom.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True)
def late_boom():
    raise ValueError("late")


@scenario()
def late_and_failing_without_ack(harness):
    """acks_on_failure_or_timeout=False: rejected, which is how a dead-letter queue gets it."""
    result = late_and_rejected.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True, acks_on_failure_or_timeout=False)
def late_and_rejected():
    raise ValueError("for the dead letters")


@scenario()
def rejected_and_requeued(harness):
    """Reject(requeue=True) of a late task: it comes again, marked as redelivered."""
    return send_back.delay().get(timeout=10)


@task(bind=True, acks_late=True)
def send_back(self):
    redelivered = bool(self.request.delivery_info["redelivered"])
    if not redelivered:
        raise Reject("not now", requeue=True)
    return redelivered


@scenario()
def rejected_and_requeued_after_its_ack(harness):
    """The same of an early task: its message was acknowledged already, and does not come again."""
    result = send_back_early.delay()
    harness.settle()
    return outcome(result)


@task(bind=True)
def send_back_early(self):
    if not self.request.delivery_info["redelivered"]:
        raise Reject("too late", requeue=True)
    return "again"


@scenario()
def rejected_for_good(harness):
    """Reject(requeue=False) of a late task."""
    result = refuse.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True)
def refuse():
    raise Reject("never", requeue=False)


@scenario()
def rejected_for_good_after_its_ack(harness):
    """Reject(requeue=False) of an early task."""
    result = refuse_early.delay()
    harness.settle()
    return outcome(result)


@task
def refuse_early():
    raise Reject("never", requeue=False)


@scenario()
def ignored(harness):
    """Ignore: acknowledged, and no state is stored."""
    result = ignore.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task
def ignore():
    raise Ignore


@scenario()
def ignored_late(harness):
    """Ignore of a late task."""
    result = ignore_late.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True)
def ignore_late():
    raise Ignore("with a reason")


@scenario(since=BILLIARD_43)
def the_pool_process_ends(harness):
    """SystemExit in a body ends the pool process: FAILURE with WorkerLostError."""
    result = leave.delay()
    harness.settle()
    return outcome(result)


@task
def leave():
    sys.exit(3)


@scenario(since=BILLIARD_43)
def the_pool_process_ends_late(harness):
    """A late task is not run again by default, either."""
    result = leave_late.delay()
    harness.settle()
    return outcome(result), harness.run_of(result).acked


@task(acks_late=True)
def leave_late():
    sys.exit(3)


@scenario(since=BILLIARD_43)
def the_pool_process_ends_and_it_is_run_again(harness):
    """reject_on_worker_lost: the message comes again, marked as redelivered."""
    result = leave_once.delay()
    return result.get(timeout=20), harness.run_of(result).redelivered


@task(bind=True, acks_late=True, reject_on_worker_lost=True)
def leave_once(self):
    if not self.request.delivery_info["redelivered"]:
        sys.exit(3)
    return "second life"


@scenario()
def killed_and_run_again(harness):
    """A late task with acks_on_failure_or_timeout=False comes again after its hard limit."""
    result = hang_once.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, acks_late=True, acks_on_failure_or_timeout=False, time_limit=0.5)
def hang_once(self):
    if not self.request.delivery_info["redelivered"]:
        time.sleep(5)
    return "in time"


@scenario()
def published_twice_under_one_id(harness):
    """Both messages run; the result of the first is what is kept."""
    first = tell.apply_async(("first",), task_id="00000000-0000-0000-0000-000000000003")
    harness.settle()
    second = tell.apply_async(("second",), task_id=first.id)
    harness.settle()
    return outcome(app.AsyncResult(second.id))


@task
def tell(text):
    return text


@scenario(worker_deduplicate_successful_tasks=True)
def redelivered_after_its_success(harness):
    """worker_deduplicate_successful_tasks: what is stored as SUCCESS is not run again."""
    result = succeed_and_send_back.delay()
    harness.settle()
    return outcome(result)


@task(bind=True, acks_late=True)
def succeed_and_send_back(self):
    app.backend.store_result(self.request.id, "stored", states.SUCCESS)
    raise Reject("the ack was lost", requeue=True)


@scenario()
def in_a_queue_of_the_call(harness):
    """queue= at the call."""
    return where.apply_async(queue="slow").get(timeout=10)


@scenario(task_routes={"delivery.*": {"queue": "slow"}})
def in_a_queue_of_the_routes(harness):
    """task_routes by pattern."""
    return where.delay().get(timeout=10), echo.delay().get(timeout=10)


@scenario(task_default_queue="kept", task_default_routing_key="kept")
def in_another_default_queue(harness):
    """task_default_queue."""
    return where.delay().get(timeout=10)


@scenario(task_queues=[Queue("celery", routing_key="celery"), Queue("odd", routing_key="odd.key")])
def by_routing_key(harness):
    """A routing key finds the queue that is bound to it."""
    return where.apply_async(routing_key="odd.key", exchange="celery").get(timeout=10)


@scenario()
def first_come_first_served(harness):
    """Messages of one priority keep their order."""
    with nobody_consumes("ordered"):
        for number in range(5):
            tell.apply_async((number,), queue="ordered")
    harness.settle()
    return in_order(harness)


@scenario()
def by_priority(harness):
    """Redis: 0 goes first, in steps of three; no priority is 0."""
    with nobody_consumes("urgent"):
        for priority in (9, 3, 5, 0, 6, None, 4):
            tell.apply_async((priority,), queue="urgent", priority=priority)
    harness.settle()
    return in_order(harness)


@scenario()
def the_priority_that_a_body_sees(harness):
    """priority= at the call is in delivery_info."""
    return where.apply_async(priority=6).get(timeout=10), where.delay().get(timeout=10)


@scenario(task_inherit_parent_priority=True)
def priority_of_the_family(harness):
    """task_inherit_parent_priority hands the priority on along a chain."""
    result = (add.si(1, 2).set(priority=6) | where.si()).delay()
    return result.get(timeout=10)


@scenario()
def content_that_is_not_accepted(harness):
    """A content type that accept_content does not name is refused, and the worker goes on."""
    refused = add.apply_async((1, 2), serializer="pickle")
    harness.settle()
    return outcome(refused), add.delay(1, 2).get(timeout=10)


@scenario(accept_content=["json", "pickle"])
def content_that_is_accepted(harness):
    """With pickle accepted, a tuple stays a tuple."""
    return what_kind.apply_async(((1, 2),), serializer="pickle").get(timeout=10)


@task
def what_kind(value):
    return type(value).__name__


@scenario(accept_content=["json", "yaml"])
def compressed(harness):
    """Compression is undone on the way."""
    return tell.apply_async(("x" * 1000,), compression="zlib").get(timeout=10) == "x" * 1000


@scenario()
def no_task_at_all(harness):
    """A message that is no task is thrown away, and the worker goes on."""
    publish_raw('{"hello": "world"}', content_type="application/json", content_encoding="utf-8")
    harness.settle()
    return add.delay(1, 2).get(timeout=10)


@scenario()
def a_body_that_cannot_be_decoded(harness):
    """A message whose body is broken is thrown away, and the worker goes on."""
    headers = {"task": add.name, "id": "00000000-0000-0000-0000-000000000004", "lang": "py"}
    publish_raw("{not json", content_type="application/json", content_encoding="utf-8", headers=headers)
    harness.settle()
    return add.delay(1, 2).get(timeout=10)


def publish_raw(body, **properties):
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(body, exchange="", routing_key="celery", **properties)
