"""celery-batches, whose strategy collects messages; no scenarios where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from parity_scenario import APART, outcome, scenario, task_apart

if find_spec("celery_batches"):

    @scenario(imports=APART)
    def a_full_batch(harness):
        """As many messages as flush_every says are one batch."""
        results = [task_apart("double").delay(number) for number in range(3)]
        harness.settle()
        return outcome(*results)

    @scenario(imports=APART)
    def a_batch_by_its_interval(harness):
        """Fewer wait for flush_interval."""
        results = [task_apart("double").delay(number) for number in range(2)]
        harness.settle()
        return outcome(*results)

    @scenario(imports=APART)
    def a_batch_and_a_half(harness):
        """What is left over waits for the next one."""
        results = [task_apart("double").delay(number) for number in range(4)]
        harness.settle()
        return outcome(*results)

    @scenario(imports=APART)
    def a_batch_that_fails(harness):
        """Its error is logged; nothing is stored, and the messages are gone."""
        result = task_apart("double").delay(-1)
        harness.settle()
        return outcome(result), harness.run_of(result).acked

    @scenario(imports=APART)
    def a_batch_that_sleeps(harness):
        """All its messages sleep with it."""
        results = [task_apart("double").delay(number) for number in (-2, 7)]
        harness.settle()
        return outcome(*results)

    @scenario(imports=APART)
    def a_result_of_a_batch(harness):
        """get() waits for the batch."""
        return task_apart("double").delay(21).get(timeout=20)
