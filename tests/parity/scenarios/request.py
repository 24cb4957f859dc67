"""What a body sees of its own call, in ``self.request``."""

from __future__ import annotations

from celery import chain, chord, current_app, group
from celery.canvas import StampingVisitor
from parity_app import app, task
from parity_scenario import scenario


@task(bind=True)
def look(self, *names, after=None):
    return {name: getattr(self.request, name) for name in names}


@task(bind=True)
def family(self, *before):
    request = self.request
    return [request.id, request.root_id, request.parent_id, request.group, request.group_index]


@scenario()
def plain(harness):
    """The fields of a plain call."""
    names = (
        "id", "task", "args", "kwargs", "retries", "is_eager", "called_directly", "eta", "expires", "timelimit",
        "root_id", "parent_id", "group", "group_index", "chain", "chord", "callbacks", "errbacks", "shadow", "lang",
        "argsrepr", "kwargsrepr", "correlation_id", "ignore_result", "stamps", "stamped_headers",
        "replaced_task_nesting", "headers", "logfile", "loglevel", "utc", "reply_to",
    )  # fmt: skip
    return look.delay(*names, after=1).get(timeout=10)


@scenario()
def how_it_was_delivered(harness):
    """delivery_info of a plain call."""
    return look.delay("delivery_info").get(timeout=10)


@scenario()
def the_properties_of_its_message(harness):
    """The properties of the message; the delivery tag is the broker's own affair."""
    return look_at_properties.delay().get(timeout=10)


@task(bind=True)
def look_at_properties(self):
    return {name: value for name, value in sorted(self.request.properties.items()) if name != "delivery_tag"}


@scenario()
def names_of_machines(harness):
    """origin and hostname have their shapes."""
    return look_at_names.delay().get(timeout=10)


@task(bind=True)
def look_at_names(self):
    return [self.request.origin.startswith("gen"), self.request.hostname.count("@")]


@scenario()
def everything_at_the_call(harness):
    """What a call can say about itself arrives."""
    names = ("id", "shadow", "argsrepr", "kwargsrepr", "timelimit", "headers", "tenant")
    return look.apply_async(
        names, task_id="00000000-0000-0000-0000-000000000005", shadow="shown", argsrepr="(hidden)",
        kwargsrepr="{hidden}", time_limit=20, soft_time_limit=10, headers={"tenant": "acme"},
    ).get(timeout=10)  # fmt: skip


@scenario()
def limits_of_the_task(harness):
    """The task's own limits are not in the message, and not in the request."""
    return look_limited.delay().get(timeout=10)


@task(bind=True, time_limit=20, soft_time_limit=10)
def look_limited(self):
    return self.request.timelimit


@scenario()
def a_chain(harness):
    """Root, parent and group of the links of a chain."""
    result = chain(family.s(), family.s(), family.s()).delay()
    return result.get(timeout=10), result.parent.get(timeout=10), result.parent.parent.get(timeout=10)


@scenario()
def a_group(harness):
    """Root, parent and group of the members of a group."""
    return group(family.s(), family.s()).delay().get(timeout=10)


@scenario()
def a_chord(harness):
    """Root, parent and group of header and body of a chord."""
    result = chord([family.s(), family.s()])(with_results.s())
    return result.get(timeout=10)


@task(bind=True)
def with_results(self, results):
    request = self.request
    return [results, [request.id, request.root_id, request.parent_id, request.group, request.group_index]]


@scenario()
def the_rest_of_a_chain(harness):
    """A body can see which tasks come after it, and its callbacks."""
    call = chain(see_what_follows.s(), look.s(), look.s()).set(link=look.si())
    return call.apply_async(link_error=look.si()).parent.parent.get(timeout=10)


@task(bind=True)
def see_what_follows(self):
    request = self.request
    follows = {"chain": request.chain, "callbacks": request.callbacks, "errbacks": request.errbacks}
    return {name: [each["task"] for each in found or ()] for name, found in follows.items()}


class Stamp(StampingVisitor):
    """Puts the same stamp on everything."""

    def on_signature(self, sig, **headers):
        return {"tenant": "acme", "stamped_headers": ["tenant"]}


@scenario()
def stamped(harness):
    """A stamp reaches the body."""
    call = look.s("stamps", "stamped_headers")
    call.stamp(Stamp())
    return call.delay().get(timeout=10)


@scenario()
def a_stamped_chain(harness):
    """A stamp reaches each link."""
    call = chain(look.si("stamps"), look.si("stamps"))
    call.stamp(Stamp())
    result = call.delay()
    return result.get(timeout=10), result.parent.get(timeout=10)


@scenario()
def called_as_a_function(harness):
    """A task that is called as a function has no request of its own."""
    return look("id", "called_directly", "retries")


@scenario(task_protocol=1)
def in_the_old_protocol(harness):
    """Message protocol 1 is understood."""
    return look.apply_async(("retries", "args", "group")).get(timeout=10)


@scenario()
def the_app_that_runs_it(harness):
    """current_app and self.app are the worker's app."""
    return which_app.delay().get(timeout=10)


@task(bind=True)
def which_app(self):
    return [current_app.main, self.app.main, current_app.tasks is self.app.tasks, app.main]
