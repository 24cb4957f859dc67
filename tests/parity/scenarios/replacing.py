"""Tasks that put something else in their place, and parts that are added to a chord."""

from __future__ import annotations

from celery import chain, chord, group
from parity_app import add, app, boom, task, total
from parity_log import note
from parity_scenario import outcome, scenario


def settled(harness, result):
    """What a result says once all is over; a fresh one, which does not ask its parent."""
    harness.settle()
    return outcome(app.AsyncResult(result.id))


@task
def alert(request, exc, traceback):
    note("errback", request.id, task=request.task, error=exc)


@task
def hand_on(value):
    return value


@task(bind=True)
def replaced(self, sig):
    raise self.replace(self.app.signature(sig))


@task(bind=True)
def fan_out(self, value=0):
    # The sums are equal: Celery 5.3 has what takes the place of a member in any order.
    raise self.replace(group(add.s(value, 1), add.s(1, value)))


@task(bind=True)
def fan_out_and_in(self, value=0):
    raise self.replace(chord([add.s(value, 1), add.s(1, value)], total.s()))


@scenario()
def children_of_a_replacement(harness):
    """The children of a task that was replaced."""
    result = replaced.delay(chain(add.s(1, 2), add.s(3)))
    harness.settle()
    return outcome(result), [value for _, value in app.AsyncResult(result.id).collect()]


@scenario()
def replaced_by_a_chord(harness):
    """A chord in the place of a task."""
    return fan_out_and_in.delay(10).get(timeout=10)


@scenario()
def replaced_by_a_chord_in_a_header(harness):
    """In the header of a chord, the part is the chord's result."""
    return chord([fan_out_and_in.s(10), add.s(1, 1)], total.s()).delay().get(timeout=10)


@scenario()
def replaced_by_a_group_in_a_header(harness):
    """In the header of a chord, the part is the list of the group's results."""
    return chord([fan_out.s(10), add.s(1, 1)], hand_on.s()).delay().get(timeout=10)


@scenario()
def replaced_by_a_group_in_a_chain(harness):
    """What follows gets the list."""
    return chain(add.s(1, 1), fan_out.s(), hand_on.s()).delay().get(timeout=10)


@scenario()
def replaced_in_a_body(harness):
    """The body of a chord is replaced."""
    return chord([add.s(1, 1), add.s(2, 2)], replaced_body.s()).delay().get(timeout=10)


@task(bind=True)
def replaced_body(self, parts):
    raise self.replace(chain(total.s(parts), add.s(100)))


@scenario()
def replaced_in_a_group(harness):
    """A member of a group is replaced."""
    return group(fan_out_and_in.s(10), add.s(1, 1)).delay().get(timeout=10)


@scenario()
def replaced_with_links(harness):
    """Links of the task follow its replacement."""
    result = replaced.apply_async((chain(add.s(1, 2), add.s(3)),), link=add.s(100))
    harness.settle()
    return outcome(result), [run.result for run in harness.runs(add)]


@scenario()
def replaced_with_errbacks(harness):
    """So do its errbacks."""
    return settled(harness, replaced.apply_async((chain(add.s(1, 2), boom.s()),), link_error=alert.s()))


@scenario()
def replaced_after_a_retry(harness):
    """A task that retries before it is replaced."""
    return replaced_late.delay().get(timeout=10)


@task(bind=True)
def replaced_late(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    raise self.replace(add.s(1, 2))


@scenario()
def replaced_by_what_retries(harness):
    """A replacement that retries."""
    return replaced.delay(flaky.s(5)).get(timeout=10)


@task(bind=True)
def flaky(self, value):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return value


@scenario()
def replaced_by_nothing(harness):
    """An empty group in the place of a task."""
    return settled(harness, replaced_by_an_empty_group.delay())


@task(bind=True)
def replaced_by_an_empty_group(self):
    raise self.replace(group([]))


@scenario()
def replaced_by_a_return(harness):
    """return self.replace(...) does the same as raise."""
    return replaced_by_return.delay().get(timeout=10)


@task(bind=True)
def replaced_by_return(self):
    return self.replace(add.s(1, 2))


@scenario()
def replaced_by_a_chain_that_breaks(harness):
    """The task fails with what broke, and what follows never runs."""
    result = chain(add.s(1, 1), replaced_by_a_broken_chain.s(), add.s(100)).delay()
    harness.settle()
    return outcome(app.AsyncResult(result.parent.id), app.AsyncResult(result.id))


@task(bind=True)
def replaced_by_a_broken_chain(self, value):
    raise self.replace(chain(add.s(value, 1), boom.s(), add.s(3)))


@scenario()
def replaced_by_a_chord_that_breaks(harness):
    """The error of the header is the error of the task."""
    return settled(harness, replaced_by_a_broken_chord.delay())


@task(bind=True)
def replaced_by_a_broken_chord(self):
    raise self.replace(chord([add.s(1, 1), boom.s()], total.s()))


@scenario()
def a_chain_is_added(harness):
    """add_to_chord() with a chain."""
    return chord([add.s(1, 1), adding_a_chain.s()], total.s()).delay().get(timeout=10)


@task(bind=True)
def adding_a_chain(self):
    self.add_to_chord(chain(add.s(100, 100), add.s(1000)))
    return 1200  # the same value: the new part has the index of this one, and Redis orders such parts by their ids


@scenario()
def added_outside_of_a_chord(harness):
    """add_to_chord() of a task that is in none."""
    return settled(harness, adding_a_chain.delay())


@scenario()
def an_error_is_added(harness):
    """A part that was added fails."""
    return settled(harness, chord([add.s(1, 1), adding_boom.s()])(total.s()))


@task(bind=True)
def adding_boom(self):
    self.add_to_chord(boom.s())
    return 0
