"""Calls of a task from its type hints."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

import pytest
from celery import Celery
from hypothesis import find, given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads
from pydantic import BaseModel

from pytest_taskharness.errors import ConfigurationError
from pytest_taskharness.strategies import calls


def task(function, **options):
    app = Celery("shop", set_as_current=False)
    return app.task(shared=False, name=f"shop.{function.__qualname__}", **options)(function)


@task
def charge(order: int, currency: Literal["EUR", "USD"] = "EUR", *, tip: float = 0.0, note: str | None = None):
    pass


class Order(BaseModel):
    number: int


class Opaque:
    pass


@given(call=calls(charge))
def test_arguments_fit_the_hints(call):
    def checked(order, currency="EUR", *, tip=0.0, note=None):
        return type(order), currency in {"EUR", "USD"}, type(tip), type(note) in {str, type(None)}

    assert call.task == charge.name
    assert checked(*call.args, **call.kwargs) == (int, True, float, True)


def test_what_has_a_default_is_left_out_at_times():
    assert find(calls(charge), lambda call: not call.kwargs).args == (0,)
    assert find(calls(charge), lambda call: len(call.kwargs) == 3).args == (0,)


@pytest.mark.parametrize(
    "hint",
    [
        float, str, bool, bytes, datetime, list[int], dict[str, float], dict[int, str], tuple[int, str],
        float | None, list, dict, Any, list[dict[str, float]], Literal[1, "a"], None,
    ],
    ids=str,
)  # fmt: skip
def test_a_worker_gets_what_was_passed(hint):
    def store(value):
        pass

    store.__annotations__ = {"value": hint}

    @settings(max_examples=30)
    @given(call=calls(task(store)))
    def check(call):
        assert loads(dumps(call.args)) == list(call.args)

    check()


@given(call=calls(charge, tip=st.just(math.pi)))
def test_an_override_is_always_given(call):
    assert call.kwargs["tip"] == math.pi


@given(call=calls(charge, order=7))
def test_an_override_may_be_a_plain_value(call):
    assert call.args[0] == 7


def test_another_serializer_carries_something_else():
    def move(point: tuple[int, int]):
        pass

    assert find(calls(task(move)), bool).args == ([0, 0],)
    assert find(calls(task(move, serializer="pickle")), bool).args == ((0, 0),)


def test_a_bound_tasks_self_is_no_parameter():
    def pay(self, order: int):
        pass

    assert find(calls(task(pay, bind=True)), bool).args == (0,)


def test_parameters_that_are_positional_only():
    @task
    def pay(amount: int, currency: str = "EUR", /, *, tip: int = 0):
        pass

    assert find(calls(pay), lambda call: len(call.args) == 2).args == (0, "")
    assert find(calls(pay), lambda call: call.kwargs).args == (0,)


def test_any_number_of_arguments_stays_none():
    @task
    def total(*numbers: int, **names: str):
        pass

    assert find(calls(total), bool).args == ()
    assert find(calls(total, extra="x"), bool).kwargs == {"extra": "x"}


def test_a_pydantic_model_is_passed_as_what_celery_takes():
    @task
    def ship(order: Order):
        pass

    assert find(calls(ship), bool).args == ({"number": 0},)


def refused(*args, **kwargs):
    with pytest.raises(ConfigurationError) as caught:
        find(calls(*args, **kwargs), bool)
    return str(caught.value)


def test_a_parameter_without_a_hint():
    @task
    def pay(order, tip=0):
        pass

    assert refused(pay) == (
        f"calls({pay.name}) cannot know what to pass as 'order': it has no type hint. Give it one, or say "
        "calls(pay, order=…) with a strategy."
    )
    assert find(calls(pay, order=1), bool).args == (1,)


def test_a_type_that_the_serializer_cannot_encode():
    @task
    def pay(order: Opaque):
        pass

    first, last = refused(pay).splitlines()

    assert first.startswith(f"calls({pay.name}) cannot make a value for \"order: 'Opaque'\": the serializer 'json' ")
    assert last == "Say what to pass: calls(pay, order=…) with a strategy."


def test_a_parameter_that_is_not_there():
    assert refused(charge, ordr=1) == (
        "calls(shop.charge, ordr=…): the task has no parameter 'ordr'. Did you mean 'order'? It takes: order, "
        "currency, tip, note."
    )


def test_hints_that_cannot_be_read():
    def pay(order):
        pass

    pay.__annotations__ = {"order": "Nowhere"}

    assert "the type hints of shop." in refused(task(pay))


def test_something_that_is_no_task():
    assert refused("shop.charge") == "calls() takes a task of a Celery app; given: 'shop.charge'"
