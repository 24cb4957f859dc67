"""Remote control: what a worker answers, and what it does when it is told to."""

from __future__ import annotations

import time

from celery.canvas import StampingVisitor
from celery.worker.control import control_command
from parity_app import add, app, task
from parity_scenario import in_order, nobody_consumes, outcome, scenario


def asked(command, **arguments):
    """The answer of the one worker, whatever it is called."""
    (answer,) = app.control.broadcast(command, arguments=arguments, reply=True, limit=1)
    (said,) = answer.values()
    return said


@task
def note(number):
    return number


@scenario()
def ping(harness):
    """A worker answers."""
    return asked("ping")


@scenario()
def registered_tasks(harness):
    """The tasks that it knows."""
    return sorted(name for name in asked("registered") if name.startswith(("control.", "celery.ch")))


@scenario()
def queues(harness):
    """The queues that it consumes."""
    return sorted(queue["name"] for queue in asked("active_queues"))


@scenario()
def scheduled_tasks(harness):
    """What it holds until its eta."""
    note.apply_async((1,), countdown=0.6)
    harness.drain()
    (held,) = asked("scheduled")
    return held["request"]["name"], held["request"]["args"], held["priority"]


@scenario()
def revoked_tasks(harness):
    """The ids that it remembers."""
    task_id = "00000000-0000-0000-0000-000000000006"
    app.control.revoke(task_id)
    return task_id in asked("revoked")


@scenario()
def a_rate_limit_that_is_set(harness):
    """rate_limit at run time."""
    said = asked("rate_limit", task_name=note.name, rate_limit="10/s")
    results = [note.delay(number) for number in range(3)]
    harness.settle()
    asked("rate_limit", task_name=note.name, rate_limit="0")
    return said, outcome(*results), in_order(harness)


@scenario()
def a_rate_limit_of_an_unknown_task(harness):
    """An error is an answer."""
    return asked("rate_limit", task_name="control.no_such_task", rate_limit="1/s")


@scenario()
def a_queue_that_is_added(harness):
    """add_consumer: what waits there is run."""
    with nobody_consumes("added"):
        result = note.apply_async((1,), queue="added")
    harness.settle()
    return outcome(result)


@scenario()
def a_command_that_nobody_knows(harness):
    """A worker says that it does not know it."""
    return asked("no_such_command")


class Tenant(StampingVisitor):
    """Stamps with the name of a tenant."""

    def on_signature(self, sig, **headers):
        return {"tenant": "acme", "stamped_headers": ["tenant"]}


@scenario()
def revoked_by_stamp(harness):
    """revoke_by_stamped_headers takes all that carry the stamp."""
    stamped, plain = note.si(1), note.si(2)
    stamped.stamp(Tenant())
    results = [each.apply_async(countdown=0.6) for each in (stamped, plain)]
    harness.drain()
    app.control.revoke_by_stamped_headers({"tenant": ["acme"]})
    harness.settle()
    return outcome(*results)


@scenario()
def revoked_before_it_is_published(harness):
    """A worker remembers an id that it has never seen."""
    task_id = "00000000-0000-0000-0000-000000000007"
    app.control.revoke(task_id, reply=True, limit=1)
    result = add.apply_async((1, 2), task_id=task_id)
    harness.settle()
    return outcome(result)


@scenario()
def purged(harness):
    """purge() throws away what waits."""
    with nobody_consumes("full"):
        result = note.apply_async((1,), queue="full")
        with app.connection_for_write() as connection:
            count = connection.default_channel.queue_purge("full")
    harness.settle()
    return count, outcome(result)


@scenario()
def a_list_of_ids(harness):
    """revoke takes several."""
    results = [note.apply_async((number,), countdown=0.6) for number in range(3)]
    harness.drain()
    app.control.revoke([result.id for result in results[:2]], reply=True, limit=1)
    harness.settle()
    return outcome(*results)


@scenario()
def terminating_what_nobody_knows(harness):
    """An answer."""
    return asked("revoke", task_id="00000000-0000-0000-0000-000000000009", terminate=True)


@scenario()
def what_is_known_of_a_task(harness):
    """query_task knows where a task stands; before Celery 5.7, not of one that is held for its eta."""
    result = note.apply_async((1,), countdown=0.6)
    harness.drain()
    known = asked("query_task", ids=[result.id]).values()
    harness.settle()
    return [(state, told["name"], told["args"]) for state, told in known], asked("query_task", ids=[result.id])


@scenario()
def a_time_limit_that_is_set(harness):
    """time_limit at run time: a worker has looked at the limits when it started."""
    said = asked("time_limit", task_name=sleepy.name, soft=0.3)
    result = sleepy.delay()
    harness.settle()
    asked("time_limit", task_name=sleepy.name)
    return said, outcome(result)


@task
def sleepy():
    time.sleep(0.6)


@scenario()
def a_pool_that_grows_and_shrinks(harness):
    """pool_grow and pool_shrink, as far as they are answered."""
    sizes = [asked("stats")["prefetch_count"]]
    said = [asked("pool_grow", n=1)]
    sizes.append(asked("stats")["prefetch_count"])
    said.append(asked("pool_shrink", n=1))
    sizes.append(asked("stats")["prefetch_count"])
    return said, sizes


@scenario()
def what_is_not_enabled(harness):
    """pool_restart and autoscale say so."""
    return [asked("pool_restart"), asked("autoscale", max=4, min=2)]


@control_command(args=[("number", int)], name="double")
def double(state, number):
    """A command of the user's own."""
    return {"ok": 2 * number}


@scenario()
def a_command_of_ones_own(harness):
    """Workers know it by its decorator."""
    return asked("double", number=21)
