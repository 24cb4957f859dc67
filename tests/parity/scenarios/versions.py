"""What Celery does differently from one release to the next; ``version_table.py`` says what, and since when."""

from __future__ import annotations

import warnings

from celery import chain, chord, group, signals
from celery.exceptions import CPendingDeprecationWarning, Reject
from parity_app import add, app, boom, task, total
from parity_log import note
from parity_scenario import outcome, scenario


def settled(harness, *results):
    """What results say once all is over; fresh ones, which do not ask their parents."""
    harness.settle()
    return outcome(*(app.AsyncResult(result.id) for result in results))


def or_error(call):
    """What a call returns, or the type of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


@task
def alert(*args):
    return list(args)


# -- results


@scenario(timezone="Asia/Tokyo")
def the_zone_of_date_done(harness):
    """When a result was stored, and in which zone that is told: hours from UTC."""
    result = add.delay(1, 2)
    harness.settle()
    offset = result.date_done.utcoffset()
    return None if offset is None else offset.total_seconds() / 3600


@task(bind=True, ignore_result=True)
def retry_unseen(self):
    if not self.request.retries:
        raise self.retry(countdown=0.2)
    return "seen"


@scenario()
def a_result_asked_for_after_a_retry(harness):
    """ignore_result=False at the call, and the task retries."""
    return settled(harness, retry_unseen.apply_async(ignore_result=False))


@scenario()
def a_result_that_exists(harness):
    """exists() tells whether anything is stored."""
    result = add.delay(1, 2)
    exists = getattr(result, "exists", lambda: "no such method")
    before = exists()
    harness.settle()
    return before, exists()


# -- control


@scenario()
def revoked_after_its_success(harness):
    """A revoke that comes too late changes nothing."""
    result = add.delay(1, 2)
    harness.settle()
    app.control.revoke(result.id, reply=True, limit=1)
    return settled(harness, result), harness.run_of(result).state


@scenario()
def revoked_before_its_eta(harness):
    """What the result says between the revoke and the eta."""
    result = add.apply_async((1, 2), countdown=0.6)
    harness.drain()
    app.control.revoke(result.id, reply=True, limit=1)
    return result.state, settled(harness, result)


@scenario()
def asked_about_what_is_held(harness):
    """query_task knows what is held for its eta."""
    result = add.apply_async((1, 2), countdown=0.6)
    harness.drain()
    (answer,) = app.control.broadcast("query_task", arguments={"ids": [result.id]}, reply=True, limit=1)
    (said,) = answer.values()
    return [state for state, _ in said.values()]


# -- calls


@task(soft_time_limit=20, time_limit=10)
def contradict():
    return "ran"


@scenario()
def a_soft_limit_above_the_hard_one(harness):
    """A call of a task whose soft limit is above its hard one."""
    return or_error(lambda: settled(harness, contradict.delay()))


@task(expires=60)
def expire():
    return "ran"


@scenario()
def sent_by_its_name(harness):
    """send_task() by the name of a task that has an expires of its own."""
    result = app.send_task(expire.name)
    harness.settle()
    return harness.run_of(result).messages[0].headers["expires"] is not None


@task(bind=True)
def call_inside(self):
    parent_id, root_id = look_up.apply().get(disable_sync_subtasks=False)
    return [parent_id == self.request.id, root_id == self.request.id]


@task(bind=True)
def look_up(self):
    return [self.request.parent_id, self.request.root_id]


@scenario()
def applied_inside_a_body(harness):
    """What a body calls with apply() knows its parent and its root."""
    return settled(harness, call_inside.delay())


@task(bind=True)
def tell_limits(self):
    return self.request.timelimit


@scenario(task_time_limit=30)
def limits_of_the_configuration(harness):
    """What a body knows of task_time_limit."""
    return settled(harness, tell_limits.delay())


@scenario()
def a_changed_clone(harness):
    """The keywords of a clone are its own."""
    first = add.s(1, y=2)
    first.clone().kwargs["y"] = 50
    return settled(harness, first.delay())


# -- retries


@task(bind=True)
def retry_by_position(self, x, y=0):
    if not self.request.retries:
        raise self.retry(args=(x + 1,), countdown=0.2)
    return [x, y]


@scenario()
def a_retry_by_position_of_a_keyword(harness):
    """retry(args=…) of a call that gave the same argument by keyword."""
    return settled(harness, retry_by_position.delay(x=1, y=5))


@task(bind=True)
def retry_by_keyword(self, x, y=0):
    if not self.request.retries:
        raise self.retry(kwargs={"x": x + 1}, countdown=0.2)
    return [x, y]


@scenario()
def a_retry_by_keyword_of_a_position(harness):
    """retry(kwargs=…) of a call that gave the same argument by position."""
    return settled(harness, retry_by_keyword.delay(1, 5))


# -- canvas


@scenario()
def a_chord_with_a_countdown(harness):
    """What of a chord a countdown delays."""
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).apply_async(countdown=0.4)
    harness.drain()
    return [run.state for run in harness.runs(add)], settled(harness, result)


@scenario()
def an_empty_group_in_a_chain(harness):
    """An empty group inside a chain."""
    return or_error(lambda: settled(harness, chain(add.s(1, 1), group(), add.s(10)).delay()))


@scenario()
def an_empty_group_first(harness):
    """An empty group at the head of a chain."""
    return or_error(lambda: settled(harness, chain(group(), add.s(1, 1)).delay()))


@scenario()
def an_empty_chain_in_a_group(harness):
    """An empty chain inside a group."""
    return or_error(lambda: settled(harness, *group(add.s(1, 1), chain()).delay().results))


@scenario()
def a_link_of_a_chord(harness):
    """apply_async(link=…) of a chord whose body has a link of its own."""
    body = total.s()
    body.link(alert.s("own"))
    if or_error(lambda: chord([add.s(1, 1), add.s(2, 2)], body).apply_async(link=alert.s("given"))) == "TypeError":
        return "TypeError"
    harness.settle()
    return sorted(run.args[-1] for run in harness.runs(alert))


@task(bind=True)
def replaced_by_a_chain(self):
    raise self.replace(chain(add.s(1, 1), add.s(10)))


@scenario()
def a_link_of_what_is_replaced(harness):
    """How often the link of a task runs that is replaced by a chain."""
    replaced_by_a_chain.apply_async(link=alert.s())
    harness.settle()
    return [run.args for run in harness.runs(alert)]


@task(bind=True)
def replaced_by_a_group_at_the_end(self):
    raise self.replace(chain(add.s(1, 1), group(add.s(10), add.s(20))))


@scenario()
def replaced_by_a_chain_that_ends_in_a_group(harness):
    """What a task returns that is replaced by a chain which ends in a group."""
    return settled(harness, replaced_by_a_group_at_the_end.delay())


@scenario()
def an_errback_of_a_chord_in_a_chord(harness):
    """How often an errback of a chord runs if a chord in its header fails."""
    outer = chord([chord([boom.s(1), add.s(1, 1)], total.s()), add.s(2, 2)], total.s())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CPendingDeprecationWarning)  # errbacks of chords will run for the header too
        outer.link_error(alert.s())
    outer.delay()
    harness.settle()
    return len(harness.runs(alert))


@task
def tell_cause(request, exc, traceback):
    note("errback", request.id, cause=repr(exc.__cause__))


@scenario()
def the_cause_of_a_chord_error(harness):
    """What an errback sees behind a ChordError."""
    body = total.s()
    body.link_error(tell_cause.s())
    return settled(harness, chord([boom.s(1), add.s(1, 1)])(body))


@task(bind=True)
def tell_group(self, parts):
    return self.request.group is not None


@scenario()
def the_group_of_a_chord_body(harness):
    """Whether the body of a chord knows the group that it waited for."""
    return settled(harness, chord([add.s(1, 1), add.s(2, 2)])(tell_group.s()))


@task(acks_late=True)
def reject_for_good():
    raise Reject("never", requeue=False)


@scenario()
def a_part_that_is_rejected(harness):
    """A part of a chord rejects its message for good."""
    return settled(harness, chord([reject_for_good.s(), add.s(1, 1)])(total.s()))


# -- signals and options


@task
def timed():
    return "timed"


@signals.task_success.connect(weak=False)
def _told_runtime(sender, **kwargs):
    if sender.name == timed.name:
        note("told", sender.request.id, runtime="runtime" in kwargs)


@scenario()
def the_runtime_of_a_success(harness):
    """Whether task_success tells how long the body took."""
    return settled(harness, timed.delay())
