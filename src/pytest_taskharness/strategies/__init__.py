"""Hypothesis strategies for task calls, faults and deliveries, and a state machine that steps a worker.

It needs the extra ``hypothesis``::

    from pytest_taskharness import strategies

    @given(call=strategies.calls(charge), plan=strategies.fault_plans(charge))
    def test_a_customer_pays_once(call, plan):
        with Harness.open(app) as harness:
            …
"""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ConfigurationError

if find_spec("hypothesis") is None:
    raise ConfigurationError(
        "pytest_taskharness.strategies needs Hypothesis, which is not installed. Install it with\n"
        "    pip install 'pytest-taskharness[hypothesis]'"
    )

from .calls import calls
from .machine import TaskMachine
from .plans import FaultPlan, crash_windows, fault_plans
from .schedules import DeliverySchedule, delivery_schedules

__all__ = [
    "DeliverySchedule",
    "FaultPlan",
    "TaskMachine",
    "calls",
    "crash_windows",
    "delivery_schedules",
    "fault_plans",
]
