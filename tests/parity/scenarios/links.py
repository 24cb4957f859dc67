"""Callbacks and errbacks."""

from __future__ import annotations

import time

from celery import chain, group
from celery.exceptions import Ignore
from parity_app import add, app, boom, echo, task
from parity_log import note
from parity_scenario import outcome, scenario


@task
def alert(request, exc, traceback, *more):
    note("errback", request.id, task=request.task, error=exc, more=more)


@task
def alert_with_more(more, request, exc, traceback):
    note("errback", request.id, task=request.task, error=exc, more=more)


@task
def old_alert(task_id):
    return app.AsyncResult(task_id).state


def children(result):
    return [outcome(child) for child in result.children or ()]


@scenario()
def a_link(harness):
    """link= runs with the result."""
    result = add.apply_async((1, 2), link=add.s(10))
    harness.settle()
    return outcome(result), children(result)


@scenario()
def two_links(harness):
    """Two links are published together, as a group."""
    result = add.apply_async((1, 2), link=[add.s(10), echo.s("second")])
    harness.settle()
    return outcome(result), children(result)


@scenario()
def an_immutable_link(harness):
    """An immutable link gets no result."""
    result = add.apply_async((1, 2), link=add.si(5, 5))
    harness.settle()
    return children(result)


@scenario()
def a_link_with_options(harness):
    """A link keeps its own options."""
    result = add.apply_async((1, 2), link=add.s(10).set(queue="slow", countdown=0.2))
    harness.settle()
    return children(result)


@scenario()
def a_link_of_a_link(harness):
    """Links have links."""
    result = add.apply_async((1, 2), link=add.s(10).set(link=add.s(100)))
    harness.settle()
    return outcome(result), [value for _, value in result.collect()]


@scenario()
def a_group_as_a_link(harness):
    """A group as a link: each member gets the result."""
    result = add.apply_async((1, 2), link=group(add.s(10), add.s(20)))
    harness.settle()
    return outcome(result), [value for _, value in result.collect()]


@scenario()
def a_chain_as_a_link(harness):
    """A chain as a link."""
    result = add.apply_async((1, 2), link=chain(add.s(10), add.s(20)))
    harness.settle()
    return outcome(result), [value for _, value in result.collect()]


@scenario()
def no_link_after_an_error(harness):
    """A link does not follow a failure."""
    result = boom.apply_async(link=add.si(1, 1))
    harness.settle()
    return outcome(result), children(result)


@scenario()
def no_link_after_ignore(harness):
    """Nor does it follow Ignore; nor does an errback."""
    result = ignore.apply_async(link=add.si(1, 1), link_error=alert.s())
    harness.settle()
    return outcome(result), children(result)


@task
def ignore():
    raise Ignore


@scenario()
def a_link_of_a_chain(harness):
    """The link of a chain follows its last task."""
    result = chain(add.s(1, 2), add.s(3)).apply_async(link=add.s(10))
    harness.settle()
    return outcome(result), children(result)


@scenario()
def a_link_of_a_group(harness):
    """A group takes no link: that would be a chord."""
    try:
        return group(add.s(1, 2), add.s(3, 4)).apply_async(link=echo.s())
    except TypeError as error:
        return str(error)


@scenario()
def an_errback(harness):
    """An errback with three arguments is called in the worker, without a message."""
    result = boom.apply_async(link_error=alert.s())
    harness.settle()
    return outcome(result), [run.inline for run in harness.runs()]


@scenario()
def an_errback_with_arguments_of_its_own(harness):
    """Arguments of the signature come first."""
    result = boom.apply_async(link_error=alert_with_more.s("mine"))
    harness.settle()
    return outcome(result)


@scenario()
def an_old_errback(harness):
    """An errback with one argument is a task of its own, which gets the id."""
    result = boom.apply_async(link_error=old_alert.s())
    harness.settle()
    return outcome(result), [outcome(app.AsyncResult(run.id)) for run in harness.runs(old_alert)]


@scenario()
def an_errback_that_nobody_knows(harness):
    """An errback that is not registered is published for somebody else."""
    result = boom.apply_async(link_error=app.signature("links.no_such_errback"))
    harness.settle()
    return outcome(result)


@scenario()
def two_errbacks(harness):
    """One of each kind."""
    result = boom.apply_async(link_error=[alert.s(), old_alert.s()])
    harness.settle()
    return outcome(result)


@scenario()
def an_errback_that_fails(harness):
    """An error in an errback is logged, and changes nothing."""
    result = boom.apply_async(link_error=[broken_alert.s(), alert.s()])
    harness.settle()
    return outcome(result)


@task
def broken_alert(request, exc, traceback):
    raise RuntimeError("the errback is broken")


@scenario()
def an_errback_after_retries(harness):
    """An errback is called once, when the retries are used up."""
    result = hopeless.apply_async(link_error=alert.s())
    harness.settle()
    return outcome(result)


@task(bind=True, max_retries=1)
def hopeless(self):
    raise self.retry(exc=ConnectionError("down"), countdown=0)


@scenario()
def an_errback_of_a_chain(harness):
    """The errback of a chain belongs to each of its links."""
    result = chain(add.s(1, 2), boom.s(), add.s(3)).apply_async(link_error=alert.s())
    harness.settle()
    return outcome(result)


@scenario()
def an_errback_of_a_group(harness):
    """The errback of a group belongs to each of its members."""
    result = group(boom.s(), add.s(1, 2), boom.s()).on_error(alert.s()).apply_async()
    harness.settle()
    return outcome(*result.results)


@scenario()
def an_errback_of_a_revoked_task(harness):
    """An expired task has no errback called."""
    result = add.apply_async((1, 2), expires=-1, link_error=alert.s())
    harness.settle()
    return outcome(result)


@scenario()
def an_errback_of_an_unknown_task(harness):
    """A task that nobody knows has its errbacks called."""
    result = app.send_task("links.no_such_task", link_error=alert.s())
    harness.settle()
    return outcome(result)


@scenario()
def an_errback_of_what_cannot_be_stored(harness):
    """A result that cannot be encoded calls the errback."""
    result = give_a_set.apply_async(link=add.si(1, 1), link_error=old_alert.s())
    harness.settle()
    return result.state, type(result.result).__name__


@task
def give_a_set():
    return {1}


@scenario()
def an_errback_after_a_hard_limit(harness):
    """A task that was killed has its errback called."""
    result = sleep.apply_async((5,), time_limit=0.5, link_error=alert.s())
    harness.settle()
    return outcome(result)


@task
def sleep(seconds):
    time.sleep(seconds)


@scenario(since=(5, 7))
def an_errback_after_the_pool_process_ended(harness):
    """So has a task whose pool process ended; an older Celery's worker ends with Billiard 4.3."""
    result = leave.apply_async(link_error=old_alert.s())
    harness.settle()
    return outcome(result)


@task
def leave():
    raise SystemExit(3)
