"""Tasks that take and give pydantic models.

No ``from __future__ import annotations`` here: Celery 5.5 reads a task's annotations as they are.
"""

from datetime import datetime
from decimal import Decimal

import celery
import pytest
from pydantic import BaseModel, field_validator

pytestmark = pytest.mark.skipif(celery.VERSION < (5, 5), reason="pydantic tasks are new in Celery 5.5")


class Order(BaseModel):
    number: int
    lines: list[str] = []


@pytest.fixture
def double(harness, app):
    @app.task(pydantic=True)
    def double(order: Order) -> Order:
        assert isinstance(order, Order)
        return Order(number=order.number * 2, lines=order.lines)

    return double


def test_a_pydantic_task_takes_and_gives_models(double):
    assert double.delay({"number": 21, "lines": ["a"]}).get() == {"number": 42, "lines": ["a"]}


def test_a_pydantic_task_is_dumped_by_its_caller(double):
    assert double.delay(Order(number=1).model_dump()).get() == {"number": 2, "lines": []}


def test_a_model_is_expected_of_the_dict_that_it_travels_as(harness, double):
    result = double.delay({"number": 21})
    harness.settle()
    harness.assert_enqueued(double.s(Order(number=21)))
    harness.assert_enqueued(double.s(order=Order(number=21, lines=[])))
    harness.assert_succeeded(result, returns=Order(number=42))
    for other in (Order(number=22), Order(number=21, lines=["a"])):
        with pytest.raises(AssertionError, match=r"(?s)\{'number': 21\}.*expected Order\(number="):
            harness.assert_enqueued(double.s(other))


def test_a_dict_that_is_no_model_is_not_what_was_expected(harness, double):
    double.delay({"number": "many"})
    harness.assert_not_enqueued(double.s(Order(number=1)))


def test_what_is_no_model_fails_the_task(double):
    result = double.delay({"number": "many"})
    result.get(propagate=False)
    assert result.state == "FAILURE"


def test_values_that_a_model_knows_how_to_read(harness, app):
    class Invoice(BaseModel):
        total: Decimal
        due: datetime

    @app.task(pydantic=True)
    def tell(invoice: Invoice) -> list[str]:
        return [str(invoice.total), invoice.due.isoformat()]

    assert tell.delay({"total": "1.10", "due": "2030-01-01T00:00:00Z"}).get() == ["1.10", "2030-01-01T00:00:00+00:00"]


def test_strict_takes_no_text_for_a_number(harness, app):
    @app.task(pydantic=True, pydantic_strict=True)
    def strict(order: Order) -> int:
        return order.number

    @app.task(pydantic=True)
    def lax(order: Order) -> int:
        return order.number

    assert lax.delay({"number": "21"}).get() == 21
    strict.delay({"number": "21"})
    harness.settle()
    harness.assert_failed(strict, match="valid integer")


def test_the_context_of_the_validation(harness, app):
    class Tenanted(BaseModel):
        tenant: str

        @field_validator("tenant")
        @classmethod
        def is_known(cls, value, info):
            assert value in info.context["tenants"], f"nobody knows {value}"
            return value

    @app.task(pydantic=True, pydantic_context={"tenants": ["acme"]})
    def serve(given: Tenanted) -> str:
        return given.tenant

    assert serve.delay({"tenant": "acme"}).get() == "acme"
    serve.delay({"tenant": "other"})
    harness.settle()
    assert "nobody knows other" in str(harness.runs(serve)[-1].error)


def test_how_a_model_is_dumped(harness, app):
    @app.task(pydantic=True, pydantic_dump_kwargs={"exclude": {"lines"}})
    def give() -> Order:
        return Order(number=1, lines=["a"])

    assert give.delay().get() == {"number": 1}


def test_a_wrong_model_is_no_poison_but_a_failure_with_its_text(harness, double):
    double.delay({"number": "many"})
    harness.settle()
    run = harness.assert_failed(double, match="valid integer")
    assert len(run.attempts) == 1
