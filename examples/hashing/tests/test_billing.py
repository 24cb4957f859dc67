"""Which ways of writing something down once survive which plan."""

import pytest

from hashing import billing

#: Delivered again; a worker that dies somewhere, and a delivery to another one; two workers at once.
PLANS = {"again": "sequence", "crash": "crashes", "together": "together"}

SURVIVES = {
    billing.insert: set(),
    billing.select_then_insert: {"again", "crash"},
    billing.charge_then_mark: {"again"},
    billing.mark_then_charge: {"again", "together"},
    billing.unique_key: {"again", "crash", "together"},
    billing.upsert: {"again", "crash", "together"},
    billing.set_nx: {"again", "crash", "together"},
    billing.idempotency_key: {"again", "crash", "together"},
}
ROWS = [(task, plan) for task in SURVIVES for plan in PLANS]


def name(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize("task, plan", [row for row in ROWS if row[1] in SURVIVES[row[0]]], ids=name)
def test_survives(harness, bills, task, plan):
    harness.assert_idempotent(task.s("a job"), observe=bills.look, reset=bills.clear, plans=PLANS[plan])


@pytest.mark.parametrize("task, plan", [row for row in ROWS if row[1] not in SURVIVES[row[0]]], ids=name)
def test_does_not_survive(harness, bills, task, plan):
    with pytest.raises(AssertionError, match=rf"hashing\.billing\.{task.__name__}\('a job'\) is not idempotent"):
        harness.assert_idempotent(task.s("a job"), observe=bills.look, reset=bills.clear, plans=PLANS[plan])
