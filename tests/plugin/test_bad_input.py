"""What a user gets for a mistake: what was given, and what would be right."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from celery import Celery
from celery.exceptions import NotRegistered
from kombu.exceptions import EncodeError

from pytest_taskharness import Harness
from pytest_taskharness.errors import (
    AmbiguousRun,
    ConfigurationError,
    FidelityError,
    HarnessClosed,
    NoSuchRun,
    RunBudgetExceeded,
    TimeTravelError,
    UnserializableValue,
)

app = Celery("shop", set_as_current=False)


@app.task(name="shop.add", shared=False)
def add(x, y=1):
    return x + y


@app.task(name="shop.give", shared=False)
def give(kind):
    return {"deep": [1, {"value": {"set": {1}, "object": object()}[kind]}]}


@app.task(name="shop.forever", shared=False, bind=True, max_retries=None)
def forever(self):
    raise self.retry(countdown=1, exc=ValueError("again"))


@pytest.fixture
def harness():
    with Harness.open(app, start="2030-01-01T00:00Z") as opened:
        yield opened


@pytest.fixture(params=["memory", "eager"])
def any_mode(request):
    with Harness.open(app, request.param, start="2030-01-01T00:00Z") as opened:
        yield opened


def refused(error, call, *args, **kwargs):
    with pytest.raises(error) as caught:
        closed(call(*args, **kwargs))
    return str(caught.value)


def closed(made):
    """What should not have been made must not spoil the next test."""
    if isinstance(made, Harness):
        made.close()


# -- opening


def test_an_unknown_mode():
    assert refused(ConfigurationError, Harness.open, app, "memroy") == (
        "unknown mode 'memroy' (from Harness.open(mode=…)). Did you mean 'memory'? "
        "Modes: eager, memory, fakeredis, redis, redis+process, rabbitmq, rabbitmq+process, or all."
    )


def test_all_is_no_mode_of_one_harness():
    assert "unknown mode 'all'" in refused(ConfigurationError, Harness.open, app, "all")


@pytest.mark.parametrize("mode", [None, ["memory"], 5])
def test_a_mode_that_is_no_text(mode):
    assert refused(ConfigurationError, Harness.open, app, mode) == (
        f"Harness.open(mode=…) takes the name of a mode (eager, memory, fakeredis, redis, redis+process, "
        f"rabbitmq, rabbitmq+process); given: {mode!r}"
    )


@pytest.mark.parametrize("wrong", [None, 5, add, Celery])
def test_something_that_is_no_app(wrong):
    text = refused(ConfigurationError, Harness.open, wrong)

    assert text.startswith("expected a Celery app, found ")
    assert text.endswith("from Harness.open(app=…). Name the Celery(…) object itself, for instance 'shop.tasks:app'.")


def test_a_path_that_does_not_import():
    text = refused(ConfigurationError, Harness.open, "nowhere.tasks:app")

    assert text.startswith("the Celery app 'nowhere.tasks:app' cannot be imported: ModuleNotFoundError: ")
    assert "It is looked up as `celery -A nowhere.tasks:app` would" in text


@pytest.mark.parametrize("start", ["soon", "2030-02-30T00:00Z", ""])
def test_a_start_that_is_no_time(start):
    assert refused(ConfigurationError, Harness.open, app, start=start).startswith(
        f"start={start!r} is no ISO 8601 time: "
    )


@pytest.mark.parametrize("start", ["2030-01-01", "2030-01-01T00:00:00", datetime(2030, 1, 1)])
def test_a_naive_start(start):
    assert refused(ConfigurationError, Harness.open, app, start=start) == (
        f"start={start!r} is naive. Say which zone is meant, for instance '2030-01-01T00:00+00:00' or 'Z'."
    )


@pytest.mark.parametrize("start", [date(2030, 1, 1), 1_900_000_000, timedelta(1)])
def test_a_start_of_another_type(start):
    assert refused(ConfigurationError, Harness.open, app, start=start) == (
        f"start= takes an aware datetime or an ISO 8601 text; given: {start!r}"
    )


@pytest.mark.parametrize("workers", [0, -1, 27, "2", 1.5, None, ["a", "b"]])
def test_workers_that_are_no_usable_number(workers):
    assert refused(ConfigurationError, Harness.open, app, workers=workers) == (
        f"workers= takes a number from 1 to 26; given: {workers!r}"
    )


@pytest.mark.parametrize("mode", ["memory", "eager"])
def test_a_pool_belongs_to_a_real_worker_process(mode):
    assert refused(FidelityError, Harness.open, app, mode, pool="prefork") == (
        f"pool='prefork' means a real worker process; mode {mode!r} steps its worker in the test's thread. Run "
        "this test with mode='redis+process'."
    )


def test_a_visibility_timeout_belongs_to_redis():
    assert refused(FidelityError, Harness.open, app, visibility_timeout=3600) == (
        "visibility_timeout=3600 belongs to Redis; mode 'memory' follows the app's broker_url, which is not set. Run "
        "this test with mode='fakeredis', 'redis' or 'redis+process', or with config={'broker_url': 'redis://'}."
    )


def test_settings_that_are_no_mapping():
    assert refused(ConfigurationError, Harness.open, app, config=["task_acks_late"]) == (
        "config= takes a dict of Celery settings; given: ['task_acks_late']"
    )


def test_a_setting_that_is_misspelt():
    assert refused(ConfigurationError, Harness.open, app, config={"task_route": {"shop.add": "mail"}}) == (
        "config= has 'task_route', which Celery does not know. Did you mean 'task_routes'?"
    )


@pytest.mark.parametrize("name", ["shop_currency", "CELERY_TASK_ROUTES", "task_routes", "redbeat_lock_timeout"])
def test_a_setting_of_the_apps_own_is_none_of_celerys(name):
    with Harness.open(app, config={name: None}) as harness:
        assert harness.app.conf[name] is None


def test_an_unknown_clock():
    assert refused(ConfigurationError, Harness.open, app, clock="sundial") == (
        "clock= takes 'freezegun' or 'time-machine'; given: 'sundial'"
    )


def test_a_real_clock_belongs_to_a_real_worker_process():
    assert refused(FidelityError, Harness.open, app, clock="real") == (
        "clock='real' is for a real worker process; mode 'memory' steps its worker under a virtual clock. Run "
        "this test with mode='redis+process'."
    )


@pytest.mark.parametrize("seed", ["7", 1.5, None])
def test_a_seed_that_is_no_number(seed):
    assert refused(ConfigurationError, Harness.open, app, seed=seed) == f"seed= takes a whole number; given: {seed!r}"


# -- calling


@pytest.mark.parametrize("call", [add.delay, add.apply_async, add.s().delay])
def test_arguments_that_do_not_fit_are_refused_at_the_call(any_mode, call):
    text = refused(TypeError, call)

    assert "missing 1 required positional argument: 'x'" in text
    assert any_mode.outbox == []


def test_arguments_that_do_not_fit_are_refused_by_perform(any_mode):
    assert refused(TypeError, any_mode.perform, add.s(1, z=2)) == (
        "the arguments do not fit shop.add(x, y=1): add() got an unexpected keyword argument 'z'\ngiven: 1, z=2"
    )


def test_perform_wants_a_signature(harness):
    for wrong in ("shop.add", add, None, 5, ("shop.add", ())):
        text = refused(TypeError, harness.perform, wrong)
        assert text.startswith("perform() takes a Celery signature, such as task.s(1, 2); given: ")


@pytest.mark.parametrize(
    "args, path, kind",
    [
        (([{"deep": (1, object())}],), "args[0][0]['deep'][1]", "object"),
        (({"when": {1, object()}},), "args[0]['when']", "set"),
    ],
)
def test_an_unserializable_argument_is_named_by_its_path(any_mode, args, path, kind):
    with pytest.raises(EncodeError) as caught:
        add.apply_async(args)

    assert isinstance(caught.value, UnserializableValue)
    assert str(caught.value).startswith(f"shop.add() cannot be sent: {path} is ")
    assert f"(type {kind}), which the 'json' serializer cannot encode." in str(caught.value)
    assert "To fix this, pass plain data" in str(caught.value)


def test_an_unserializable_keyword_argument_is_named_by_its_path(any_mode):
    text = refused(UnserializableValue, add.delay, 1, y={"client": object()})

    assert "kwargs['y']['client'] is <object object at " in text


def test_an_unserializable_argument_of_perform_is_named_by_its_path(any_mode):
    assert "args[0] is <object object at " in refused(UnserializableValue, any_mode.perform, add.s(object()))


def test_an_unserializable_result_is_named_by_its_path(any_mode):
    result = give.delay("object")
    any_mode.settle()

    run = any_mode.run_of(result)
    assert run.state == "FAILURE"
    assert "result['deep'][1]['value'] is <object object at " in str(run.error)


def test_what_the_serializer_can_do_is_not_refused(any_mode):
    assert add.delay(Decimal("1.5"), Decimal(1)).get() == Decimal("2.5")


def test_an_unregistered_task_is_refused_by_perform(any_mode):
    sig = app.signature("shop.ad", args=(1,))

    text = refused(NotRegistered, any_mode.perform, sig)
    assert text == "perform(): no task 'shop.ad' is registered on app 'shop'; did you mean 'shop.add'?"


def test_waiting_for_an_unregistered_task_is_celerys_own_error_and_the_timeline_knows_more(harness):
    result = app.send_task("shop.ad", args=(1,))

    assert refused(NotRegistered, result.get) == "'shop.ad'"
    [poison] = [event for event in harness.timeline if event.kind == "poison"]
    assert poison.detail["note"] == "no task 'shop.ad' is registered on app 'shop'; did you mean 'shop.add'?"


def test_waiting_for_nothing_says_so(harness):
    text = refused(Exception, app.AsyncResult("nobody").get)

    assert "nobody" in text
    assert "nothing was published under this id" in text


# -- driving


def test_the_clock_does_not_go_back(harness):
    assert "would move the clock back by 0:00:01" in refused(TimeTravelError, harness.clock.advance, seconds=-1)
    assert "would move the clock back by" in refused(
        TimeTravelError, harness.clock.advance_to, harness.clock.now - timedelta(1)
    )


def test_the_clock_takes_aware_datetimes(harness):
    assert "is naive" in refused(TimeTravelError, harness.clock.advance_to, datetime(2031, 1, 1))


def test_the_clock_takes_units_by_name(harness):
    assert "Did you mean 'hours'?" in refused(TimeTravelError, harness.clock.advance, hour=1)


@pytest.mark.parametrize("amount", [60, 1.5, timedelta(hours=1)])
def test_advance_takes_no_bare_amount(harness, amount):
    assert "advance" in refused(TimeTravelError, harness.clock.advance, amount)


@pytest.mark.parametrize("verb", ["settle", "background"])
@pytest.mark.parametrize("limit", [{"max_runs": 0}, {"max_runs": "x"}, {"max_time": "x"}, {"max_time": -1}], ids=str)
def test_a_limit_that_is_none(harness, verb, limit):
    [(name, given)] = limit.items()

    text = refused(ConfigurationError, getattr(harness, verb), **limit)

    assert text.startswith(f"{name}= takes ")
    assert text.endswith(f"given: {given!r}")


def test_settle_with_a_budget_that_is_too_small(harness):
    forever.delay()

    text = refused(RunBudgetExceeded, harness.settle, max_runs=5)
    assert text.startswith("settle() started 5 task bodies (max_runs) and there is still work.")
    assert "shop.forever" in text
    assert "ValueError('again')" in text


def test_settle_with_too_little_time(harness):
    forever.delay()

    text = refused(RunBudgetExceeded, harness.settle, max_time=10)
    assert text.startswith("settle(max_time=0:00:10) still has work: the next item is due at t+11.000s.")


def test_eager_has_no_steps():
    with Harness.open(app, "eager") as harness:
        assert refused(FidelityError, harness.step) == (
            "step() needs messages that wait for a worker; in eager mode the body runs at the call. Run this test with "
            "mode='memory'."
        )


def test_eager_has_no_worker():
    with Harness.open(app, "eager") as harness:
        assert (
            refused(FidelityError, harness.worker, "a") == "eager mode has no worker. Run this test with mode='memory'."
        )


def test_worker_without_a_name_means_the_only_one():
    with Harness.open(app, workers=2) as harness:
        assert "worker() means the only worker; there are ['a', 'b']" in refused(ConfigurationError, harness.worker)
    with Harness.open(app) as harness:
        text = refused(ConfigurationError, lambda: harness.worker(queues=["images"]))
        assert "found instead: worker(queues=['images']). To fix this, name it: worker('images', queues=['imag" in text


@pytest.mark.parametrize("queues", ["mail", 5, [1]])
def test_queues_are_a_list_of_names(harness, queues):
    assert refused(ConfigurationError, harness.worker, "a", queues=queues) == (
        f"queues= takes a list of names of queues; given: {queues!r}"
    )


VERBS = {
    "perform": lambda harness: harness.perform(add.s(1)),
    "step": lambda harness: harness.step(),
    "drain": lambda harness: harness.drain(),
    "settle": lambda harness: harness.settle(),
    "advance": lambda harness: harness.clock.advance(hours=1),
    "advance_to": lambda harness: harness.clock.advance_to(harness.clock.now + timedelta(days=1)),
    "worker": lambda harness: harness.worker(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_closed_harness_drives_nothing(verb):
    with Harness.open(app) as harness:
        pass

    assert refused(HarnessClosed, VERBS[verb], harness) == (
        "this harness is closed: its test, or its with block, has ended"
    )


# -- looking


def test_an_ambiguous_run_lists_all(harness):
    first, second = add.delay(1), add.delay(2)

    text = refused(AmbiguousRun, harness.run_of, add)
    assert "shop.add" in text
    assert first.id[:8] in text
    assert second.id[:8] in text


def test_no_run_says_what_there_is(harness):
    add.delay(1)

    text = refused(NoSuchRun, harness.run_of, give)
    assert "shop.give" in text
    assert "shop.add" in text


def test_no_run_at_all(harness):
    text = refused(NoSuchRun, harness.run_of, add)

    assert "shop.add" in text
    assert "nothing" in text


@pytest.mark.parametrize("wrong", [None, 5, object])
def test_run_of_wants_a_task_a_result_or_an_id(harness, wrong):
    with pytest.raises((TypeError, NoSuchRun)):
        harness.run_of(wrong)
