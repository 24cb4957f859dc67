"""Stamped headers: visitors, stamps that are given by hand, and where they go."""

from __future__ import annotations

from uuid import uuid4

from celery import chain, chord, group
from celery.canvas import StampingVisitor
from parity_app import Told, add, app, boom, task, total
from parity_log import note
from parity_scenario import scenario


@task(bind=True)
def stamps(self, *before):
    """Its stamps; of the result before it, those too."""
    return [*(before[0] if before else []), _shown(self.request.stamps)]


@task
def gather(parts):
    return parts


@task
def alert(request, exc, traceback):
    note("errback", request.id, stamps=_shown(request.stamps))


def _shown(found):
    return {name: sorted(value) if isinstance(value, list) else value for name, value in sorted((found or {}).items())}


class Colour(StampingVisitor):
    """One stamp for everything, a second one for what stands in a chord's body."""

    def on_signature(self, sig, **headers):
        return {"colour": "red", "stamped_headers": ["colour"]}

    def on_chord_body(self, sig, **headers):
        return {"place": "body", "stamped_headers": ["place"]}


class Places(StampingVisitor):
    """Each way in which a visitor hears of a canvas."""

    def on_group_start(self, group, **headers):
        return {"in_group": "yes", "stamped_headers": ["in_group"]}

    def on_chain_start(self, chain, **headers):
        return {"in_chain": "yes", "stamped_headers": ["in_chain"]}

    def on_signature(self, sig, **headers):
        return {"task": sig.task, "stamped_headers": ["task"]}

    def on_callback(self, callback, **headers):
        return {"as_link": "yes", "stamped_headers": ["as_link"]}

    def on_errback(self, errback, **headers):
        return {"as_errback": "yes", "stamped_headers": ["as_errback"]}


class MonitoringId(StampingVisitor):
    """As in Celery's documentation."""

    def on_signature(self, sig, **headers):
        return {"monitoring_id": str(uuid4()), "stamped_headers": ["monitoring_id"]}


def stamped(signature, visitor=None, **options):
    """Stamp a signature in place, and give it back."""
    signature.stamp(visitor, **options)
    return signature


@scenario()
def by_hand(harness):
    """stamp() with a value of its own."""
    return stamped(stamps.s(), colour="red").delay().get(timeout=10)


@scenario()
def by_options(harness):
    """A stamp is an option whose name stands in stamped_headers."""
    return stamps.apply_async(stamped_headers=["colour"], colour="red", shade="dark").get(timeout=10)


@scenario()
def several_values(harness):
    """A stamp can have several values."""
    return stamped(stamps.s(), colour=["red", "blue"]).delay().get(timeout=10)


@scenario()
def a_chain(harness):
    """A visitor stamps each link of a chain."""
    return stamped(chain(stamps.s(), stamps.s(), stamps.s()), Colour()).delay().get(timeout=10)


@scenario()
def a_group(harness):
    """A visitor hears of each group, and its members have that stamp too."""
    return stamped(group(stamps.s(), stamps.s()), Places()).delay().get(timeout=10)


@scenario()
def a_group_of_groups(harness):
    """A visitor can remember where it is."""
    inner = [group(stamps.s(), stamps.s()), stamps.s()]
    return stamped(group(*inner), Depth()).delay().get(timeout=10)


class Depth(StampingVisitor):
    """How many groups are around a task."""

    def __init__(self):
        self.depth = 0

    def on_group_start(self, group, **headers):
        self.depth += 1
        return {}

    def on_group_end(self, group, **headers):
        self.depth -= 1

    def on_signature(self, sig, **headers):
        return {"depth": str(self.depth), "stamped_headers": ["depth"]}


@scenario()
def a_chord(harness):
    """The body of a chord has what on_chord_body says."""
    result = stamped(chord([stamps.s(), stamps.s()], collect_with_stamps.s()), Colour()).delay()
    return result.get(timeout=10)


@task(bind=True)
def collect_with_stamps(self, parts):
    return [parts, _shown(self.request.stamps)]


@scenario()
def a_group_in_a_chain(harness):
    """A visitor hears of chains and groups at any depth."""
    flow = chain(stamps.s(), group(stamps.s(), chain(stamps.s(), stamps.s())))
    return stamped(flow, Places()).delay().get(timeout=10)


@scenario()
def a_group_that_becomes_a_chord(harness):
    """A group in the middle of a chain."""
    return stamped(chain(group(stamps.s(), stamps.s()), gather.s()), Places()).delay().get(timeout=10)


@scenario()
def a_link(harness):
    """A link has the stamps that on_callback gives, and not those of its task."""
    sig = stamps.s().set(link=stamps.s())
    result = stamped(sig, Places()).delay()
    harness.settle()
    return result.get(timeout=10), [child.get(timeout=10) for child in result.children]


@scenario()
def an_errback(harness):
    """An errback that Celery calls in the worker sees the stamps of the task that failed."""
    stamped(boom.s().set(link_error=alert.s()), Places()).delay()
    harness.settle()


@scenario()
def an_errback_as_a_task(harness):
    """An errback that is published has the stamps that on_errback gives."""
    stamped(boom.s().set(link_error=old_alert.s()), Places()).delay()
    harness.settle()
    return [app.AsyncResult(run.id).get(timeout=10) for run in harness.runs(old_alert)]


@task(bind=True)
def old_alert(self, task_id):
    return _shown(self.request.stamps)


@scenario()
def stamped_twice(harness):
    """Of two stamps with one name, the last one counts."""
    sig = stamped(stamps.s(), colour="red")
    return stamped(sig, colour="blue").delay().get(timeout=10)


@scenario()
def appended(harness):
    """append_stamps=True keeps both."""
    sig = stamped(stamps.s(), colour="red")
    return stamped(sig, append_stamps=True, colour="blue").delay().get(timeout=10)


@scenario()
def a_visitor_that_appends(harness):
    """Two visitors, one after the other."""
    flow = stamped(chain(stamps.s(), stamps.s()), Colour())
    return stamped(flow, Blue(), append_stamps=True).delay().get(timeout=10)


class Blue(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"colour": "blue", "stamped_headers": ["colour"]}


@scenario()
def a_monitoring_id(harness):
    """Each task has an id of its own in a stamp."""
    result = stamped(group(stamps.s(), stamps.s()), MonitoringId()).delay()
    ids = [found[0]["monitoring_id"] for found in result.get(timeout=10)]
    return len(set(ids)), all(len(found) == 36 for found in ids)


@scenario()
def a_retry(harness):
    """A retry has the stamps of the first attempt."""
    return stamped(flaky.s(), colour="red").delay().get(timeout=10)


@task(bind=True)
def flaky(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return _shown(self.request.stamps)


@scenario()
def a_replacement(harness):
    """A task that is replaced hands its stamps on."""
    return stamped(replaced.s(), colour="red").delay().get(timeout=10)


@task(bind=True)
def replaced(self):
    raise self.replace(chain(stamps.s(), stamps.s()))


class StampingTask(Told):
    """As in Celery's documentation: what takes the place of a task is stamped by the task."""

    def on_replace(self, sig):
        sig.stamp(Blue())
        return super().on_replace(sig)


@scenario()
def on_replace(harness):
    """on_replace() can stamp what takes the place of a task."""
    return replaced_and_stamped.delay().get(timeout=10)


@task(bind=True, base=StampingTask)
def replaced_and_stamped(self):
    raise self.replace(stamps.s())


@scenario()
def a_child(harness):
    """What a body publishes does not inherit the stamps of its parent."""
    result = stamped(publish.s(), colour="red").delay()
    harness.settle()
    return [child.get(timeout=10) for child in result.children]


@task
def publish():
    stamps.delay()


@scenario()
def map_and_chunks(harness):
    """The built-in tasks are stamped like any other."""
    one, two = stamped(total.map([[1, 2], [3]]), colour="red"), stamped(add.chunks([(1, 1), (2, 2)], 1), colour="red")
    found = one.delay().get(timeout=10), two.group().delay().get(timeout=10)
    return found, [message.headers.get("stamps") for message in harness.outbox]


@scenario()
def in_the_message(harness):
    """The headers of a message tell its stamps."""
    stamped(chain(stamps.s(), stamps.s()), Colour()).delay()
    harness.settle()
    return [message.headers["stamps"] for message in harness.outbox]
