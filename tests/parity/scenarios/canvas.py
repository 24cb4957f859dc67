"""Chains, groups, replacements."""

from __future__ import annotations

from celery import chain, group
from parity_app import add, app, boom, echo, task, total
from parity_scenario import outcome, scenario


def family(result):
    """The results of a chain, first link first."""
    results = []
    while result is not None:
        results.insert(0, result)
        result = result.parent
    return results


@scenario()
def a_chain(harness):
    """Each link gets the result before it."""
    result = chain(add.s(1, 2), add.s(3), add.s(4)).delay()
    return result.get(timeout=10), outcome(*family(result))


@scenario()
def an_immutable_link(harness):
    """An immutable link does not."""
    return (add.s(1, 2) | add.si(10, 10)).delay().get(timeout=10)


@scenario()
def a_chain_that_breaks(harness):
    """An error in the middle marks the links after it, which never run."""
    result = chain(add.s(1, 2), boom.s(), add.s(3), add.s(4)).delay()
    harness.settle()
    return outcome(*family(result))


@scenario()
def get_of_a_chain_that_breaks(harness):
    """get() of the last link raises the error of the middle one."""
    try:
        return chain(add.s(1, 2), boom.s(), add.s(3)).delay().get(timeout=10)
    except ValueError as error:
        return repr(error)


@scenario()
def a_chain_with_a_retry(harness):
    """A link that retries holds up the rest."""
    return chain(add.s(1, 0), flaky.s(), add.s(10)).delay().get(timeout=10)


@task(bind=True)
def flaky(self, value):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return value


@scenario()
def a_chain_with_countdowns(harness):
    """The countdown of a link counts from the end of the link before it."""
    result = chain(add.s(1, 2).set(countdown=0.2), add.s(3).set(countdown=0.2)).delay()
    return result.get(timeout=10), [harness.run_of(each).messages[0].countdown is not None for each in family(result)]


@scenario()
def a_chain_of_chains(harness):
    """Chains inside chains are one chain."""
    return chain(chain(add.s(1, 2), add.s(3)), chain(add.s(4), add.s(5))).delay().get(timeout=10)


@scenario()
def a_chain_in_which_a_link_ignores_its_result(harness):
    """A link with ignore_result still hands its result on."""
    result = chain(unseen.s(1), add.s(10)).delay()
    return result.get(timeout=10), result.parent.state


@task(ignore_result=True)
def unseen(value):
    return value


@scenario()
def a_chain_that_expires(harness):
    """A link that has expired is revoked, and nothing comes after it."""
    result = chain(add.s(1, 2), add.s(3).set(expires=-1), add.s(4)).delay()
    harness.settle()
    return outcome(*family(result))


@scenario()
def a_group(harness):
    """Results come in the order of the members."""
    result = group(add.s(number, number) for number in range(3)).delay()
    return result.get(timeout=10), result.successful(), result.completed_count()


@scenario()
def a_group_that_breaks(harness):
    """One error, and the others' results."""
    result = group(add.s(1, 1), boom.s(), add.s(2, 2)).delay()
    harness.settle()
    return outcome(*result.results), result.failed(), [repr(value) for value in result.join(propagate=False)]


@scenario()
def an_empty_group(harness):
    """Nothing to do is done at once."""
    return group([]).delay().get(timeout=10)


@scenario()
def a_group_of_groups(harness):
    """Groups in groups keep their shape."""
    result = group(group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)).delay()
    return result.get(timeout=10)


@scenario()
def a_group_of_chains(harness):
    """Chains in a group."""
    return group(add.s(1, 1) | add.s(10), add.s(2, 2) | add.s(20)).delay().get(timeout=10)


@scenario()
def a_saved_group(harness):
    """A group's result can be saved and restored."""
    result = group(add.s(1, 1), add.s(2, 2)).delay()
    result.save()
    return app.GroupResult.restore(result.id).get(timeout=10)


@scenario()
def a_group_that_ends_a_chain(harness):
    """A chain that ends in a group gives the group's result."""
    return (add.s(1, 1) | group(add.s(10), add.s(20))).delay().get(timeout=10)


@scenario()
def starmap_map_and_chunks(harness):
    """The built-in tasks that call a task many times in one body."""
    pairs = [(1, 1), (2, 2), (3, 3)]
    results = add.starmap(pairs).delay(), total.map([[1, 2], [3]]).delay(), add.chunks(pairs, 2).delay()
    return [result.get(timeout=10) for result in results]


@scenario()
def a_clone_with_options(harness):
    """Signatures are told apart by their options."""
    call = add.s(1)
    one, two = call.clone((2,)).set(queue="slow"), call.clone((3,)).set(countdown=0.2)
    return [one.delay().get(timeout=10), two.delay().get(timeout=10)]


@scenario()
def replaced_by_a_task(harness):
    """self.replace(): another task under the same id."""
    result = replaced.delay(add.s(1, 2))
    return result.get(timeout=10), harness.run_of(result).tasks


@task(bind=True)
def replaced(self, sig):
    self.step("before")
    raise self.replace(self.app.signature(sig))


@scenario()
def replaced_by_a_chain(harness):
    """The last link of the chain gives the result."""
    return replaced.delay(chain(add.s(1, 2), add.s(3))).get(timeout=10)


@scenario()
def replaced_by_a_group(harness):
    """A group becomes a chord that gathers its results."""
    return replaced.delay(group(add.s(1, 2), add.s(3, 4))).get(timeout=10)


@scenario()
def replaced_by_what_fails(harness):
    """The failure of the replacement is the failure of the task."""
    result = replaced.delay(boom.s())
    harness.settle()
    return outcome(result)


@scenario()
def replaced_twice(harness):
    """A replacement may be replaced."""
    return replaced.delay(replaced.s(add.s(1, 2))).get(timeout=10)


@scenario()
def replaced_in_a_chain(harness):
    """What comes after the replaced link waits for the replacement."""
    return chain(add.s(1, 1), replaced_with_value.s(), add.s(100)).delay().get(timeout=10)


@task(bind=True)
def replaced_with_value(self, value):
    raise self.replace(chain(add.s(value, 10), add.s(20)))


@scenario()
def a_chain_built_by_a_body(harness):
    """A body can publish a chain and return its result, which is a tree."""
    result = build_a_chain.delay(3)
    tree = result.get(timeout=10)
    harness.settle()
    return type(tree).__name__, harness.app.AsyncResult(tree[0][0]).get(timeout=10)


@task
def build_a_chain(links):
    return chain(add.s(0, 1), *(add.s(number) for number in range(links))).delay().as_tuple()


@scenario()
def echo_of_a_partial_with_keywords(harness):
    """Partial arguments come after the result, keywords are merged."""
    result = chain(add.s(1, 2), echo.s("more", colour="red")).apply_async()
    return result.get(timeout=10)
