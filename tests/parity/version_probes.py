"""What differs between Celery's releases and cannot be a scenario: it has no worker, or needs a date, or loses one.

No ``from __future__ import annotations`` here: Celery 5.5 reads the annotations of a task with ``pydantic=True`` as
they are.
"""

import time
import warnings
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from celery import Celery, chain, chord, group
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import crontab, schedule
from pydantic import BaseModel

from pytest_taskharness import Harness

BERLIN = ZoneInfo("Europe/Berlin")
#: In Berlin, summer time begins half an hour later.
BEFORE_SUMMER_TIME = datetime(2030, 3, 31, 0, 30, tzinfo=timezone.utc)


def app_of(**config):
    """An app that nobody else sees."""
    app = Celery("versions", broker="redis://localhost:1/0", set_as_current=False)
    app.conf.update(config)
    return app


def outcome(app, publish, **options):
    """Open a harness, publish, settle; the harness and the result."""
    with Harness.open(app, **options) as harness:
        result = publish()
        harness.settle()
        return harness, result, harness.run_of(result)


def or_error(call):
    """What a call returns, or the type of its error."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def warned(call):
    """The types of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [warning.category.__name__ for warning in caught]


def noop():
    """A body."""


# -- time


def a_countdown_into_summer_time():
    """Hours until a countdown of two hours is over."""
    app = app_of(timezone="Europe/Berlin")
    task = app.task(noop, name="noop", shared=False)
    harness, _, run = outcome(app, lambda: task.apply_async(countdown=7200), start=BEFORE_SUMMER_TIME.isoformat())
    return (run.attempts[0].started_at - harness.timeline.start) / timedelta(hours=1)


def hours_until_due(made, last=BEFORE_SUMMER_TIME):
    """Hours after ``last`` at which a schedule says that it is due, asked each half hour."""
    app = app_of(timezone="Europe/Berlin")
    for half_hours in range(1, 60):
        now = (last + timedelta(minutes=30 * half_hours)).astimezone(BERLIN)
        if made(app=app, nowfun=lambda now=now: now).is_due(last.astimezone(BERLIN)).is_due:
            return half_hours / 2
    return None


def a_beat_interval_into_summer_time():
    """Hours until an interval of two hours is due again."""
    return hours_until_due(lambda **options: schedule(timedelta(hours=2), **options))


def a_day_of_beat_into_summer_time():
    """Hours until an interval of a day is due again."""
    last = BEFORE_SUMMER_TIME - timedelta(hours=12)
    return hours_until_due(lambda **options: schedule(timedelta(days=1), **options), last)


def a_crontab_in_the_hour_that_is_left_out():
    """Hours until 02:30 is due, on the day on which 03:00 follows 01:59."""
    return hours_until_due(lambda **options: crontab(hour=2, minute=30, **options))


def the_local_zone():
    """The type of app.timezone where enable_utc is off and no timezone is set."""
    return type(app_of(enable_utc=False).timezone).__name__


# -- schedules


def a_crontab_with_the_name_of_a_month():
    """crontab(month_of_year="jan")."""
    return or_error(lambda: crontab(month_of_year="jan").month_of_year)


def a_crontab_of_a_day_that_never_comes():
    """crontab(day_of_month=30, month_of_year=2)."""
    return or_error(lambda: crontab(day_of_month=30, month_of_year=2).month_of_year)


def the_header_of_beat():
    """Whether a body can see that beat has sent it."""
    app = app_of()

    def body(self):
        return "celery_beat_task" in (self.request.headers or {})

    task = app.task(body, bind=True, name="told", shared=False)
    entry = ScheduleEntry(name="entry", task=task.name, schedule=schedule(60), app=app)
    _, _, run = outcome(app, lambda: Scheduler(app, lazy=True).apply_async(entry, advance=False))
    return run.result


# -- tasks


def two_tasks_of_one_name():
    """The warnings where two functions are registered under one name."""
    app = app_of()

    def another():
        """Another body."""

    def register():
        app.task(noop, name="twice", shared=False)
        app.task(another, name="twice", shared=False)
        app.finalize()

    return warned(register)


def a_queue_as_an_attribute():
    """The warnings of @app.task(queue=…); priority, exchange, routing_key and delivery_mode are like it."""
    app = app_of()

    def register():
        app.task(noop, name="slow", queue="slow", shared=False)
        app.finalize()

    return warned(register)


def a_request_that_is_pushed_twice():
    """push_request() in a test of a body: what the second push keeps of the first."""
    task = app_of().task(noop, name="noop", shared=False)
    task.push_request(id="one")
    task.push_request(retries=3)
    return task.request.id, task.request.retries


def a_revoked_eager_result():
    """The error of get() after revoke() of what apply() returned."""
    result = app_of().task(noop, name="noop", shared=False).apply()
    result.revoke()
    return or_error(result.get)


class Order(BaseModel):
    """What a task of pydantic's takes."""

    number: int


def pay(order: Order):
    return type(order).__name__


def a_model_for_an_annotation():
    """What a body with pydantic=True gets for a dictionary."""
    task = app_of().task(pay, name="pay", pydantic=True, shared=False)
    return task({"number": 1})


def a_model_for_an_annotation_as_text():
    """The same under from __future__ import annotations."""

    def pay_later(order: "Order"):
        return type(order).__name__

    return app_of().task(pay_later, name="pay", pydantic=True, shared=False)({"number": 1})


def a_model_as_an_argument():
    """delay(Order(…)), from a caller that does not write model_dump()."""
    app = app_of()
    task = app.task(pay, name="pay", pydantic=True, shared=False)
    return or_error(lambda: outcome(app, lambda: task.delay(Order(number=1)))[2].result)


# -- canvas


def the_states_of_a_group_behind_a_chord_that_fails():
    """What each result of the group says once all is over."""
    app = app_of()
    behind = app.task(noop, name="behind", shared=False)
    broken = app.task(fail, name="broken", shared=False)
    with Harness.open(app) as harness:
        result = chord([broken.si(), broken.si()], group(behind.si(), behind.si())).delay()
        harness.settle()
        return [app.AsyncResult(each.id).state for each in result.results]


def fail():
    """A body."""
    raise ValueError("boom")


def one_of_them():
    """A body."""
    return 1


def sum_of(numbers):
    """A body."""
    return sum(numbers)


def three_groups_in_a_row():
    """What comes of the last task, and how often the members of the second and third group run."""
    app = app_of()
    one, add_up = app.task(one_of_them, name="one", shared=False), app.task(sum_of, name="sum", shared=False)
    both = group(add_up.s(), add_up.s())
    with Harness.open(app) as harness:
        result = chain(group(one.s(), one.s()), both, both.clone(), add_up.s()).delay()
        harness.settle()
        return [app.AsyncResult(result.id).state, sum(len(run.attempts) for run in harness.runs(add_up))]


# -- a worker that is interrupted


def the_errors_of_what_is_terminated():
    """What is stored, one after the other, for a task that is terminated while it runs."""
    app = app_of()
    task = app.task(noop, name="noop", shared=False)
    with Harness.open(app) as harness:
        result = task.delay()
        run = harness.bring_to(result, "running")
        result.revoke(terminate=True)
        harness.drain()
        return [str(event.detail["error"]) for event in run.timeline if event.kind == "store"]


def held_for_its_eta_across_an_outage():
    """How often a body runs whose worker loses its connection while it holds the message for its eta."""
    app = app_of()
    task = app.task(noop, name="noop", shared=False)
    with Harness.open(app) as harness:
        result = task.apply_async(countdown=60)
        harness.drain()
        with harness.broker.outage():
            pass
        harness.settle()
        return len(harness.run_of(result).attempts)


def a_process_that_ends_with_retry_on_worker_lost():
    """What comes of a task with retry_on_worker_lost=True whose first attempt ends its process."""
    app = app_of()

    def body(self):
        if not self.request.retries:
            raise SystemExit(1)

    task = app.task(body, bind=True, name="lost", retry_on_worker_lost=True, default_retry_delay=5, shared=False)
    return outcome(app, task.delay)[2].state


def over_its_limit_with_acks_on_timeout():
    """Whether a late task with acks_on_timeout=False that is over its time limit is delivered again."""
    app = app_of()
    seen = []

    def body():
        seen.append(1)
        if len(seen) == 1:
            time.sleep(60)

    task = app.task(body, name="late", acks_late=True, acks_on_timeout=False, time_limit=5, shared=False)
    return outcome(app, task.delay)[2].redelivered
