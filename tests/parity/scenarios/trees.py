"""Canvases in canvases, their families and their errors."""

from __future__ import annotations

from celery import chain, chord, group
from celery.exceptions import Ignore
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
def old_alert(task_id):
    return f"alerted of {task_id}"


@task
def hand_on(value):
    return value


# -- shapes


@scenario()
def three_levels_of_groups(harness):
    """A group in a chain in a group in a chain."""
    inner = chain(add.s(1), group(add.s(10), add.s(20)), total.s())
    flow = chain(add.s(1, 1), group(inner, add.s(5)), total.s())
    return flow.delay().get(timeout=10)


@scenario()
def three_levels_of_chords(harness):
    """A chord in the header of a chord in the header of a chord."""
    call = chord([add.s(1, 1), add.s(2, 2)], total.s())
    for number in range(2):
        call = chord([call, add.s(number, 100)], total.s())
    return call.delay().get(timeout=10)


@scenario()
def a_chord_in_a_body(harness):
    """The body of a chord is a chain with a chord in it."""
    body = chain(total.s(), group(add.s(10), add.s(20)), total.s())
    return chord([add.s(1, 1), add.s(2, 2)], body).delay().get(timeout=10)


@scenario()
def a_chord_piped_into_a_task(harness):
    """What a chord is piped into follows its body."""
    flow = chord([add.s(1, 1), add.s(2, 2)], total.s()) | add.s(100) | hand_on.s()
    return flow.delay().get(timeout=10)


@scenario()
def a_chord_piped_into_a_group(harness):
    """Also a group."""
    flow = chord([add.s(1, 1), add.s(2, 2)], total.s()) | group(add.s(10), add.s(20))
    return flow.delay().get(timeout=10)


@scenario()
def a_chord_piped_into_a_chord(harness):
    """Also a chord."""
    flow = chord([add.s(1, 1), add.s(2, 2)], total.s()) | chord([add.s(10), add.s(20)], total.s())
    return flow.delay().get(timeout=10)


@scenario()
def a_group_piped_into_a_chain(harness):
    """A group before a chain is a chord with the chain as its body."""
    return (group(add.s(1, 1), add.s(2, 2)) | chain(total.s(), add.s(100))).delay().get(timeout=10)


@scenario()
def a_group_of_one_in_a_chain(harness):
    """A group of one in the middle of a chain is unrolled."""
    return chain(add.s(1, 1), group([add.s(10)]), hand_on.s()).delay().get(timeout=10)


@scenario()
def an_empty_group_in_a_header(harness):
    """A chord whose header is a group of nothing."""
    return chord(group([]), total.s()).delay().get(timeout=10)


@scenario()
def a_generator(harness):
    """A group takes a generator, in a chain too."""
    return chain(group(add.s(number, number) for number in range(3)), total.s()).delay().get(timeout=10)


@scenario()
def a_chain_of_one_group(harness):
    """A chain with nothing but a group in it."""
    return chain(group(add.s(1, 1), add.s(2, 2))).delay().get(timeout=10)


@scenario()
def a_long_chain(harness):
    """Thirty links."""
    return chain(add.s(0, 0), *(add.s(number) for number in range(29))).delay().get(timeout=10)


# -- children and parents


@scenario()
def children_of_a_chord(harness):
    """What the results of a chord know of each other."""
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    harness.settle()
    header = result.parent
    return type(header).__name__, [[value for _, value in part.collect()] for part in header.results]


@scenario()
def a_retry_in_a_family(harness):
    """What is published before a retry, and after it, has one parent."""
    result = publish_and_retry.delay()
    harness.settle()
    return outcome(result), len(harness.run_of(result).children)


@task(bind=True)
def publish_and_retry(self):
    add.delay(self.request.retries, 0)
    if not self.request.retries:
        raise self.retry(countdown=0)


# -- errors


@scenario()
def on_error_of_a_task(harness):
    """on_error() is link_error."""
    return settled(harness, boom.s().on_error(alert.s()).delay())


@scenario()
def on_error_of_a_chain(harness):
    """on_error() of a chain, in the middle of which something breaks."""
    return settled(harness, chain(add.s(1, 1), boom.s(), add.s(2)).on_error(alert.s()).delay())


@scenario()
def on_error_of_a_link(harness):
    """on_error() of a later link is of no use to an earlier one."""
    return settled(harness, chain(boom.s(), add.s(2).on_error(alert.s())).delay())


@scenario(task_allow_error_cb_on_chord_header=True)
def on_error_of_a_chord(harness):
    """on_error() of a chord."""
    return settled(harness, chord([boom.s(), add.s(1, 1)], total.s()).on_error(alert.s()).delay())


@scenario(task_allow_error_cb_on_chord_header=True)
def on_error_of_a_chord_whose_body_fails(harness):
    """on_error() of a chord hears of the body too."""
    return settled(harness, chord([add.s(2, 2), add.s(1, 1)], boom.s()).on_error(alert.s()).delay())


@scenario()
def on_error_of_a_part(harness):
    """A part of the header has an errback of its own."""
    return settled(harness, chord([boom.s().on_error(alert.s()), add.s(1, 1)])(total.s()))


@scenario()
def on_error_as_a_chain(harness):
    """An errback can be a chain: its first link gets the id."""
    result = boom.apply_async(link_error=chain(old_alert.s(), hand_on.s()))
    harness.settle()
    return outcome(result), [outcome(app.AsyncResult(run.id)) for run in harness.runs(hand_on)]


@scenario()
def a_link_of_a_chord(harness):
    """The link of a chord follows its body; before Celery 5.4 there can be none."""
    try:
        result = chord([add.s(1, 1), add.s(2, 2)], total.s()).apply_async(link=add.s(100))
    except TypeError as error:
        return str(error)
    harness.settle()
    return outcome(result), [run.result for run in harness.runs(add)]


@scenario()
def a_link_of_a_chain_that_ends_in_a_group(harness):
    """The link of a chain that ends in a group follows each member."""
    try:
        result = chain(add.s(1, 1), group(add.s(10), add.s(20))).apply_async(link=add.s(100))
    except TypeError as error:
        return str(error)
    harness.settle()
    return outcome(result), sorted(run.result for run in harness.runs(add))


@scenario()
def all_parts_fail(harness):
    """Five parts, all of which fail: one error."""
    return settled(harness, chord([boom.si(number) for number in range(5)])(total.s()))


@scenario()
def an_error_at_the_third_level(harness):
    """An error deep inside goes up through each body."""
    inner = chord([add.s(1, 1), boom.si()], total.s())
    middle = chord([inner, add.s(1, 1)], total.s())
    return settled(harness, chord([middle, add.s(2, 2)], total.s()).delay())


@scenario()
def an_error_in_a_group_in_a_chain(harness):
    """An error in a group that ends a chain."""
    result = chain(add.s(1, 1), group(boom.s(), add.s(20))).delay()
    harness.settle()
    return outcome(result), outcome(result.parent)


@scenario()
def a_revoked_part(harness):
    """A part that is revoked by hand fails the chord."""
    part = add.s(2, 2).set(countdown=0.6)
    result = chord([add.s(1, 1), part])(total.s())
    harness.drain()
    app.control.revoke(result.parent.results[1].id)
    return settled(harness, result)


@scenario()
def a_link_that_ignores(harness):
    """A link that raises Ignore ends the chain without a word."""
    result = chain(add.s(1, 1), ignore.s(), add.s(2)).delay()
    harness.settle()
    return outcome(app.AsyncResult(result.id), app.AsyncResult(result.parent.id))


@task
def ignore(value):
    raise Ignore


@scenario(task_ignore_result=True)
def a_chord_where_results_are_ignored(harness):
    """task_ignore_result: chords work all the same, only nobody can ask for their results."""
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    harness.settle()
    return result.state, [run.args for run in harness.runs(total)]


@scenario()
def a_body_that_ignores_its_result(harness):
    """The body of a chord with ignore_result."""
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s().set(ignore_result=True))
    harness.settle()
    return result.state, [run.args for run in harness.runs(total)]


@scenario()
def a_body_that_nobody_knows(harness):
    """A body that is not registered."""
    return settled(harness, chord([add.s(1, 1), add.s(2, 2)])(app.signature("trees.no_such_body")))


@scenario()
def a_part_that_nobody_knows(harness):
    """A part that is not registered fails the chord."""
    return settled(harness, chord([add.s(1, 1), app.signature("trees.no_such_part")])(total.s()))


@scenario()
def a_link_that_nobody_knows(harness):
    """A link that is not registered: what follows it is never called."""
    result = chain(add.s(1, 1), app.signature("trees.no_such_link"), add.s(2)).delay()
    harness.settle()
    return outcome(app.AsyncResult(result.id), app.AsyncResult(result.parent.id))


@scenario()
def a_part_without_a_result_that_can_be_stored(harness):
    """A part whose result cannot be encoded fails the chord."""
    harness_result = chord([add.s(1, 1), give_a_set.s()])(total.s())
    harness.settle()
    return app.AsyncResult(harness_result.id).state


@task
def give_a_set():
    return {1}
