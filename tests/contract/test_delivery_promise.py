"""At most once, at least once: computed from the windows, not declared."""

from __future__ import annotations

import pytest
from scenario import eager_only, memory_only

from pytest_taskharness.errors import ConfigurationError, FidelityError, NoVerdict

brokers = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)

EARLY = {}
LATE = {"acks_late": True}
SAFE = {"acks_late": True, "reject_on_worker_lost": True}


@pytest.fixture
def make(app):
    def make_(**options):
        @app.task(name="shop.charge", **options)
        def charge(amount):
            len(str(amount))
            return amount

        return charge

    return make_


def failure(harness, sig, promise):
    with pytest.raises(AssertionError) as caught:
        harness.assert_delivery(sig, promise)
    return str(caught.value)


def head(text):
    """Without the timeline."""
    return text.partition("    The timeline of")[0]


@brokers
def test_an_early_acknowledgement_is_at_most_once(harness, make):
    ran = harness.assert_delivery(make(**EARLY).s(1), "at_most_once")
    assert {"crash:node@received", "crash:child@started", "crash:node@after_ack"} <= set(ran)


@brokers
def test_a_late_acknowledgement_that_rejects_lost_ones_is_at_least_once(harness, make):
    assert "crash:child@before_ack" in harness.assert_delivery(make(**SAFE).s(1), "at_least_once")


@memory_only
def test_an_early_acknowledgement_is_not_at_least_once(harness, make):
    task = make(**EARLY)
    line = task.run.__code__.co_firstlineno + 2
    assert head(failure(harness, task.s(1), "at_least_once")) == NOT_AT_LEAST_ONCE.format(line=line, after=line + 1)


NOT_AT_LEAST_ONCE = """\
shop.charge(1) is not delivered at least once: after 7 of 13 crashes its body has not come to its end.
    crash:node@after_ack    the worker died when the message was acknowledged, and nobody delivered the message again
    crash:node@started    the worker died before the body began, and nobody delivered the message again
    crash:child@started    the pool process died before the body began, and nobody delivered the message again
    crash:node@in_body:{line}    the worker died before line {line}, and nobody delivered the message again
    crash:child@in_body:{line}    the pool process died before line {line}, and nobody delivered the message again
    crash:node@in_body:{after}    the worker died before line {after}, and nobody delivered the message again
    … and 1 more
    To fix this, set acks_late=True (task_acks_late): then the message is acknowledged after the body.
    And set reject_on_worker_lost=True (task_reject_on_worker_lost): else Celery acknowledges it when its process dies.
"""


@memory_only
def test_a_late_acknowledgement_alone_loses_what_a_pool_process_had(harness, make):
    text = head(failure(harness, make(**LATE).s(1), "at_least_once"))
    assert "crash:child@started" in text
    assert "crash:node" not in text
    assert "    To fix this, set reject_on_worker_lost=True" in text


@brokers
@pytest.mark.parametrize(
    "options, mend", [(LATE, "acks_late=False,"), (SAFE, "acks_late=False and reject_on_worker_lost=")]
)
def test_a_late_acknowledgement_is_not_at_most_once(harness, make, options, mend):
    text = failure(harness, make(**options).s(1), "at_most_once")
    assert "its body has begun more than once.\n" in text
    assert ", and the body began 2 times\n" in text
    assert f"    To fix this, set {mend}" in text
    assert "redelivered" in text


@memory_only
def test_a_task_that_is_retried_is_not_at_most_once(harness, app):
    @app.task(name="shop.retried", bind=True)
    def retried(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    text = failure(harness, retried.s(), "at_most_once")
    assert text.startswith(
        "shop.retried() is not delivered at most once: its body begins 2 times although nothing dies: it is retried.\n"
        "    The timeline of the clean run:\n"
    )
    with pytest.raises(AssertionError, match="at least once"):
        harness.assert_delivery(retried.s(), "at_least_once")


@memory_only
def test_a_task_that_fails_by_itself_is_no_verdict(harness, tasks):
    with pytest.raises(NoVerdict, match="fails by itself"):
        harness.assert_delivery(tasks.boom.s(), "at_least_once")


@memory_only
def test_a_task_that_ignores_its_message_is_no_verdict(harness, app):
    from celery.exceptions import Ignore

    @app.task(name="shop.ignored")
    def ignored():
        raise Ignore

    with pytest.raises(NoVerdict, match="does not come to its end in a clean run"):
        harness.assert_delivery(ignored.s(), "at_least_once")


@memory_only
def test_an_unknown_promise_is_refused(harness, tasks):
    with pytest.raises(ConfigurationError, match="given: 'exactly_once'"):
        harness.assert_delivery(tasks.noop.s(), "exactly_once")
    with pytest.raises(ConfigurationError, match="Did you mean 'at_most_once'"):
        harness.assert_delivery(tasks.noop.s(), "at_most_onec")


@eager_only
def test_eager_mode_has_no_worker_that_dies(harness, tasks):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.assert_delivery(tasks.noop.s(), "at_least_once")


@memory_only
def test_a_body_that_is_no_python_is_judged_by_its_end(harness, app):
    class Builtin(app.Task):
        name = "shop.builtin"
        acks_late = True
        reject_on_worker_lost = True
        run = staticmethod(sum)

    task = app.register_task(Builtin())
    assert harness.assert_delivery(task.s([1, 2]), "at_least_once")
    with pytest.raises(AssertionError, match="at most once"):
        harness.assert_delivery(task.s([1, 2]), "at_most_once")
