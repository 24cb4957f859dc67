"""A beat of the test process, whose tasks run in a real worker."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import process_beat_app as clockwork
import pytest

from pytest_taskharness import Harness
from pytest_taskharness.errors import FidelityError

START = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def server(redis_server):
    """What every test here needs."""


def test_entries_fire_at_their_instants_and_a_real_worker_runs_them(libfaketime):
    with Harness.open(clockwork.app, "redis+process", start=START) as harness:
        asked = harness.beat.simulate(minutes=31)
        assert harness.clock.now == START
        simulation = harness.beat.simulate(minutes=31, run=True)
        assert simulation.counts == asked.counts == {"every minute": 31, "at half past": 1}
        assert simulation.fires("every minute") == [START + n * MINUTE for n in range(1, 32)]
        assert [run.started_at for run in harness.runs()][:3] == [START + n * MINUTE for n in (1, 2, 3)]
        assert simulation.overlaps("every minute") == []


def test_settle_waits_for_work_and_not_for_a_beat(libfaketime):
    with Harness.open(clockwork.app, "redis+process", start=START) as harness, harness.beat.start() as beat:
        assert harness.settle().elapsed == timedelta(0)
        clockwork.strike.apply_async(countdown=90)
        assert harness.settle().elapsed == timedelta(seconds=90)
        assert beat.fires("every minute") == [START + MINUTE]
        assert len(harness.runs()) == 2


@pytest.mark.parametrize("drive", [Harness.drain, Harness.settle])
def test_a_beat_that_was_down_sends_at_once_what_is_due(drive, libfaketime):
    with Harness.open(clockwork.app, "redis+process", start=START) as harness:
        beat = harness.beat.start()
        beat.stop()
        harness.clock.advance(minutes=5)
        beat.resume()
        report = drive(harness)
        assert (report.counts, report.elapsed) == ({"SUCCESS": 1}, timedelta(0))
        assert beat.fires("every minute") == [START + 5 * MINUTE]
        assert len(beat.skipped("every minute")) == 4


def test_on_a_real_clock_beat_is_only_asked():
    with Harness.open(clockwork.app, "redis+process", clock="real") as harness:
        assert harness.beat.simulate(hours=1).counts["every minute"] == 60
        for run in (harness.beat.start, lambda: harness.beat.simulate(run=True, hours=1)):
            with pytest.raises(FidelityError, match="clock is real"):
                run()
