"""Tasks that take and give pydantic models.

No ``from __future__ import annotations`` here: Celery 5.5 reads a task's annotations as they are.
"""

import celery
import pytest
from pydantic import BaseModel

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


def test_what_is_no_model_fails_the_task(double):
    result = double.delay({"number": "many"})
    result.get(propagate=False)
    assert result.state == "FAILURE"
