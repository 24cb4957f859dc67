"""Chords and their errors."""

from __future__ import annotations

from celery import chain, chord, group
from celery.exceptions import Ignore
from parity_app import add, app, boom, echo, task, total
from parity_log import note
from parity_scenario import outcome, scenario


def settled(harness, result):
    """What a chord's body says once all is over; a fresh result, which does not ask its parent."""
    harness.settle()
    return outcome(app.AsyncResult(result.id))


@task
def alert(request, exc, traceback):
    note("errback", request.id, error=exc, traceback=bool(traceback))


@task
def old_alert(task_id):
    return f"alerted of {task_id}"


@scenario()
def a_chord(harness):
    """The body gets the results of the header."""
    return chord([add.s(number, number) for number in range(4)])(total.s()).get(timeout=10)


@scenario()
def the_order_of_the_header(harness):
    """Results come in the order of the header, not of the ends."""
    header = [add.s(number, 0).set(countdown=0.6 - number / 5) for number in range(3)]
    return chord(header)(echo.s()).get(timeout=10)


@scenario()
def by_the_pipe(harness):
    """A group piped into a task is a chord."""
    return (group(add.s(1, 1), add.s(2, 2)) | total.s()).delay().get(timeout=10)


@scenario()
def one_part(harness):
    """A header of one is a list of one."""
    return chord([add.s(1, 2)])(total.s()).get(timeout=10), (group([add.s(1, 2)]) | total.s()).delay().get(timeout=10)


@scenario()
def no_parts(harness):
    """An empty header gives an empty list."""
    return chord([])(total.s()).get(timeout=10)


@scenario()
def many_parts(harness):
    """Twenty parts, one body."""
    return chord([add.s(number, 0) for number in range(20)])(total.s()).get(timeout=10), len(harness.runs(total))


@scenario()
def an_immutable_body(harness):
    """An immutable body gets no results."""
    return chord([add.s(1, 1), add.s(2, 2)])(add.si(10, 10)).get(timeout=10)


@scenario()
def a_body_with_a_countdown(harness):
    """The countdown of the body counts from the end of the header."""
    return chord([add.s(1, 1), add.s(2, 2)])(total.s().set(countdown=0.2)).get(timeout=10)


@scenario()
def a_header_of_chains(harness):
    """A chain in the header counts as one part."""
    return chord([add.s(1, 1) | add.s(10), add.s(2, 2).set(countdown=0.2)])(echo.s()).get(timeout=10)


@scenario()
def a_header_with_a_retry(harness):
    """A part that retries holds up the body."""
    return chord([add.s(1, 1), flaky.s(5)])(total.s()).get(timeout=10)


@task(bind=True)
def flaky(self, value):
    if not self.request.retries:
        raise self.retry(countdown=0.2)
    return value


@scenario()
def a_header_that_ignores_its_results(harness):
    """Parts with ignore_result count, and hand their results on."""
    return chord([unseen.s(1), unseen.s(2)])(echo.s()).get(timeout=10)


@task(ignore_result=True)
def unseen(value):
    return value


@scenario()
def in_a_chain(harness):
    """A chord between two links."""
    flow = add.s(1, 1) | group(add.s(10), add.s(20)) | total.s() | add.s(100)
    return flow.delay().get(timeout=10)


@scenario()
def two_in_a_row(harness):
    """A group after a group: the first becomes a chord whose body is the second."""
    flow = group(add.s(1, 1), add.s(2, 2)) | group(total.s(), echo.s())
    return flow.delay().get(timeout=10)


@scenario()
def chords_in_a_chord(harness):
    """Chords in a header count as their bodies."""
    inner = [chord([add.s(number, 1), add.s(number, 2)], total.s()) for number in range(2)]
    return chord(inner)(total.s()).get(timeout=10)


@scenario()
def a_group_in_a_header(harness):
    """A group in a header is a list in the results."""
    return chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)])(echo.s()).get(timeout=10)


@scenario()
def in_a_group(harness):
    """Chords in a group."""
    chords = [chord([add.s(number, 1), add.s(number, 2)], total.s()) for number in range(2)]
    return group(chords).delay().get(timeout=10)


@scenario()
def a_body_that_fails(harness):
    """An error in the body is the error of the chord."""
    return settled(harness, chord([add.s(1, 1), add.s(2, 2)])(boom.s()))


@scenario()
def a_body_that_fails_with_errback(harness):
    """The errback of the body hears of the body's own error."""
    return settled(harness, chord([add.s(1, 1), add.s(2, 2)])(boom.s().on_error(alert.s())))


@scenario()
def a_header_that_fails(harness):
    """An error in the header is a ChordError of the body, which never runs."""
    return settled(harness, chord([add.s(1, 1), boom.s(), add.s(2, 2)])(total.s()))


@scenario()
def get_of_a_chord_whose_header_fails(harness):
    """get() raises what the part raised."""
    try:
        return chord([add.s(1, 1), boom.s()])(total.s()).get(timeout=10)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@scenario()
def a_header_that_fails_twice(harness):
    """The first error of the header is the one that is told."""
    return settled(harness, chord([boom.s(), add.s(1, 1), boom.s()])(total.s()))


@scenario()
def a_header_that_fails_with_errback(harness):
    """The errback of the body hears of the ChordError."""
    return settled(harness, chord([add.s(1, 1), boom.s()])(total.s().on_error(alert.s())))


@scenario()
def a_header_that_fails_with_an_old_errback(harness):
    """An errback that takes an id is published as a task."""
    return settled(harness, chord([add.s(1, 1), boom.s()])(total.s().on_error(old_alert.s())))


@scenario(task_allow_error_cb_on_chord_header=True)
def errbacks_on_the_header_too(harness):
    """task_allow_error_cb_on_chord_header: the parts have the errback as well."""
    call = chord([add.s(1, 1), boom.s()], total.s())
    call.link_error(alert.s())
    return settled(harness, call.delay())


@scenario()
def a_header_that_fails_in_a_chain(harness):
    """What comes after a chord that broke is marked as failed."""
    flow = add.s(1, 1) | group(boom.s(), add.s(20)) | total.s() | add.s(100)
    result = flow.delay()
    harness.settle()
    return outcome(app.AsyncResult(result.id), app.AsyncResult(result.parent.id))


@scenario()
def a_header_whose_chain_breaks(harness):
    """A chain in the header that breaks is a part that failed."""
    broken = chain(add.s(1, 1), boom.s(), add.s(3))
    return settled(harness, chord([broken, add.s(2, 2).set(countdown=0.2)])(total.s()))


@scenario()
def a_header_that_expires(harness):
    """A part that was revoked is a part that failed."""
    return settled(harness, chord([add.s(1, 1), add.s(2, 2).set(expires=-1)])(total.s()))


@scenario()
def a_part_that_is_ignored(harness):
    """A part that is ignored never returns: the body never runs."""
    return settled(harness, chord([add.s(1, 1), ignored_part.s()])(total.s()))


@task(bind=True)
def ignored_part(self):
    raise Ignore


@scenario()
def a_part_that_is_replaced(harness):
    """The replacement's result is the part's."""
    return chord([add.s(1, 1), replaced_part.s(5)])(echo.s()).get(timeout=10)


@task(bind=True)
def replaced_part(self, value):
    raise self.replace(chain(add.s(value, 10), add.s(100)))


@scenario()
def a_part_that_adds_another(harness):
    """add_to_chord() makes the header longer while it runs."""
    return chord([add.s(1, 1), adding.s()])(echo.s()).get(timeout=10)


@task(bind=True)
def adding(self):
    self.add_to_chord(add.s(100, 100))
    return 200  # the same value: the new part has the index of this one, and Redis orders such parts by their ids


@scenario()
def a_body_that_is_a_chain(harness):
    """A chain as the body: its first link gets the list."""
    return chord([add.s(1, 1), add.s(2, 2)])(total.s() | add.s(100)).get(timeout=10)


@scenario()
def a_body_that_is_a_group(harness):
    """A group as the body: each member gets the list."""
    return chord([add.s(1, 1), add.s(2, 2)], group(total.s(), echo.s())).delay().get(timeout=10)


@scenario(races=((5, 6, 2), (5, 7)))
def a_header_that_fails_before_a_group(harness):
    """Each member of a body that is a group fails."""
    result = chord([add.s(1, 1), boom.s()], group(total.s(), echo.s())).delay()
    harness.settle()
    return outcome(*result.results)


@scenario()
def published_by_a_body(harness):
    """A chord that a body publishes."""
    result = publish_a_chord.delay()
    inner = app.AsyncResult(result.get(timeout=10))
    return inner.get(timeout=10)


@task
def publish_a_chord():
    return chord([add.s(1, 1), add.s(2, 2)])(total.s()).id
