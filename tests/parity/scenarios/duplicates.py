"""Messages that come twice, again, in another order, or not at all: ``harness.broker``."""

from __future__ import annotations

from contextlib import contextmanager

from celery import chain, chord, group
from parity_app import add, app, boom, task, total
from parity_scenario import in_order, outcome, scenario


@contextmanager
def nobody_has_consumed(harness, queue):
    """A worker that has left a queue alone from its start: one that stops consuming it may give a message back."""
    harness.worker("another", queues=["celery"])
    yield
    app.control.add_consumer(queue, reply=True, limit=1)


@task(bind=True)
def again(self, x):
    return [x, bool(self.request.delivery_info["redelivered"])]


@task(bind=True, acks_late=True)
def late_again(self, x):
    return [x, bool(self.request.delivery_info["redelivered"])]


# A real worker receives ahead: a copy that comes while the first one runs is received sooner or later, so that most
# scenarios let the first one end.


@scenario()
def twice(harness):
    """A message that a producer has sent twice is two runs of the body, and neither is marked as redelivered."""
    result = again.delay(1)
    harness.settle()
    harness.broker.duplicate(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def twice_and_late(harness):
    """The same of a task that is acknowledged late."""
    result = late_again.delay(1)
    harness.settle()
    harness.broker.duplicate(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario(worker_prefetch_multiplier=1)
def twice_in_its_queue(harness):
    """Both copies wait, one behind the other."""
    with nobody_has_consumed(harness, "slow"):
        result = late_again.apply_async((1,), queue="slow")
        harness.broker.duplicate(result)
        depth = harness.broker.depth("slow")
    harness.settle()
    return depth, outcome(result), harness.run_of(result).state, len(harness.run_of(result).attempts)


@scenario()
def redelivered_after_its_end(harness):
    """A delivery whose acknowledgement was lost comes again, and says so."""
    result = again.delay(1)
    harness.settle()
    harness.broker.redeliver(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def redelivered_while_it_is_held(harness):
    """A message that waits in a worker for its eta is delivered a second time: both run."""
    result = add.apply_async((1, 2), countdown=1)
    harness.drain()
    harness.broker.redeliver(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario(worker_deduplicate_successful_tasks=True)
def deduplicated(harness):
    """worker_deduplicate_successful_tasks: a late task that has succeeded is not run again when it is redelivered."""
    result = late_again.delay(1)
    harness.settle()
    harness.broker.redeliver(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario(worker_deduplicate_successful_tasks=True)
def not_deduplicated(harness):
    """The same setting, and a producer that has sent twice: the copy says nothing of a redelivery, and runs."""
    result = late_again.delay(1)
    harness.settle()
    harness.broker.duplicate(result)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def a_failure_twice(harness):
    """Both copies fail, and both call the errback."""
    result = boom.apply_async((1,), link_error=told.s())
    harness.settle()
    harness.broker.duplicate(result)
    harness.settle()
    return outcome(result), len(harness.runs("duplicates.told"))


@task
def told(request, exc, traceback):
    return str(exc)


@scenario()
def a_link_twice(harness):
    """Both copies call the link."""
    result = add.apply_async((1, 2), link=add.s(3))
    harness.settle()
    harness.broker.duplicate(result)
    harness.settle()
    return outcome(result), sorted(run.result for run in harness.runs(add))


@scenario()
def the_head_of_a_chain(harness):
    """The tail runs twice, under the same id."""
    result = chain(add.s(1, 2), add.s(3)).apply_async()
    harness.settle()
    harness.broker.duplicate(result.parent)
    harness.settle()
    return outcome(result), len(harness.run_of(result).messages), len(harness.run_of(result).attempts)


@scenario()
def a_part_of_a_group(harness):
    """A group has as many results as parts, however often one runs."""
    result = group(add.s(number, 1) for number in range(3)).apply_async()
    harness.settle()
    harness.broker.duplicate(result.results[0])
    harness.settle()
    return outcome(result), result.get(timeout=10)


@scenario()
def a_part_of_a_chord(harness):
    """A chord whose part is delivered twice is joined once, with all parts."""
    last = add.s(2, 1).set(countdown=1)
    result = chord([add.s(0, 1), add.s(1, 1), last], total.s()).apply_async()
    harness.drain()
    harness.broker.duplicate(result.parent.results[0])
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def a_part_of_a_chord_that_returns_something_else(harness):
    """The same, where the second copy of the part returns another result than the first."""
    last = again.s(2).set(countdown=1)
    result = chord([again.s(0), again.s(1), last], total_of_firsts.s()).apply_async()
    harness.drain()
    harness.broker.redeliver(result.parent.results[0])
    harness.settle()
    return result.state, len(harness.run_of(result).attempts), harness.run_of(result).state


@task
def total_of_firsts(pairs):
    return [pair[0] for pair in pairs]


@scenario()
def the_last_part_of_a_chord(harness):
    """The second copy of a part comes when the chord is over: it is not joined again."""
    result = chord([add.s(number, 1) for number in range(3)], total.s()).apply_async()
    harness.settle()
    harness.broker.duplicate(result.parent.results[2])
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def a_retry(harness):
    """Each of two copies is retried: there are two retries under one id."""
    result = retried.delay()
    harness.settle()
    harness.broker.duplicate(harness.outbox[0])
    harness.settle()
    return outcome(result), len(harness.run_of(result).messages), len(harness.run_of(result).attempts)


@task(bind=True, max_retries=3)
def retried(self):
    if not self.request.retries:
        raise self.retry(countdown=1)
    return self.request.retries


@scenario()
def revoked(harness):
    """Who is revoked is revoked in each copy."""
    with nobody_has_consumed(harness, "slow"):
        result = again.apply_async((1,), queue="slow")
        harness.broker.duplicate(result)
        app.control.revoke(result.id, reply=True, limit=1)
    harness.settle()
    return outcome(result), len(harness.run_of(result).attempts)


@scenario()
def dropped(harness):
    """A message that the broker has lost: nobody runs it, and the account says so."""
    with nobody_has_consumed(harness, "slow"):
        lost, other = [again.apply_async((number,), queue="slow") for number in range(2)]
        harness.broker.drop(lost)
    harness.settle()
    return lost.state, outcome(other)


@scenario()
def reordered(harness):
    """What waits is delivered in the order in which it lies in its queue."""
    with nobody_has_consumed(harness, "slow"):
        results = [again.apply_async((number,), queue="slow") for number in range(4)]
        harness.broker.reorder(order=[results[2], results[0]])
        seen = [message.args[0] for message in harness.broker.peek("slow")]
    harness.settle()
    return seen, in_order(harness), harness.broker.depth("slow")
