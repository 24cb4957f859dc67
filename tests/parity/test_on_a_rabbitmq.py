"""What depends on the broker looks the same with a real worker on a real RabbitMQ as with a stepped one."""

from __future__ import annotations

import pytest
from matrix import played
from parity_app import app
from parity_scenario import load
from parity_trace import difference

ORACLE = "rabbitmq+process"
# Where on_failure raises, Celery warns in the worker's own process, which is ours.
pytestmark = pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
#: `python tests/parity/matrix.py` plays all of them, and takes its time.
CHOSEN = [
    "chords.chords_in_a_chord",
    "control.a_queue_that_is_added",
    "delivery.killed_and_run_again",
    "delivery.published_twice_under_one_id",
    "delivery.rejected_and_requeued",
    "delivery.late_and_failing_without_ack",
    "prefetch.priorities_of_what_is_taken",
    "retries.into_another_queue",
    "routing.priorities_that_are_inherited",
    "timing.expired_while_it_was_held",
]


@pytest.fixture
def on_amqp(monkeypatch):
    """The memory broker follows RabbitMQ's rules."""
    before = app.conf.broker_url
    app.conf.broker_url = "amqp://"
    yield
    app.conf.broker_url = before


@pytest.mark.usefixtures("on_amqp")
@pytest.mark.parametrize("name", CHOSEN)
def test_a_scenario_looks_the_same_as_with_a_real_worker(name, needs):
    needs(ORACLE)
    scenario = load()[name]
    oracle = played(scenario, ORACLE)
    assert oracle.trace is not None, "\n".join(oracle.text)

    for mode in ("rabbitmq", "memory"):
        cell = played(scenario, mode)
        assert cell.trace is not None, "\n".join(cell.text)
        assert difference(oracle.trace, cell.trace, names=(ORACLE, mode)) == []
