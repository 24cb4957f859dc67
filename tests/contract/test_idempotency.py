"""One task call under every plan: what is found, what is said, and what is refused."""

from __future__ import annotations

import linecache
import re
import sqlite3
import sys
import time
from contextlib import contextmanager, suppress
from itertools import count
from types import SimpleNamespace

import pytest
from celery import chord
from celery.exceptions import Ignore
from scenario import START, eager_only, memory_only

from pytest_taskharness.errors import (
    ConfigurationError,
    FidelityError,
    HarnessClosed,
    NoVerdict,
    PlansLeftOut,
    RunBudgetExceeded,
)
from pytest_taskharness.explore import progress, running
from pytest_taskharness.explore.session import chosen
from pytest_taskharness.faults.lines import lines_of
from pytest_taskharness.harness import exploring
from pytest_taskharness.worker.anew import Imprint

brokers = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


class Bank:
    """What is outside: rows that a task changes, and mails that it sends."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.balance = 0
        self.mails = []
        self.done = set()

    def look(self):
        return {"balance": self.balance, "mails": self.mails}

    @property
    def asked(self):
        return {"observe": self.look, "reset": self.reset}


@pytest.fixture
def bank():
    return Bank()


@pytest.fixture
def shop(app, bank):
    """The tasks, each wrong or right in its own way."""

    @app.task(name="shop.credit", shared=False, acks_late=True)
    def credit(amount):
        bank.balance += amount
        bank.mails.append("credited")
        return amount

    @app.task(name="shop.assign", shared=False, acks_late=True)
    def assign(amount):
        bank.balance = amount
        bank.mails = ["assigned"]
        return amount

    @app.task(name="shop.once", shared=False, acks_late=True)
    def once(key):
        if key not in bank.done:
            bank.done.add(key)
            bank.balance += 1

    @app.task(name="shop.marked", shared=False, acks_late=True)
    def marked(key):
        if key not in bank.done:
            bank.mails.append(key)
            bank.done.add(key)

    @app.task(name="shop.plain", shared=False)
    def plain(amount):
        bank.balance = amount
        return amount

    return SimpleNamespace(**{name: task for name, task in locals().items() if hasattr(task, "delay")})


def line_of(task, offset):
    """The number of a line of a task's body, from 1."""
    return task.run.__code__.co_firstlineno + 1 + offset


def failure(harness, sig, **how):
    with pytest.raises(AssertionError) as caught:
        harness.assert_idempotent(sig, **how)
    return str(caught.value)


def no_verdict(harness, sig, **how):
    with pytest.raises(NoVerdict) as caught:
        harness.assert_idempotent(sig, **how)
    return str(caught.value)


def without_ids(text):
    return re.sub(r"\b[0-9a-f]{8}\b", "<id>", text)


# -- right tasks


@brokers
def test_a_task_that_assigns_is_idempotent_under_all_plans(harness, shop, bank):
    ran = harness.assert_idempotent(shop.assign.s(7), **bank.asked)
    assert ran[:3] == ["once", "again", "crash:node@received"]
    assert "crash:child@before_ack" in ran
    schedules = [name.partition(":")[2] for name in ran if name.startswith("together:")]
    assert schedules == [*"123", *(f"{k},{m}" for k in (1, 2, 3) for m in (1, 2, 3))]


@brokers
def test_with_an_early_acknowledgement_we_send_the_message_again(harness, shop, bank):
    ran = harness.assert_idempotent(shop.plain.s(7), **bank.asked)
    assert f"crash:node@in_body:{line_of(shop.plain, 1)}" in ran
    assert "crash:child@before_ack" not in ran


@memory_only
def test_nothing_is_left_of_the_twins(harness, shop, bank):
    shop.assign.apply_async((1,), countdown=60)
    harness.drain()
    now, events = harness.clock.now, len(harness.timeline)

    harness.assert_idempotent(shop.assign.s(7), **bank.asked)

    assert (harness.clock.now, len(harness.timeline)) == (now, events)
    bank.reset()
    harness.settle()
    assert bank.balance == 1


# -- wrong tasks


@memory_only
def test_an_effect_that_adds_up_is_found_and_shown(harness, shop, bank):
    line = line_of(shop.credit, 2)
    file = "tests/contract/test_idempotency.py"

    text = failure(harness, shop.credit.s(amount=10), **bank.asked, plans=["again", "crashes"])

    assert without_ids(text) == ADDS_UP.format(
        file=file, line=line, before=line - 1, after=line + 1, site=f"{file}:{failure.__code__.co_firstlineno + 2}"
    )


ADDS_UP = """\
shop.credit(amount=10) is not idempotent: 12 of 17 plans end otherwise than one clean run.
    plan crash:node@in_body:{line}    the worker died before line {line}, and the message was delivered again
          {file}:{before}  bank.balance += amount
        > {file}:{line}  bank.mails.append("credited")  <- it died before this line
    observe()['balance']: expected 10, as after one clean run; found 20
    Also: again, crash:child@in_body:{line}, crash:node@in_body:{after}, crash:child@in_body:{after}, \
crash:node@after_body, crash:child@after_body and 5 more
    To fix this, let the same step that does the work remember that it is done: a unique key, an upsert, SET NX; \
or pass an idempotency key on to whoever does it.
    To run this plan alone: --taskharness-plan='crash:node@in_body:{line}'
    The timeline of crash:node@in_body:{line}:
        t+0.000s  publish  shop.credit <id>  (amount=10) queue='celery' at {site} in failure
        t+0.000s  deliver  shop.credit <id>  on worker from 'celery'
        t+0.000s  receive  shop.credit <id>  on worker
        t+0.000s  start    shop.credit <id>  on worker
        t+0.000s  fault    shop.credit <id>  on worker dies at node@in_body:{line}: its connection is lost
        t+0.000s  deliver  shop.credit <id>  on worker from 'celery' redelivered
        t+0.000s  receive  shop.credit <id>  on worker
        t+0.000s  start    shop.credit <id>  on worker
        t+0.000s  store    shop.credit <id>  SUCCESS
        t+0.000s  finish   shop.credit <id>  on worker SUCCESS
        t+0.000s  ack      shop.credit <id>  on worker"""


@memory_only
def test_without_reset_the_second_delivery_is_compared_on_the_one_state(harness, shop, bank):
    text = failure(harness, shop.credit.s(10), observe=bank.look)
    assert text.startswith(
        "shop.credit(10) is not idempotent: 1 of 1 plan ends otherwise than one clean run.\n    plan again "
    )
    assert "    The other plans were not run: they need reset=.\n" in text
    assert bank.balance == 20


@brokers
def test_a_mark_after_the_effect_is_found_at_the_line_between_them(harness, shop, bank):
    between = line_of(shop.marked, 3)
    text = failure(harness, shop.marked.s("k"), **bank.asked, plans=["again", "crashes"])
    assert text.startswith("shop.marked('k') is not idempotent: 2 of ")
    assert f"plan crash:node@in_body:{between} " in text
    assert "observe()['mails']: expected 1 item, ['k'], as after one clean run; found 2 items, ['k', 'k']" in text
    assert "make the effect and the mark that it is done one step" in text


@memory_only
def test_an_observe_of_the_harness_alone_needs_no_reset(harness, shop, bank):
    text = no_verdict(harness, shop.credit.s(1), observe=lambda twin: bank.look())
    assert text.startswith(
        "reset= is missing, or shop.credit(1) does not do the same twice: two clean runs, each in a "
    )


@memory_only
def test_plans_do_not_log(harness, shop, bank, caplog):
    harness.assert_idempotent(shop.plain.s(7), **bank.asked, plans="crashes")
    assert [record for record in caplog.records if "SIGKILL" in record.getMessage()] == []


@brokers
def test_a_check_before_the_act_is_found_as_interleaved_lines(harness, shop, bank):
    text = failure(harness, shop.once.s("k"), **bank.asked, plans="together")
    check, mark, act = (line_of(shop.once, offset) for offset in (1, 2, 3))
    file = "tests/contract/test_idempotency.py"
    lines = text.splitlines()
    margin, width = " " * len(f"{file}:{check}"), len("if key not in bank.done:")
    assert lines[:9] == [
        "shop.once('k') is not idempotent: 1 of 1 plan ends otherwise than one clean run.",
        "    plan together:1    two copies of the message ran at once",
        f"        {margin}  {'first copy':<{width}}  second copy",
        f"        {file}:{check}  if key not in bank.done:",
        f"        {file}:{check}  {'':<{width}}  if key not in bank.done:",
        f"        {file}:{mark}  {'':<{width}}  bank.done.add(key)",
        f"        {file}:{act}  {'':<{width}}  bank.balance += 1",
        f"        {file}:{mark}  bank.done.add(key)",
        f"        {file}:{act}  bank.balance += 1",
    ]
    assert lines[9] == "    observe()['balance']: expected 1, as after one clean run; found 2"
    assert lines[10].startswith("    hint: between the lines of one copy the other has run.")


@memory_only
def test_a_task_that_answers_otherwise_the_second_time_is_found(harness, app, bank):
    @app.task(name="shop.answer", acks_late=True)
    def answer():
        if bank.balance:
            return "was there"
        bank.balance = 1
        return "made"

    text = failure(harness, answer.s(), **bank.asked, plans="crashes")
    assert "    its result: expected 'made', as after one clean run; found 'was there'\n" in text
    assert "    hint: no effect that observe() sees differs, only what the task returns" in text


@memory_only
def test_celerys_own_deduplication_survives_again_and_no_crash(open_harness, shop, bank):
    harness = open_harness(config={"worker_deduplicate_successful_tasks": True})
    assert harness.assert_idempotent(shop.credit.s(1), **bank.asked, plans=["again"]) == ["once", "again"]
    assert "plan crash:node@in_body:" in failure(harness, shop.credit.s(1), **bank.asked, plans=["again", "crashes"])


@memory_only
def test_a_lock_that_a_dead_worker_leaves_behind_is_found(harness, app, bank):
    @app.task(name="shop.locked", acks_late=True)
    def locked():
        if "lock" in bank.done:
            raise RuntimeError("locked")
        bank.done.add("lock")
        try:
            bank.balance = 1
        finally:
            bank.done.discard("lock")

    text = failure(harness, locked.s(), observe=lambda: None, reset=bank.reset, plans="crashes")
    assert "    its state: expected SUCCESS, as after one clean run; found FAILURE, RuntimeError('locked')\n" in text


@memory_only
def test_an_observe_that_raises_only_after_a_plan_is_a_finding(harness, shop, bank):
    def only_mail():
        [mail] = bank.mails or ["none"]
        return mail

    text = failure(harness, shop.credit.s(1), observe=only_mail, reset=bank.reset, plans=["again"])
    assert "observe(): expected 'credited', as after one clean run; found that it raised ValueError(" in text


@memory_only
def test_a_plan_that_never_ends_is_a_finding(harness, app, bank, monkeypatch):
    monkeypatch.setattr(exploring, "MOST_RUNS", 20)

    @app.task(name="shop.stuck", bind=True, acks_late=True, max_retries=None)
    def stuck(self):
        if bank.balance:
            raise self.retry(countdown=0)
        bank.balance = 1

    text = failure(harness, stuck.s(), observe=lambda: None, reset=bank.reset, plans=["again"])
    assert "    its end: expected that it comes to one, as after one clean run; found RunBudgetExceeded: " in text


# -- lines


@memory_only
def test_a_line_in_a_loop_has_three_first_times_and_a_last(harness, app, bank):
    @app.task(name="shop.loop", acks_late=True)
    def loop():
        for _ in range(6):
            bank.balance += 1
        bank.balance = 6

    line = line_of(loop, 2)
    ran = harness.assert_idempotent(loop.s(), **bank.asked, plans=["crashes"])
    hits = [name for name in ran if name.startswith(f"crash:node@in_body:{line}")]
    assert hits == [f"crash:node@in_body:{line}{hit}" for hit in ("", "#2", "#3", "#6")]
    assert harness.assert_idempotent(loop.s(), **bank.asked, plans=[f"crash:node@in_body:{line}#5"])


def put(bank):
    bank.balance += 1
    bank.balance = 1


@memory_only
def test_lines_of_the_package_on_request(harness, app, bank):
    @app.task(name="shop.calls", acks_late=True)
    def calls():
        put(bank)

    line = put.__code__.co_firstlineno + 2
    name = f"crash:node@in_body:test_idempotency.py:{line}"
    assert name not in harness.assert_idempotent(calls.s(), **bank.asked, plans="crashes")
    assert name in harness.assert_idempotent(calls.s(), **bank.asked, plans="crashes", lines="package")


def add_if_new(bank):
    if not bank.done:
        bank.done.add(1)
        bank.balance += 1


@memory_only
def test_a_race_in_a_function_that_the_body_calls_is_found_on_request(harness, app, bank):
    @app.task(name="shop.calls", acks_late=True)
    def calls():
        add_if_new(bank)

    harness.assert_idempotent(calls.s(), **bank.asked, plans="together")
    text = failure(harness, calls.s(), **bank.asked, plans="together", lines="package")
    assert f"tests/contract/test_idempotency.py:{add_if_new.__code__.co_firstlineno + 1}  " in text
    assert "observe()['balance']: expected 1, as after one clean run; found 2" in text


@memory_only
def test_a_body_without_source_has_lines_as_numbers(harness, app, bank):
    namespace = {"bank": bank}
    exec(compile("def body():\n    bank.balance += 1\n    bank.mails.append(1)\n", "/gone/tasks.py", "exec"), namespace)
    task = app.task(name="shop.gone", acks_late=True)(namespace["body"])

    text = failure(harness, task.s(), **bank.asked, plans="crashes")

    assert text.splitlines()[2:4] == [
        "          /gone/tasks.py:2",
        "        > /gone/tasks.py:3    <- it died before this line",
    ]


@memory_only
def test_a_body_that_is_no_python_has_windows_only(harness, app, bank):
    class Builtin(app.Task):
        name = "shop.builtin"
        acks_late = True
        run = staticmethod(sum)

    task = app.register_task(Builtin())
    ran = harness.assert_idempotent(task.s([1, 2]), **bank.asked)
    assert "crash:node@after_body" in ran
    assert not [name for name in ran if "in_body" in name or "together" in name]


@memory_only
def test_callbacks_are_windows_and_run_in_the_twin(harness, app, shop, bank):
    ran = harness.assert_idempotent(shop.assign.s(1).set(link=[shop.plain.s()]), **bank.asked, plans="crashes")
    assert "crash:node@between_callbacks" in ran


@memory_only
def test_retries_are_part_of_a_clean_run(harness, app, bank):
    @app.task(name="shop.retried", bind=True, acks_late=True)
    def retried(self):
        bank.balance = self.request.retries
        if self.request.retries < 2:
            raise self.retry(countdown=60)

    assert harness.assert_idempotent(retried.s(), **bank.asked, plans=["again", "crashes"])


# -- which plans


@memory_only
def test_only_what_was_asked_for_is_run(harness, shop, bank):
    line = line_of(shop.assign, 1)
    ran = harness.assert_idempotent(
        shop.assign.s(1), **bank.asked, plans=["together:1,1", f"crash:node@in_body:{line}"]
    )
    assert ran == ["once", f"crash:node@in_body:{line}", "together:1,1"]
    assert harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans="sequence") == ["once", "again"]
    assert harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans=["once"]) == ["once"]


@memory_only
def test_a_window_that_the_task_does_not_come_to_is_refused(harness, shop, bank):
    with pytest.raises(ConfigurationError, match="does not come to that window. Nearest: crash:node@in_body:"):
        harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans=["crash:node@in_body:9999"])


@memory_only
def test_the_command_line_says_which_plan_runs_everywhere(harness, shop, bank, monkeypatch):
    monkeypatch.setattr(chosen, "plan", "again")
    assert harness.assert_idempotent(shop.assign.s(1), **bank.asked) == ["once", "again"]
    monkeypatch.setattr(chosen, "plan", "crash:node@in_body:9999")
    with pytest.raises(ConfigurationError, match="from --taskharness-plan"):
        harness.assert_idempotent(shop.assign.s(1), **bank.asked)


@memory_only
@pytest.mark.parametrize(
    "wrong",
    [{"bound": 0}, {"bound": True}, {"lines": "all"}, {"max_schedules": 0}, {"plans": "some"}, {"plans": []},
     {"observe": 3}, {"observe": lambda one, other: 1}, {"reset": 3}],
    ids="-".join,
)  # fmt: skip
def test_what_cannot_be_is_refused(harness, shop, bank, wrong):
    with pytest.raises(ConfigurationError):
        harness.assert_idempotent(shop.assign.s(1), **{**bank.asked, **wrong})


@memory_only
def test_schedules_that_are_left_out_are_said(harness, shop, bank):
    with pytest.warns(PlansLeftOut, match=r"shop.assign\(1\): Of two copies at once only 2 schedules were tried"):
        harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans="together", max_schedules=2)


@memory_only
def test_one_preemption_is_a_bound(harness, shop, bank):
    ran = harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans="together", bound=1)
    assert ran == ["once", "together:1", "together:2", "together:3"]


@eager_only
def test_eager_mode_has_no_second_delivery(harness, shop, bank):
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.assert_idempotent(shop.assign.s(1), **bank.asked)


# -- the question is at fault


@memory_only
def test_a_clean_run_that_fails_is_no_verdict(harness, tasks, bank):
    text = no_verdict(harness, tasks.boom.s(), **bank.asked)
    assert text.startswith("shop.boom() fails by itself, in one clean run: FAILURE, RuntimeError('boom').\nTraceback ")
    assert 'raise RuntimeError("boom")\n' in text
    assert text.endswith("a plan is compared with a clean run that succeeds.")


@memory_only
def test_a_task_that_nobody_runs_is_no_verdict(open_harness, tasks, bank):
    harness = open_harness()
    harness.worker("a", queues=["other"])
    text = no_verdict(harness, tasks.add.s(1, 2), **bank.asked)
    assert text.startswith(
        "shop.add(1, 2) does not run, so that nothing can be said: does a worker consume its queue?\n"
    )


@memory_only
def test_the_twins_have_the_workers_of_the_test(harness, shop, bank):
    harness.worker("a", queues=["high"])
    text = failure(harness, shop.credit.s(1).set(queue="high"), **bank.asked, plans=["again"])
    assert "shop.credit" in text and "on a from 'high'" in text


@memory_only
def test_a_task_that_does_not_end_is_said_as_settle_says_it(harness, app, bank, monkeypatch):
    monkeypatch.setattr(exploring, "MOST_RUNS", 20)

    @app.task(name="shop.endless", bind=True, max_retries=None)
    def endless(self):
        raise self.retry(countdown=0)

    with pytest.raises(RunBudgetExceeded, match="shop.endless"):
        harness.assert_idempotent(endless.s(), **bank.asked)


@memory_only
def test_an_observe_that_does_not_return_the_same_twice_is_no_verdict(harness, shop, bank):
    calls = []
    text = no_verdict(harness, shop.assign.s(1), observe=lambda: {"calls": calls.append(1) or len(calls)})
    assert text.splitlines()[1] == "    observe()['calls']: first 1; then 2"


@memory_only
def test_an_observe_that_raises_is_no_verdict(harness, shop, bank):
    assert no_verdict(harness, shop.assign.s(1), observe=lambda: 1 / 0).startswith(
        "observe() raised ZeroDivisionError: division by zero, before anything had run."
    )
    text = no_verdict(harness, shop.assign.s(1), observe=lambda: 1 / (1 - bank.balance))
    assert text.startswith("observe() raised ZeroDivisionError: division by zero, after one clean run.")


@memory_only
@pytest.mark.parametrize(
    "value, text",
    [
        (object, "observe() cannot be compared: observe() is <object object at"),
        (lambda: (number for number in ()), "which cannot be copied (TypeError: cannot pickle 'generator' object)"),
    ],
    ids=["identity", "copy"],
)
def test_an_observation_that_cannot_be_compared_is_no_verdict(harness, shop, value, text):
    found = no_verdict(harness, shop.assign.s(1), observe=value)
    assert text in found
    assert found.endswith("let observe() return plain values: numbers, texts, lists, dicts, dataclasses.")


@memory_only
def test_an_observe_that_is_asynchronous_is_no_verdict(harness, shop):
    async def look():
        return 1

    assert no_verdict(harness, shop.assign.s(1), observe=look).startswith("observe() is asynchronous")


@memory_only
def test_a_reset_that_does_not_reset_is_no_verdict(harness, shop, bank):
    text = no_verdict(harness, shop.credit.s(1), observe=bank.look, reset=lambda: None)
    assert text.startswith("reset() does not reset, or shop.credit(1) does not do the same twice:")
    assert "    observe()['balance']: 1 after the first, 2 after the second\n" in text


@memory_only
def test_a_result_that_is_new_each_time_is_no_verdict(harness, app):
    keys = count(1)

    @app.task(shared=False, name="shop.create")
    def create():
        return next(keys)

    text = no_verdict(harness, create.s(), observe=lambda: 0, reset=lambda: None)
    assert "    its result: 1 after the first, 2 after the second\n" in text
    assert "the sequence that primary keys come from" in text and "leave out of observe()" not in text


@memory_only
def test_a_reset_that_raises_is_no_verdict(harness, shop, bank):
    assert no_verdict(harness, shop.credit.s(1), observe=bank.look, reset=lambda: 1 / 0) == (
        "reset() raised ZeroDivisionError: division by zero"
    )


@memory_only
def test_without_reset_the_other_plans_need_one(harness, shop, bank):
    assert no_verdict(harness, shop.assign.s(7), observe=bank.look) == NEEDS_RESET
    assert harness.assert_idempotent(shop.assign.s(7), observe=bank.look, plans="sequence") == ["once", "again"]


NEEDS_RESET = """\
shop.assign(7) needs reset=: the clean run changes what observe() returns, and each of the other plans has to start \
from the same state.
    observe()['balance']: 0 before the clean run, 7 after it
    Delivered once more after that, it changed nothing: plan again has passed.
    Not run: 16 crashes, and two copies at once.
To fix this, pass reset=, which puts the state back; or ask for plans='sequence', which needs none."""


@memory_only
def test_without_reset_all_plans_run_where_nothing_changes(harness, shop, bank):
    bank.balance, bank.mails = 7, ["assigned"]
    assert len(harness.assert_idempotent(shop.assign.s(7), observe=bank.look)) > 20


@memory_only
def test_a_task_that_takes_another_way_each_time_is_no_verdict(harness, app, bank):
    ways = iter([True, True] + [False] * 99)

    @app.task(name="shop.moody", acks_late=True)
    def moody():
        if next(ways):
            bank.balance = 1
        bank.balance = 1

    line = line_of(moody, 2)
    text = no_verdict(harness, moody.s(), **bank.asked, plans=[f"crash:node@in_body:{line}"])
    assert text.startswith(
        f"crash:node@in_body:{line}: this run did not come to that window, although the clean run did"
    )


@memory_only
@pytest.mark.parametrize("sig", ["shop.add", None], ids=str)
def test_what_is_no_signature_is_refused(harness, sig, bank):
    with pytest.raises(TypeError, match="expected a Celery signature"):
        harness.assert_idempotent(sig, **bank.asked)


@memory_only
def test_a_canvas_is_refused(harness, tasks, bank):
    with pytest.raises(TypeError, match="expected the signature of one task, got a chain"):
        harness.assert_idempotent(tasks.add.s(1, 2) | tasks.add.s(3), **bank.asked)


@memory_only
def test_a_task_that_the_app_does_not_have_is_no_verdict(harness, app, tasks, bank):
    text = no_verdict(harness, app.signature("shop.ad", args=(1, 2)), **bank.asked)
    assert text == "the app has no task 'shop.ad', so that nothing can be said of it. Did you mean 'shop.add'?"


@memory_only
def test_a_harness_that_is_closed_explores_nothing(open_harness, shop, bank):
    harness = open_harness()
    harness.close()
    with pytest.raises(HarnessClosed):
        harness.assert_idempotent(shop.assign.s(1), **bank.asked)


# -- the rest


@memory_only
def test_a_signature_as_a_message_carries_it(harness, shop, bank):
    assert harness.assert_idempotent(dict(shop.assign.s(1)), **bank.asked, plans="sequence")


@memory_only
def test_all_kinds_of_bodies(harness, app, bank):
    class Class(app.Task):
        name = "shop.class"
        acks_late = True

        def __call__(self, *args):
            bank.balance = 1
            return super().__call__(*args)

        def run(self, number):
            bank.balance = number

    @app.task(name="shop.autoretry", autoretry_for=(KeyError,), retry_backoff=True, bind=True)
    def autoretry(self, number):
        if not self.request.retries:
            raise KeyError
        bank.balance = number

    @app.task(name="shop.calls_itself")
    def calls_itself(number):
        if number:
            calls_itself.delay(number - 1)
        bank.balance = 0

    for task in (app.register_task(Class()), autoretry, calls_itself):
        ran = harness.assert_idempotent(task.s(3), **bank.asked)
        assert any("in_body" in name for name in ran)
        assert any("together" in name for name in ran)


@memory_only
def test_observe_may_ask_for_the_harness_of_the_plan(harness, app, tasks, bank):
    @app.task(name="shop.fan_out", acks_late=True)
    def fan_out():
        tasks.add.delay(1, 2)

    text = failure(harness, fan_out.s(), observe=lambda plan: len(plan.runs(tasks.add)), plans="crashes")
    assert "observe(): expected 1, as after one clean run; found 2" in text


@memory_only
def test_each_plan_begins_at_the_same_instant_with_the_same_ids(open_harness, app, bank):
    harness, seen = open_harness(start=START), []

    @app.task(name="shop.look", bind=True, acks_late=True)
    def look(self):
        seen.append((self.request.id, harness.clock.now))

    harness.assert_idempotent(look.s(), observe=lambda: None, reset=bank.reset, plans=["again"])
    assert len(seen) == 4
    assert len(set(seen)) == 1


@memory_only
def test_a_long_exploration_says_how_far_it_is(harness, shop, bank, monkeypatch):
    told = []
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(chosen, "tell", told.append)
    harness.assert_idempotent(shop.assign.s(1), **bank.asked, plans=["again", "crashes"])
    assert told[0] == "taskharness: assert_idempotent(shop.assign(1)): 1 plan so far, 0 s"
    assert len(told) == 17


@memory_only
def test_arguments_that_are_hidden_stay_hidden(harness, shop, bank):
    text = failure(harness, shop.credit.s(10).set(argsrepr="(***)"), **bank.asked, plans=["again"])
    assert text.startswith("shop.credit(…) is not idempotent")


# -- a harness that is as new after a plan is used again


@pytest.fixture
def many(app, shop, bank):
    """Tasks that use what a worker, a broker and a backend have."""

    @app.task(name="shop.publishes", acks_late=True, bind=True)
    def publishes(self):
        self.update_state(state="PROGRESS", meta={"done": 1})
        bank.mails.append(shop.plain.delay(1).id)
        bank.mails.append(str(self.request.delivery_info))
        bank.mails = bank.mails[:2]

    @app.task(name="shop.fails_first", acks_late=True, bind=True, max_retries=3)
    def fails_first(self):
        if not self.request.retries:
            raise self.retry(countdown=0)

    @app.task(name="shop.sleeps", acks_late=True)
    def sleeps():
        time.sleep(5)

    @app.task(name="shop.limited", acks_late=True, rate_limit="10/m", ignore_result=True)
    def limited():
        bank.balance = 1

    @app.task(name="shop.group_of", acks_late=True)
    def group_of():
        chord([shop.plain.s(1), shop.plain.s(2)])(count_them.s())

    @app.task(name="shop.count_them")
    def count_them(numbers):
        return len(numbers)

    return [publishes.s(), fails_first.s(), sleeps.s(), limited.s(), group_of.s(),
            shop.assign.s(7).set(link=[shop.plain.s()])]  # fmt: skip


@memory_only
@pytest.mark.parametrize("number", range(6))
def test_a_harness_that_is_as_new_gives_the_same_timelines(harness, many, bank, monkeypatch, number):
    timelines = []
    ending = running.Runner._ending

    def kept(self, twin, *args, **more):
        timelines.append(twin.timeline.to_json())
        return ending(self, twin, *args, **more)

    monkeypatch.setattr(running.Runner, "_ending", kept)
    taken_back, found = [], []
    for imprint in (Imprint.take_back, lambda self: taken_back.append(1)):
        monkeypatch.setattr(Imprint, "take_back", imprint)
        plans = harness.assert_idempotent(many[number], observe=lambda: None, reset=bank.reset)
        found.append((plans, list(timelines)))
        timelines.clear()

    assert taken_back
    assert len(found[0][1]) == len(found[0][0]) + 1
    assert found[0] == found[1]


# -- deaths for real


@pytest.mark.parametrize("mode", ["memory", "redis", "rabbitmq"], indirect=True)
def test_a_lock_that_a_dead_body_leaves_behind_is_found_where_it_dies_for_real(harness, app, tmp_path):
    @app.task(name="shop.export", shared=False, acks_late=True)
    def export():
        with lock_file(tmp_path / "lock"):
            (tmp_path / "export").write_text("everything")

    def reset():
        for name in ("lock", "export"):
            (tmp_path / name).unlink(missing_ok=True)

    def observe():
        return sorted(path.name for path in tmp_path.iterdir())

    plans = ["crashes"]
    harness.assert_idempotent(export.s(), observe=observe, reset=reset, plans=plans)
    with pytest.raises(AssertionError, match=r"(?s)shop\.export\(\) is not idempotent.*FileExistsError"):
        harness.assert_idempotent(export.s(), observe=observe, reset=reset, plans=plans, forked=True)


@contextmanager
def lock_file(path):
    """Of somebody's library."""
    path.touch(exist_ok=False)
    try:
        yield
    finally:
        path.unlink()


@pytest.mark.parametrize("mode", ["fakeredis"], indirect=True)
def test_nothing_dies_for_real_in_a_mode_that_cannot_be_forked(harness, tasks):
    with pytest.raises(FidelityError, match="forked=True"):
        harness.assert_idempotent(tasks.add.s(1, 2), observe=list, forked=True)


@memory_only
def test_a_body_that_loops_for_ever_is_ended(harness, app, bank):
    @app.task(name="shop.loop", shared=False)
    def loop():
        while True:
            bank.balance = 1

    with pytest.raises(RunBudgetExceeded, match="has run 200,000 lines of its body in one run, and has not ended"):
        harness.assert_idempotent(loop.s(), **bank.asked)


@memory_only
def test_a_body_that_waits_for_ever_for_one_that_died_is_found(harness, app, bank):
    @app.task(name="shop.wait", shared=False, acks_late=True)
    def wait():
        while bank.mails and not bank.done:
            pass
        bank.mails = ["begun"]
        bank.done = {1}

    with pytest.raises(AssertionError, match="its end: expected that it comes to one"):
        harness.assert_idempotent(wait.s(), **bank.asked)


@brokers
def test_what_a_death_has_stored_is_not_held_against_a_task_that_ignores_its_message(harness, app, bank):
    @app.task(name="shop.ignore", shared=False, acks_late=True)
    def ignore():
        bank.balance = 1
        raise Ignore

    plans = harness.assert_idempotent(ignore.s(), **bank.asked)
    assert "crash:child@started" in plans


@memory_only
def test_a_transaction_that_an_error_ends_is_rolled_back_by_a_death_too(harness, app):
    """Else what the dead body had written would be committed by the next one."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE seen (payment INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE payments (amount INTEGER)")

    @app.task(name="shop.refuse", shared=False, acks_late=True)
    def refuse():
        with database:
            database.execute("INSERT OR IGNORE INTO seen VALUES (1)")
        with suppress(ValueError):  # noqa: SIM117 - each on a line of its own
            with database:  # the inner one
                database.execute("INSERT INTO payments VALUES (10)")
                raise ValueError

    def look():
        return [database.execute(f"SELECT * FROM {table}").fetchall() for table in ("seen", "payments")]

    def reset():
        with database:
            database.execute("DELETE FROM seen")
            database.execute("DELETE FROM payments")

    plans = harness.assert_idempotent(refuse.s(), observe=look, reset=reset, plans="crashes")
    line = next(at for at in lines_of(refuse) if "# the inner one" in linecache.getline(__file__, at))
    assert f"crash:node@in_body:{line}#2" in plans
    assert sys.exc_info() == (None, None, None)
    database.close()
