"""Retries: by hand, by autoretry, until there are no more."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry
from scenario import after, both_clocks, passed, starts

pytestmark = both_clocks


def test_self_retry_waits_its_countdown(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(countdown=10 * (self.request.retries + 1))
        return self.request.retries

    assert flaky.delay().get() == 2
    run = harness.run_of(flaky)
    assert run.retry_delays == [10, 20]
    assert starts(run) == [0, 10, 30]
    assert [attempt.outcome for attempt in run.attempts] == ["RETRY", "RETRY", "SUCCESS"]


def test_states_of_a_retried_task_are_its_full_history(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    flaky.delay().get()
    assert harness.run_of(flaky).states == [
        "PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS"
    ]  # fmt: skip


def test_self_retry_with_other_arguments_runs_with_them(harness, app):
    @app.task(bind=True)
    def count(self, number, *, step=1):
        if number < 3:
            raise self.retry(args=(number + step,), kwargs={"step": step}, countdown=1)
        return number

    assert count.delay(1).get() == 3
    run = harness.run_of(count)
    assert run.args == (3,)
    assert [message.args for message in run.messages] == [(1,), (2,), (3,)]


def test_self_retry_at_an_eta(harness, app):
    when = after(hours=2, microseconds=7)

    @app.task(bind=True)
    def later(self):
        if not self.request.retries:
            raise self.retry(eta=when)

    later.delay().get()
    assert harness.run_of(later).started_at == when


def test_default_retry_delay_is_three_minutes(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            self.retry()

    flaky.delay().get()
    assert harness.run_of(flaky).retry_delays == [180]
    assert passed(harness) == 180


def test_default_retry_delay_of_the_task_is_taken(harness, app):
    @app.task(bind=True, default_retry_delay=7)
    def flaky(self):
        if not self.request.retries:
            self.retry()

    flaky.delay().get()
    assert harness.run_of(flaky).retry_delays == [7]


def test_retry_without_throw_goes_on_with_the_body_and_the_first_success_is_final(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            self.retry(countdown=5, throw=False)
            return "first"
        return "second"

    result = flaky.delay()
    harness.settle()
    # celery.backends.base: "success" is never overwritten
    assert result.get() == "first"
    run = harness.run_of(flaky)
    assert run.result == "first"
    assert [attempt.outcome for attempt in run.attempts] == ["SUCCESS", "SUCCESS"]


def test_exhausted_retries_raise_the_original_error(harness, app):
    @app.task(bind=True, max_retries=2)
    def flaky(self):
        try:
            raise OSError("smtp is down")
        except OSError as error:
            raise self.retry(exc=error, countdown=1)

    with pytest.raises(OSError, match="smtp is down"):
        flaky.delay().get()
    run = harness.run_of(flaky)
    assert len(run.attempts) == 3
    assert run.states[-1] == "FAILURE"
    assert run.retry_delays == [1, 1]


def test_exhausted_retries_without_an_error_raise_max_retries_exceeded(harness, app):
    @app.task(bind=True, max_retries=1)
    def flaky(self):
        self.retry(countdown=1)

    result = flaky.delay()
    with pytest.raises(Exception, match="Can't retry") as caught:
        result.get()
    assert type(caught.value).__name__ == MaxRetriesExceededError.__name__
    assert len(harness.run_of(flaky).attempts) == 2


def test_max_retries_of_the_call_overrides_the_tasks(harness, app):
    @app.task(bind=True, max_retries=1)
    def flaky(self):
        raise self.retry(exc=OSError("down"), countdown=1, max_retries=4)

    with pytest.raises(OSError, match="down"):
        flaky.delay().get()
    assert len(harness.run_of(flaky).attempts) == 5


def test_max_retries_zero_never_retries(harness, app):
    @app.task(bind=True, max_retries=0)
    def flaky(self):
        raise self.retry(exc=OSError("down"), countdown=1)

    with pytest.raises(OSError, match="down"):
        flaky.delay().get()
    assert len(harness.run_of(flaky).attempts) == 1


def test_max_retries_none_goes_on(harness, app):
    @app.task(bind=True, max_retries=None)
    def flaky(self):
        if self.request.retries < 20:
            raise self.retry(countdown=1)
        return self.request.retries

    assert flaky.delay().get() == 20
    assert passed(harness) == 20


def test_autoretry_with_backoff_doubles(harness, app):
    @app.task(bind=True, autoretry_for=(ValueError,), retry_backoff=True, retry_jitter=False, max_retries=5)
    def flaky(self):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        flaky.delay().get()
    run = harness.run_of(flaky)
    assert run.retry_delays == [1, 2, 4, 8, 16]
    assert starts(run) == [0, 1, 3, 7, 15, 31]


def test_autoretry_backoff_is_bounded_by_its_maximum(harness, app):
    @app.task(
        autoretry_for=(ValueError,), retry_backoff=60, retry_backoff_max=200, retry_jitter=False, max_retries=4
    )  # fmt: skip
    def flaky():
        raise ValueError("no")

    flaky.delay().get(propagate=False)
    assert harness.run_of(flaky).retry_delays == [60, 120, 200, 200]


def test_autoretry_without_backoff_takes_retry_kwargs(harness, app):
    @app.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 2, "countdown": 9})
    def flaky():
        raise ValueError("no")

    flaky.delay().get(propagate=False)
    assert harness.run_of(flaky).retry_delays == [9, 9]


def test_autoretry_lets_other_errors_through(harness, app):
    @app.task(autoretry_for=(ValueError,))
    def flaky():
        raise KeyError("other")

    with pytest.raises(KeyError):
        flaky.delay().get()
    assert len(harness.run_of(flaky).attempts) == 1


def test_dont_autoretry_for_is_honoured(harness, app):
    @app.task(autoretry_for=(Exception,), dont_autoretry_for=(KeyError,))
    def flaky():
        raise KeyError("other")

    with pytest.raises(KeyError):
        flaky.delay().get()
    assert len(harness.run_of(flaky).attempts) == 1


def jittery(app):
    @app.task(
        name="shop.jittery",
        shared=False,
        autoretry_for=(ValueError,),
        retry_backoff=8,
        retry_jitter=True,
        max_retries=5,
    )
    def jittery():
        raise ValueError("no")

    return jittery


def test_jitter_stays_within_its_envelope(harness, app):
    jittery(app).delay().get(propagate=False)
    delays = harness.run_of("shop.jittery").retry_delays
    assert len(delays) == 5
    assert all(0 <= delay <= 8 * 2**number for number, delay in enumerate(delays))


def test_jitter_is_repeatable_under_one_seed_and_differs_under_another(app, open_harness):
    task = jittery(app)

    def delays(seed):
        random.seed()  # the test's own random numbers have no say
        with open_harness(seed=seed) as harness:
            task.delay().get(propagate=False)
            return harness.runs()[0].retry_delays

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)


def test_on_retry_sees_the_delay(harness, app):
    from celery.signals import task_retry

    seen = []

    def note(request, reason, einfo, **_):
        seen.append((reason.when, str(reason.exc)))

    task_retry.connect(note)
    try:

        @app.task(autoretry_for=(ValueError,), retry_backoff=60, retry_jitter=False, max_retries=2)
        def flaky():
            raise ValueError("no")

        flaky.delay().get(propagate=False)
    finally:
        task_retry.disconnect(note)
    assert seen == [(60, "no"), (120, "no")]


def test_raising_retry_without_publishing_stores_retry_only(harness, app):
    @app.task
    def odd():
        raise Retry("by hand", when=5)

    result = odd.delay()
    harness.settle()
    assert result.state == "RETRY"


def test_retried_task_keeps_its_options(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    flaky.apply_async(priority=3, headers={"tenant": "a"}, time_limit=100, soft_time_limit=50)
    harness.settle()
    first, second = harness.run_of(flaky).messages
    assert second.priority == first.priority == 3
    assert second.headers["timelimit"] == first.headers["timelimit"]
    assert second.headers["tenant"] == "a"


def test_a_retry_is_not_a_new_run(harness, app):
    @app.task(bind=True)
    def flaky(self):
        if not self.request.retries:
            raise self.retry(countdown=1)

    flaky.delay().get()
    assert len(harness.runs(flaky)) == 1
    assert harness.run_of(flaky).elapsed == timedelta(0)


def test_retry_of_a_task_that_is_called_directly_raises(harness, app):
    @app.task(bind=True)
    def flaky(self):
        raise self.retry(exc=OSError("down"))

    with pytest.raises(OSError, match="down"):
        flaky()
    assert harness.outbox == []
