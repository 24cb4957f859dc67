"""What can be done with a signature before it is called, and with results afterwards."""

from __future__ import annotations

import json

from celery import chain, chord, group
from celery.result import AsyncResult, GroupResult, result_from_tuple
from kombu.utils.json import dumps
from parity_app import add, app, boom, echo, task, total
from parity_scenario import outcome, scenario


def through_json(signature):
    """As it comes out of a database or another message."""
    return app.signature(json.loads(dumps(signature)))


@scenario()
def a_task_from_json(harness):
    """A signature that went through JSON is called like any other."""
    return through_json(add.s(1).set(queue="slow", priority=3)).delay(2).get(timeout=10)


@scenario()
def a_chain_from_json(harness):
    """So is a chain."""
    return through_json(chain(add.s(1, 2), add.s(3), add.si(5, 5))).delay().get(timeout=10)


@scenario()
def a_chord_from_json(harness):
    """So is a chord with a chain in its header."""
    call = chord([add.s(1, 1) | add.s(10), add.s(2, 2)], total.s())
    return through_json(call).delay().get(timeout=10)


@scenario()
def a_tree_from_json(harness):
    """So is what is three levels deep."""
    inner = chain(add.s(1), group(add.s(10), chain(add.s(20), add.s(30))))
    return through_json(chain(add.s(1, 1), inner, total.s())).delay().get(timeout=10)


@scenario()
def as_an_argument(harness):
    """A signature can be an argument."""
    return call_it.delay(chain(add.s(1, 2), add.s(3))).get(timeout=10)


@task
def call_it(sig):
    return app.signature(sig).delay().id != ""


@scenario()
def by_name(harness):
    """A signature of a task that is not imported here."""
    return app.signature("parity_app.add", args=(1,), kwargs={"y": 2}).delay().get(timeout=10)


@scenario()
def partial_arguments(harness):
    """What is called adds arguments in front, and keywords over those that are there."""
    call = echo.s("last", colour="red", size=1)
    results = call.delay("first", colour="blue"), call.clone(("more",), {"size": 2}).delay()
    return [result.get(timeout=10) for result in results]


@scenario()
def immutable(harness):
    """An immutable signature takes neither."""
    call = echo.si("only", colour="red")
    return call.delay("first", colour="blue").get(timeout=10), chain(add.s(1, 2), call).delay().get(timeout=10)


@scenario()
def made_immutable(harness):
    """set(immutable=True) makes one of any."""
    return chain(add.s(1, 2), add.s(10, 10).set(immutable=True)).delay().get(timeout=10)


@scenario()
def frozen(harness):
    """freeze() gives a result before anything is published."""
    call = add.s(1, 2)
    result = call.freeze()
    before = result.state
    call.delay()
    return before, result.get(timeout=10), call.id == result.id


@scenario()
def frozen_with_an_id(harness):
    """The id can be chosen."""
    call = add.s(1, 2)
    call.freeze("00000000-0000-4000-8000-000000000007")
    return call.delay().id, harness.settle().runs[0].id


@scenario()
def a_frozen_chain(harness):
    """A frozen chain keeps its ids when it is published."""
    call = chain(add.s(1, 2), add.s(3))
    last = call.freeze()
    return call.delay().id == last.id, last.get(timeout=10), last.parent.get(timeout=10)


@scenario()
def a_frozen_group(harness):
    """So does a frozen group."""
    call = group(add.s(1, 2), add.s(3, 4))
    result = call.freeze()
    published = call.delay()
    return published.id == result.id, published.results == result.results, result.get(timeout=10)


@scenario()
def options_of_a_chain(harness):
    """What a chain is set to belongs to its first link, what its link is set to stays."""
    flow = chain(add.s(1, 2), add.s(3).set(queue="slow"))
    result = flow.set(priority=5, queue="kept").delay()
    return result.get(timeout=10), [(message.queue, message.priority) for message in harness.outbox]


@scenario()
def options_of_a_group(harness):
    """What a group is set to belongs to each member."""
    result = group(add.s(1, 2), add.s(3, 4).set(queue="slow")).set(priority=5).apply_async(queue="kept")
    return result.get(timeout=10), [(message.queue, message.priority) for message in harness.outbox]


@scenario()
def a_group_that_is_skewed(harness):
    """skew() gives each member a countdown of its own."""
    result = group(add.s(number, 0) for number in range(4)).skew(start=0.2, stop=0.8, step=0.2).delay()
    return result.get(timeout=10)


@scenario()
def chunks_that_are_skewed(harness):
    """Chunks are a group of starmaps, which can be skewed."""
    chunked = add.chunks([(number, number) for number in range(5)], 2).group()
    result = chunked.skew(start=0.2, stop=0.8, step=0.2).delay()
    return result.get(timeout=10), len(result)


@scenario()
def chunks_with_a_queue(harness):
    """chunks() with apply_async options."""
    result = add.chunks([(1, 1), (2, 2), (3, 3)], 2).apply_async(queue="slow")
    return result.get(timeout=10), [message.queue for message in harness.outbox]


@scenario()
def a_map_in_a_chain(harness):
    """A map is a task like any other, which takes no result of the one before."""
    return chain(add.s(1, 2), total.map([[1, 2], [3]]), total.s()).delay().get(timeout=10)


@scenario()
def a_map_that_fails(harness):
    """An error in one call is the error of the map."""
    results = boom.map([1, 2]).delay(), add.starmap([(1, 2), (1, "x")]).delay()
    harness.settle()
    return outcome(*results)


@scenario()
def chunks_in_a_chord(harness):
    """Chunks as the header of a chord."""
    return chord(add.chunks([(1, 1), (2, 2), (3, 3)], 2).group(), echo.s()).delay().get(timeout=10)


# -- results


@scenario()
def ways_to_wait_for_a_group(harness):
    """get, join, join_native, iteration, iter_native."""
    result = group(add.s(number, number) for number in range(3)).delay()
    found = [result.get(timeout=10), result.join(timeout=10), result.join_native(timeout=10)]
    native = sorted(meta["result"] for _, meta in result.iter_native())
    return found, [each.get(timeout=10) for each in result], native, len(result), result[1].get(timeout=10)


@scenario()
def counting_a_group(harness):
    """What a group says of its members when they have ended."""
    result = group(add.s(1, 1), boom.s(), add.s(2, 2)).delay()
    harness.settle()
    return result.ready(), result.waiting(), result.completed_count(), result.successful(), result.failed()


@scenario()
def join_of_a_group_that_breaks(harness):
    """join() raises the error; with propagate=False it stands in its place."""
    result = group(add.s(1, 1), boom.s()).delay()
    found = result.join(propagate=False, timeout=10)
    try:
        result.join(timeout=10)
    except ValueError as error:
        return found, repr(error)


@scenario()
def a_callback_for_each(harness):
    """join() hands each result to a callback."""
    seen = []
    result = group(add.s(1, 1), add.s(2, 2)).delay()
    result.join(timeout=10, callback=lambda task_id, value: seen.append(value))
    return seen


@scenario()
def saved_restored_and_deleted(harness):
    """A saved group is there until it is deleted."""
    result = group(add.s(1, 1), add.s(2, 2)).delay()
    result.save()
    restored = app.GroupResult.restore(result.id)
    found = restored == result, restored.get(timeout=10)
    restored.delete()
    return found, app.GroupResult.restore(result.id)


@scenario()
def a_nested_group_restored(harness):
    """A group with a group inside can be restored too."""
    result = group(group(add.s(1, 1), add.s(2, 2)), add.s(3, 3) | group(add.s(1), add.s(2))).delay()
    result.save()
    harness.settle()
    return app.GroupResult.restore(result.id).get(timeout=10)


@scenario()
def revoke_of_a_group(harness):
    """revoke() of a group's result revokes each member."""
    result = group(add.s(1, 1), add.s(2, 2)).apply_async(countdown=0.6)
    harness.drain()
    result.revoke()
    harness.settle()
    return outcome(result)


@scenario()
def forgotten(harness):
    """A result that is forgotten is PENDING again; of a chain, all of them."""
    one, last = add.delay(1, 2), chain(add.s(1, 2), add.s(3)).delay()
    harness.settle()
    parent = last.parent.id
    one.forget()
    last.forget()
    return [app.AsyncResult(each).state for each in (one.id, last.id, parent)]


@scenario()
def a_forgotten_group(harness):
    """forget() of a group's result forgets each."""
    result = group(add.s(1, 1), add.s(2, 2)).delay()
    harness.settle()
    ids = [each.id for each in result]
    result.forget()
    return [app.AsyncResult(each).state for each in ids]


@scenario()
def collected(harness):
    """collect() goes from the first task to the last, through groups."""
    result = chain(add.s(1, 2), group(add.s(10), add.s(20))).delay()
    harness.settle()
    first = result.parent
    return [value for _, value in first.collect()], [type(each).__name__ for each in first.children]


@scenario()
def parents(harness):
    """parent leads from the last link to the first, through a chord."""
    result = (add.s(1, 1) | group(add.s(10), add.s(20)) | total.s() | add.s(100)).delay()
    harness.settle()
    found = []
    while result is not None:
        found.append(type(result).__name__)
        result = result.parent
    return found


@scenario()
def as_a_tuple(harness):
    """A result goes through JSON as a tuple, parents included."""
    result = (add.s(1, 1) | group(add.s(10), add.s(20)) | total.s()).delay()
    tree = json.loads(json.dumps(result.as_tuple()))
    again = result_from_tuple(tree, app=app)
    return again.get(timeout=10), type(again.parent).__name__, again.parent.get(timeout=10)


@scenario()
def as_a_list(harness):
    """as_list() and the ids of all parents."""
    result = chain(add.s(1, 1), add.s(2), add.s(3)).delay()
    harness.settle()
    return len(result.as_list()), result.as_list()[0] == result.id


@scenario()
def a_graph(harness):
    """build_graph() needs all to be done."""
    result = publish_two.delay()
    harness.settle()
    graph = result.build_graph()
    return len(list(graph.iteritems())), graph.edges() is not None


@task
def publish_two():
    add.delay(1, 1)
    add.delay(2, 2)


@scenario()
def then(harness):
    """then() calls when the result is there."""
    seen = []
    result = add.delay(1, 2)
    harness.settle()
    result.then(lambda found: seen.append(found.result))
    result.get(timeout=10)
    return seen


@scenario(result_extended=True)
def extended(harness):
    """result_extended keeps the name and the arguments of each link."""
    result = chain(add.s(1, 2), add.s(3)).delay()
    harness.settle()
    again = AsyncResult(result.id, app=app)
    return again.name, again.args, again.kwargs, again.queue


@scenario()
def a_group_result_by_hand(harness):
    """Results of calls that were no group can be joined as one."""
    results = [add.delay(1, 1), add.delay(2, 2)]
    return GroupResult("00000000-0000-4000-8000-000000000009", results, app=app).get(timeout=10)
