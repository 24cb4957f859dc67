"""Timers that repeat themselves for ever: a boot step's, and a strategy's that looks whether its batch is full."""

from __future__ import annotations

import pytest
from celery import bootsteps
from celery.worker.strategy import default as default_strategy
from scenario import memory_only, passed, starts

from pytest_taskharness.errors import Deadlock

STEPPED = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
EVERY = 10.0


@pytest.fixture
def ticks(app):
    """The virtual seconds at which a boot step of the user's has looked around."""
    ticks = []

    class Looking(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Timer",)

        def start(self, worker):
            began = worker.timer._time.now
            self.entry = worker.timer.call_repeatedly(
                EVERY, lambda: ticks.append((worker.timer._time.now - began).total_seconds())
            )

        def stop(self, worker):
            self.entry.cancel()

    app.steps["worker"].add(Looking)
    return ticks


@STEPPED
def test_alone_it_is_no_work(ticks, tasks, open_harness):
    harness = open_harness()
    tasks.noop.delay()
    harness.settle()
    assert (passed(harness), ticks) == (0, [])


@STEPPED
def test_it_goes_off_at_each_of_its_instants(ticks, open_harness):
    harness = open_harness()
    harness.clock.advance(seconds=35)
    assert (passed(harness), ticks) == (35, [10, 20, 30])


@STEPPED
def test_it_goes_off_on_the_way_to_what_is_due(ticks, tasks, open_harness):
    harness = open_harness()
    tasks.noop.apply_async(countdown=25)
    harness.settle()
    assert (passed(harness), ticks) == (25, [10, 20])


@STEPPED
def test_nobody_waits_for_it(ticks, tasks, app, open_harness):
    harness = open_harness()
    with pytest.raises(Deadlock):
        app.AsyncResult("nobody's").get()
    assert ticks == []
    with pytest.raises(Deadlock):
        app.AsyncResult("nobody's").get(timeout=25)
    assert (passed(harness), ticks) == (25, [10, 20])


@memory_only
def test_beside_a_message_that_is_held_for_good_it_is_no_work_either(ticks, tasks, app, open_harness):
    """Each of its times could be the one at which a strategy lets go, but not ten thousand in a row."""
    app.conf.broker_url = "sqs://nobody.invalid"
    tasks.noop.acks_late = True
    harness = open_harness()
    harness.worker().hold_in(tasks.noop)
    tasks.noop.delay()
    harness.settle()
    assert len(ticks) == 10_000


@memory_only
def test_a_strategy_that_looks_again_and_again_is_waited_for(app, open_harness):
    app.conf.broker_url = "sqs://nobody.invalid"
    looks = []

    class Patient(app.Task):
        def Strategy(self, task, app, consumer):  # noqa: N802 - Celery's name
            handle = default_strategy(task, app, consumer)

            def task_message_handler(*message, **kwargs):
                def look():
                    looks.append(1)
                    if len(looks) == 3:
                        handle(*message, **kwargs)

                consumer.timer.call_repeatedly(EVERY, look)

            return task_message_handler

    @app.task(base=Patient, name="shop.patient", shared=False)
    def patient():
        pass

    harness = open_harness()
    patient.delay()
    harness.settle()
    assert starts(harness.run_of(patient)) == [30]
    assert len(looks) == 3
