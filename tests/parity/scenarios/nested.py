"""Bodies that publish, wait, call and revoke."""

from __future__ import annotations

from celery import group
from celery.result import allow_join_result
from parity_app import add, app, boom, task
from parity_scenario import outcome, scenario


@scenario()
def a_child(harness):
    """What a body publishes is its child."""
    result = publish_one.delay()
    harness.settle()
    return outcome(result), [outcome(child) for child in result.children]


@task
def publish_one():
    add.delay(1, 2)


@scenario()
def children_of_children(harness):
    """collect() gives the whole tree."""
    result = descend.delay(3)
    harness.settle()
    return [value for _, value in result.collect()]


@task
def descend(depth):
    if depth:
        descend.delay(depth - 1)
    return depth


@scenario()
def children_without_a_trail(harness):
    """trail=False: the children run, and are not remembered."""
    result = publish_without_trail.delay()
    harness.settle()
    return outcome(result), result.children


@task(trail=False)
def publish_without_trail():
    add.delay(1, 2)


@scenario()
def several_children_in_order(harness):
    """Children run in the order in which they were published."""
    result = publish_many.delay(3)
    harness.settle()
    return outcome(result), [outcome(child) for child in result.children]


@task
def publish_many(count):
    for number in range(count):
        add.delay(number, number)


@scenario()
def a_child_by_name(harness):
    """send_task() in a body."""
    result = publish_by_name.delay()
    harness.settle()
    return outcome(result), [outcome(child) for child in result.children]


@task
def publish_by_name():
    app.send_task("parity_app.add", (1, 2))


@scenario()
def a_group_of_children(harness):
    """A group that a body publishes."""
    result = publish_a_group.delay()
    harness.settle()
    return outcome(result), [value for _, value in result.collect()]


@task
def publish_a_group():
    group(add.s(1, 1), add.s(2, 2)).delay()


@scenario()
def children_of_a_failure(harness):
    """What was published before the error runs all the same."""
    result = publish_and_fail.delay()
    harness.settle()
    return outcome(result), len(harness.runs(add))


@task
def publish_and_fail():
    add.delay(1, 2)
    raise ValueError("after publishing")


@scenario(worker_concurrency=2)
def waiting_for_a_child(harness):
    """A body may wait, where it says that it knows what it does."""
    return wait_for_child.delay().get(timeout=10)


@task
def wait_for_child():
    with allow_join_result():
        return add.delay(1, 2).get(timeout=10) * 10


@scenario()
def waiting_without_leave(harness):
    """result.get() in a body is refused."""
    result = wait_unasked.delay()
    harness.settle()
    return outcome(result)


@task
def wait_unasked():
    return add.delay(1, 2).get(timeout=10)


@scenario(worker_concurrency=2)
def a_child_that_fails(harness):
    """The error of a child that is waited for is raised in the body."""
    result = wait_for_boom.delay()
    harness.settle()
    return outcome(result)


@task
def wait_for_boom():
    with allow_join_result():
        return boom.delay().get(timeout=10)


@scenario()
def a_body_that_calls_another(harness):
    """A task that is called as a function is no task: no message, no result."""
    result = call_directly.delay()
    return result.get(timeout=10), len(harness.runs())


@task
def call_directly():
    return add(1, 2)


@scenario()
def a_body_that_applies_another(harness):
    """apply() in a body runs there."""
    return apply_inline.delay().get(timeout=10)


@task
def apply_inline():
    return add.apply((1, 2)).result


@scenario()
def a_body_that_revokes_another(harness):
    """What a body revokes does not run."""
    victim = add.apply_async((1, 2), countdown=0.6)
    harness.drain()
    revoke_it.delay(victim.id)
    harness.settle()
    return outcome(victim)


@task
def revoke_it(task_id):
    app.control.revoke(task_id)


@scenario()
def publishing_itself_again(harness):
    """A body that publishes itself with a countdown, until it has had enough."""
    result = tick.delay(3)
    harness.settle()
    return outcome(result), len(harness.runs(tick))


@task(bind=True)
def tick(self, left):
    if left:
        self.apply_async((left - 1,), countdown=0.2)


@scenario(task_always_eager=False)
def a_child_that_ignores_its_result(harness):
    """A child with ignore_result is a child."""
    result = publish_ignored.delay()
    harness.settle()
    return outcome(result), [child.state for child in result.children]


@task
def publish_ignored():
    add.apply_async((1, 2), ignore_result=True)
