"""Beat: asked what it would send, and run with the world."""

from __future__ import annotations

import gc
import logging
import time
from datetime import datetime, timedelta, timezone

import pytest
from celery import Celery, signals
from celery.beat import PersistentScheduler, Scheduler
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.schedules import crontab, schedule
from scenario import START, after, eager_only, memory_only

from pytest_taskharness import Harness
from pytest_taskharness.errors import (
    ConfigurationError,
    Deadlock,
    FidelityError,
    HarnessClosed,
    NoSuchEntry,
    RunBudgetExceeded,
    ScheduleError,
    TimeTravelError,
)

stepped_only = pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)


@pytest.fixture
def entries(app, tasks):
    """The beat schedule, to be filled."""
    app.conf.beat_schedule = {}
    return app.conf.beat_schedule


def every(seconds, task="shop.noop", **more):
    return {"task": task, "schedule": seconds, **more}


# -- asked


def test_a_question_moves_no_clock_and_leaves_nothing_behind(entries, open_harness):
    entries["often"] = every(60, options={"queue": "made-by-asking"})
    with open_harness() as harness:
        events, queues = len(harness.timeline), list(harness.app.amqp.queues)
        simulation = harness.beat.simulate(hours=1)
        assert simulation.counts == {"often": 60}
        assert harness.clock.now == START
        assert (len(harness.timeline), list(harness.app.amqp.queues), harness.outbox) == (events, queues, [])
        assert harness.settle().runs == []


def test_the_start_is_not_in_it_and_the_end_is(entries, open_harness):
    entries["midnight"] = every(crontab(hour=0, minute=0))
    with open_harness() as harness:
        fires = harness.beat.simulate(days=2).fires("midnight")
    assert fires == [after(days=1), after(days=2)]


@memory_only
def test_fires_are_told_in_the_timezone_of_the_app(app, entries, open_harness):
    app.conf.timezone = "Europe/Berlin"
    entries["nightly"] = every(crontab(hour=2, minute=30))
    with open_harness() as harness:
        week = harness.beat.simulate(start="2030-03-29T00:00+01:00", days=2)
    assert [at.isoformat() for at in week.fires("nightly")] == [
        "2030-03-29T02:30:00+01:00",
        "2030-03-30T02:30:00+01:00",
    ]


@memory_only
def test_a_question_may_begin_in_the_past_and_in_the_future(entries, open_harness):
    entries["daily"] = every(crontab(hour=12, minute=0))
    with open_harness() as harness:
        assert harness.beat.simulate(start="2020-02-28T13:00Z", days=1).fires("daily") == [
            datetime(2020, 2, 29, 12, tzinfo=timezone.utc)
        ]
        assert harness.beat.simulate(start="2040-01-01T00:00Z", days=1).counts == {"daily": 1}
        assert harness.clock.now == START


@memory_only
def test_entries_come_from_everywhere(app, entries, tasks, open_harness):
    app.add_periodic_task(timedelta(minutes=30), tasks.add.s(1, 2), name="added")
    app.add_periodic_task(3600, tasks.noop.s())
    entries["relative"] = {**every(timedelta(hours=1)), "relative": True}
    entries["object"] = every(schedule(timedelta(minutes=20)))
    with open_harness(start="2030-01-01T00:10Z") as harness:
        simulation = harness.beat.simulate(hours=1)
    assert simulation.counts == {"added": 2, "shop.noop()": 1, "relative": 1, "object": 3}
    assert simulation.fires("relative") == [after(hours=1)]


@memory_only
def test_the_busiest_minute_is_a_herd(entries, open_harness):
    entries.update(a=every(crontab(minute=0)), b=every(crontab(minute=0, hour="*/2")), c=every(20))
    with open_harness() as harness:
        busiest = harness.beat.simulate(hours=3).busiest()
        assert harness.beat.simulate(seconds=19).busiest() is None
    assert busiest == (after(hours=2), 5, {"a": 1, "b": 1, "c": 3})


@memory_only
def test_a_simulation_prints_as_a_table(entries, open_harness):
    entries.update(hourly=every(3600), never=every(crontab(month_of_year=7)))
    with open_harness() as harness:
        lines = str(harness.beat.simulate(hours=2)).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["entry", "fires", "first", "last", "skipped"],
        ["hourly", "2", "2030-01-01T01:00:00+00:00", "2030-01-01T02:00:00+00:00", "0"],
        ["never", "0", "-", "-", "0"],
    ]
    assert lines[3] == "busiest minute: 2030-01-01T01:00:00+00:00, 1 sent: hourly"


@memory_only
def test_a_schedule_of_the_users_own_is_asked_at_every_tick(entries, open_harness):
    class Twice(schedule):
        """Due in its second and third hour."""

        def is_due(self, last_run_at):
            due = timedelta(hours=2) <= self.now() - START < timedelta(hours=4)
            return due and self.now() - last_run_at >= timedelta(hours=1), 60

    entries["odd"] = every(Twice(timedelta(hours=1)))
    with open_harness() as harness:
        assert harness.beat.simulate(hours=8).fires("odd") == [after(hours=2), after(hours=3)]


@memory_only
def test_a_scheduler_of_the_users_own_is_ticked(entries, open_harness):
    class Late(Scheduler):
        def tick(self, **kwargs):
            return max(super().tick(**kwargs), 45) if self.app.conf.is_late else super().tick(**kwargs)

    entries["often"] = every(60)
    with open_harness(config={"is_late": False}) as harness:
        assert harness.beat.simulate(scheduler=Late, minutes=10).counts == {"often": 10}


# -- run


def test_entries_fire_as_the_clock_moves(entries, open_harness):
    entries["sum"] = every(60, "shop.add", args=(1,), kwargs={"y": 2}, options={"priority": 3, "expires": 30})
    with open_harness() as harness:
        beat = harness.beat.start()
        report = harness.clock.advance(minutes=3)
        assert [run.result for run in report.runs] == [3, 3, 3]
        assert [run.started_at for run in report.runs] == beat.fires("sum") == [after(minutes=n) for n in (1, 2, 3)]
        message = harness.outbox[0]
        assert (message.options["priority"], str(message.call_site)) == (3, "beat entry 'sum'")


@memory_only
@pytest.mark.parametrize("microseconds", [13, 54_379, 333_333, 919_191])
def test_an_entry_fires_at_the_very_microsecond_wherever_it_begins(microseconds, entries, open_harness):
    entries["often"], entries["minutely"] = every(10), every(crontab())
    with open_harness(start=START + timedelta(microseconds=microseconds)) as harness:
        two = harness.beat.simulate(minutes=2, run=True)
        assert two.fires("often") == [harness.timeline.start + timedelta(seconds=10 * n) for n in range(1, 13)]
        assert two.fires("minutely") == [after(minutes=1), after(minutes=2)]


def test_the_timeline_says_which_entry_it_was(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        harness.beat.start()
        harness.clock.advance(seconds=60)
        [run] = harness.runs("shop.noop")
        [fire] = [event for event in run.timeline if event.kind == "beat fire"]
        assert (fire.at, fire.task, fire.id) == (after(minutes=1), "shop.noop", run.id)
        assert fire.detail == {
            "beat": "beat", "entry": "often", "schedule": "<freq: 1.00 minute>", "due": after(minutes=1),
        }  # fmt: skip
        assert "beat fire" in str(harness.timeline) and "'often' <freq: 1.00 minute>" in str(harness.timeline)


def test_simulate_may_run_what_is_due(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        simulation = harness.beat.simulate(start=after(hours=1), run=True, minutes=5)
        assert simulation.fires("often") == [after(hours=1, minutes=n) for n in range(1, 6)]
        assert harness.clock.now == after(hours=1, minutes=5)
        assert [run.state for run in harness.runs("shop.noop")] == ["SUCCESS"] * 5
        assert simulation.overlaps("often") == simulation.skipped("often") == []
        harness.clock.advance(hours=1)
        assert len(harness.runs("shop.noop")) == 5


def test_settle_does_not_wait_for_a_beat_but_lets_it_fire_on_the_way(entries, tasks, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        harness.beat.start()
        assert harness.settle().elapsed == timedelta(0)
        tasks.add.apply_async((1, 2), countdown=150)
        assert harness.settle().elapsed == timedelta(seconds=150)
        assert len(harness.runs("shop.noop")) == 2


@stepped_only
def test_a_step_is_a_fire_or_a_delivery(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        harness.beat.start()
        assert harness.step() is None
        with harness.worker().hold_in("shop.noop"):  # nothing runs while the clock moves
            harness.clock.advance(seconds=60)
        [run] = harness.runs("shop.noop")
        assert harness.step() == run and run.state == "SUCCESS"
        assert harness.step() is None


@stepped_only
def test_a_run_that_is_slower_than_its_schedule_overlaps(app, entries, open_harness):
    @app.task(name="shop.slow", shared=False)
    def slow():
        time.sleep(150)

    entries["slow"] = every(60, "shop.slow")
    with open_harness() as harness:
        simulation = harness.beat.simulate(minutes=5, run=True)
        first, second, *_ = runs = harness.runs("shop.slow")
        assert simulation.fires("slow") == [after(minutes=n) for n in range(1, 6)]
        assert simulation.overlaps("slow")[0] == (after(minutes=2), second, [first])
        assert simulation.overlaps("slow")[2].unfinished == [second, runs[2]]
        assert after(minutes=5) <= harness.clock.now < after(minutes=8)
        assert "overlaps" in str(simulation)


@stepped_only
def test_what_expires_before_it_runs_is_skipped(app, entries, open_harness):
    @app.task(name="shop.slow", shared=False)
    def slow():
        time.sleep(150)

    entries["slow"] = every(60, "shop.slow", options={"expires": 59})
    with open_harness() as harness:
        simulation = harness.beat.simulate(minutes=6, run=True)
        assert simulation.skipped("slow") == [after(minutes=n) for n in (2, 4, 5)]
        started = [run.started_at for run in harness.runs("shop.slow") if run.attempts]
        assert started == [after(seconds=60), after(seconds=210), after(seconds=360)]


@eager_only
def test_in_eager_mode_the_body_runs_inside_beat_and_makes_it_late(app, entries, open_harness):
    @app.task(name="shop.slow", shared=False)
    def slow():
        time.sleep(150)

    entries["slow"] = every(60, "shop.slow")
    with open_harness() as harness:
        simulation = harness.beat.simulate(minutes=12, run=True)
        assert simulation.overlaps("slow") == []
        assert simulation.skipped("slow")[0] == after(minutes=2)


def test_a_message_of_beat_has_no_parent_wherever_it_was_sent(app, entries, tasks, open_harness):
    @app.task(name="shop.nap", shared=False)
    def nap():
        time.sleep(150)

    entries["often"] = every(60)
    with open_harness() as harness:
        harness.beat.start()
        nap.delay()
        harness.settle()
        runs = harness.runs("shop.noop")
        assert len(runs) == 2
        assert [run.parent for run in runs] == [None, None]


def test_a_beat_that_was_down_sends_once_and_goes_on(entries, open_harness):
    entries["hourly"] = every(crontab(minute=0))
    with open_harness() as harness:
        beat = harness.beat.start()
        harness.clock.advance(hours=1, minutes=30)
        beat.stop()
        harness.clock.advance(hours=3)
        beat.resume()
        harness.clock.advance(minutes=45)
        assert beat.fires("hourly") == [after(hours=1), after(hours=4, minutes=30), after(hours=5)]
        assert beat.skipped("hourly") == [after(hours=2), after(hours=3)]


def test_last_run_at_says_since_when_a_beat_was_down(entries, open_harness):
    entries["hourly"] = every(crontab(minute=0))
    with open_harness() as harness:
        beat = harness.beat.start(last_run_at="2029-12-31T21:30Z")
        harness.drain()
        assert beat.fires("hourly") == [START]
        assert beat.skipped("hourly") == [after(hours=-2), after(hours=-1)]


def test_two_beats_send_everything_twice(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        first, second = harness.beat.start(), harness.beat.start()
        harness.clock.advance(minutes=2)
        assert (first.name, second.name) == ("beat", "beat2")
        assert first.fires("often") == second.fires("often") == [after(minutes=1), after(minutes=2)]
        assert len(harness.runs("shop.noop")) == 4


def test_a_with_block_stops_it(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        with harness.beat.start() as beat:
            harness.clock.advance(seconds=60)
        harness.clock.advance(hours=1)
        assert beat.counts == {"often": 1}
        beat.stop()
        assert repr(beat) == "<Beat beat is stopped, 1 fires>"
    with pytest.raises(HarnessClosed):
        beat.resume()


@memory_only
def test_two_apps_have_a_beat_each(entries, open_harness):
    entries["often"] = every(60)
    other = Celery("other", set_as_current=False)

    @other.task(name="other.tick", shared=False)
    def tick():
        return None

    other.conf.beat_schedule = {"rarely": every(90, "other.tick")}
    with open_harness() as first, Harness.open(other) as second:
        one, two = first.beat.start(), second.beat.start()
        first.clock.advance(minutes=3)
        assert (one.fires("often"), two.fires("rarely")) == (
            [after(minutes=n) for n in (1, 2, 3)],
            [after(seconds=90), after(seconds=180)],
        )
        assert (len(first.runs()), len(second.runs())) == (3, 2)


@stepped_only
def test_waiting_with_a_timeout_lets_a_beat_fire_and_without_one_it_is_a_deadlock(app, entries, tasks, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        beat = harness.beat.start()
        with pytest.raises(CeleryTimeoutError):
            app.AsyncResult("nobody").get(timeout=150)
        assert beat.fires("often") == [after(minutes=1), after(minutes=2)]
        assert harness.clock.now == after(seconds=150)
        with pytest.raises(Deadlock, match=r"beat goes on for ever"):
            app.AsyncResult("nobody").get()


@stepped_only
def test_work_that_a_beat_makes_faster_than_it_is_done_is_not_drained_for_ever(app, entries, monkeypatch, open_harness):
    monkeypatch.setattr("pytest_taskharness.worker.world.MOST_RUNS", 20)

    @app.task(name="shop.slow", shared=False)
    def slow():
        time.sleep(150)

    entries["slow"] = every(60, "shop.slow")
    with open_harness() as harness:
        harness.beat.start()
        harness.clock.advance(minutes=2)
        with pytest.raises(RunBudgetExceeded, match=r"drain\(\) started 20 task bodies"):
            harness.drain()


@memory_only
def test_the_file_of_the_default_scheduler_is_not_written(entries, tmp_path, monkeypatch, open_harness):
    monkeypatch.chdir(tmp_path)
    entries["often"] = every(60)
    with open_harness() as harness:
        beat = harness.beat.start()
        assert type(beat.scheduler) is Scheduler
        harness.clock.advance(minutes=2)
    assert list(tmp_path.iterdir()) == []


@memory_only
def test_a_persistent_scheduler_that_is_asked_for_remembers_in_a_directory_of_the_test(
    entries, tmp_path, monkeypatch, open_harness
):
    monkeypatch.chdir(tmp_path)
    entries["hourly"] = every(crontab(minute=0))
    with open_harness() as harness:
        beat = harness.beat.start("celery.beat:PersistentScheduler")
        assert type(beat.scheduler) is PersistentScheduler
        harness.clock.advance(minutes=90)
        assert beat.counts == {"hourly": 1}
    assert list(tmp_path.iterdir()) == []


@memory_only
@pytest.mark.filterwarnings("error")
def test_a_question_to_a_persistent_scheduler_finds_nothing_and_leaves_nothing(entries, open_harness):
    entries["hourly"] = every(crontab(minute=0))
    with open_harness() as harness:
        beat = harness.beat.start(PersistentScheduler)
        found = [harness.beat.simulate(hours=2, scheduler=PersistentScheduler).fires("hourly") for _ in range(2)]
        gc.collect()
        harness.clock.advance(hours=3)
        assert found == [[after(hours=1), after(hours=2)]] * 2
        assert beat.fires("hourly") == [after(hours=1), after(hours=2), after(hours=3)]


@memory_only
@pytest.mark.parametrize("scheduler", [None, PersistentScheduler])
def test_the_timezone_of_the_last_test_is_forgotten(entries, scheduler, open_harness):
    entries["nightly"] = every(crontab(hour=2, minute=0))
    found = []
    for zone in ("Europe/Berlin", "America/New_York", "UTC"):
        with open_harness(config={"timezone": zone}) as harness:
            found.append(harness.beat.simulate(days=1, run=True, scheduler=scheduler).fires("nightly"))
    assert found == [[after(hours=1)], [after(hours=7)], [after(hours=2)]]


@memory_only
def test_what_is_told_by_entries_is_in_the_order_of_their_names(entries, open_harness):
    entries.update({name: every(60) for name in "hgfedcba"})
    with open_harness() as harness:
        for simulation in (harness.beat.simulate(minutes=1), harness.beat.simulate(minutes=1, run=True)):
            assert "".join(simulation.counts) == "".join(simulation.busiest().entries) == "abcdefgh"


@memory_only
def test_beats_have_names_of_their_own(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        names = [harness.beat.start(name=name).name for name in ("beat2", None, None)]
    assert names == ["beat2", "beat", "beat3"]


@memory_only
def test_beat_init_is_sent_where_a_beat_runs_and_not_where_it_is_asked(entries, open_harness):
    entries["often"] = every(60)
    seen = []

    def remember(sender, **kwargs):
        seen.append(sender)

    signals.beat_init.connect(remember)
    with open_harness() as harness:
        harness.beat.simulate(minutes=1)
        assert seen == []
        harness.beat.start()
    assert len(seen) == 1


# -- what goes wrong


@stepped_only
def test_an_entry_that_cannot_be_sent_is_loud(app, entries, caplog, open_harness):
    entries["bad"] = every(60, "shop.echo", args=(object(),))
    entries["good"] = every(60)
    with open_harness() as harness:
        beat = harness.beat.start()
        with pytest.raises(ScheduleError, match=r"beat could not send entry 'bad' \(shop.echo\)"):
            harness.clock.advance(minutes=1)
        [fault] = [event for event in harness.timeline if event.kind == "fault"]
        assert "'bad'" in fault.detail["note"]
        harness.drain()
        assert beat.counts == {"bad": 0, "good": 1}


@stepped_only
def test_a_beat_during_an_outage_loses_what_it_cannot_send(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        beat = harness.beat.start()
        harness.clock.advance(minutes=1)
        with harness.broker.outage():
            harness.clock.advance(minutes=1)
        harness.clock.advance(minutes=1)
        assert len(beat.fires("often")) == 2
        assert any("could not send" in event.detail.get("note", "") for event in harness.timeline)


@memory_only
@pytest.mark.parametrize("entry, said", [
    (every(60, "shop.ad"), "no task 'shop.ad' is registered on app 'shop'; did you mean 'shop.add'?"),
    (every(60, "shop.add", args=(1,)), "its arguments do not fit shop.add(x, y)"),
    (every(60, "shop.add", kwargs={"x": 1, "z": 2}), "its arguments do not fit shop.add(x, y)"),
    (every("*/5 * * * *"), "'schedule' takes seconds, a timedelta, crontab(…) or solar(…); found: '*/5 * * * *'"),
    (every(0), "it is due every 0 seconds, which never ends"),
    ({"task": "shop.noop"}, "'schedule' takes seconds"),
    ({"schedule": 60}, "it has no 'task'"),
    (every(60, arg=(1,)), "'arg' is no key of an entry. Did you mean 'args'?"),
    ("shop.noop", "an entry is a dict with 'task' and 'schedule'; found: 'shop.noop'"),
    (every(60, args=5), "'args' takes a list or a tuple; found: 5"),
    (every(60, "shop.echo", args="x"), "'args' takes a list or a tuple; found: 'x'"),
    (every(60, kwargs=["x"]), "'kwargs' takes a dict; found: ['x']"),
    (every(60, options="reports"), "'options' takes a dict; found: 'reports'"),
    (every(float("inf")), "it is due every inf seconds, which no calendar reaches"),
    (every(float("nan")), "it is due every nan seconds, which no calendar reaches"),
    (every(timedelta.max), "which no calendar reaches"),
])  # fmt: skip
def test_a_schedule_that_cannot_work_is_said_before_anything_runs(entries, open_harness, entry, said):
    entries.update(odd=entry, good=every(60))
    with open_harness() as harness:
        for ask in (harness.beat.start, lambda: harness.beat.simulate(hours=1)):
            with pytest.raises(ScheduleError) as raised:
                ask()
            assert "'odd': " in str(raised.value) and said in str(raised.value)
            assert "'good'" not in str(raised.value)
        assert harness.clock.advance(hours=1).runs == []


@memory_only
def test_a_queue_that_nobody_consumes(entries, open_harness):
    entries["odd"] = every(60, options={"queue": "reports"})
    with open_harness() as harness:
        harness.beat.start().stop()
        harness.worker("w", queues=["report"])
        assert harness.beat.simulate(hours=1).counts == {"odd": 60}
        with pytest.raises(ScheduleError, match=r"no worker consumes its queue 'reports' \(w consumes report\)"):
            harness.beat.start()


@memory_only
def test_a_queue_that_does_not_exist(app, entries, open_harness):
    app.conf.task_create_missing_queues = False
    entries["odd"] = every(60, options={"queue": "celry"})
    with open_harness() as harness, pytest.raises(ScheduleError, match=r"queue 'celry' does not exist.* 'celery'\?"):
        harness.beat.simulate(hours=1)


@memory_only
def test_an_empty_schedule_says_where_entries_come_from(entries, open_harness):
    with open_harness() as harness, pytest.raises(ScheduleError, match=r"is empty.*on_after_configure"):
        harness.beat.simulate(days=1)


@memory_only
def test_a_name_that_is_none(entries, open_harness):
    entries["nightly-report"] = every(60)
    with open_harness() as harness:
        simulation = harness.beat.simulate(hours=1)
        for ask in (simulation.fires, simulation.skipped):
            with pytest.raises(NoSuchEntry, match="Did you mean 'nightly-report'"):
                ask("nightly_report")
        with pytest.raises(FidelityError, match="run=True"):
            simulation.overlaps("nightly-report")


@memory_only
def test_arguments_that_cannot_be(entries, open_harness):
    entries["often"] = every(60)
    with open_harness() as harness:
        beat = harness.beat
        for wrong, error, said in [
            (beat.simulate, TimeTravelError, "takes how long"),
            (lambda: beat.simulate(day=1), TimeTravelError, "Did you mean 'days'"),
            (lambda: beat.simulate(days=-1), TimeTravelError, "more than nothing"),
            (lambda: beat.simulate(start="2029-01-01T00:00Z", run=True, days=1), TimeTravelError, "in the past"),
            (lambda: beat.simulate(start="2029-01-01", days=1), ConfigurationError, "naive"),
            (lambda: beat.start("celery.beat:Persistent"), ConfigurationError, "cannot be imported"),
            (lambda: beat.start(dict), ConfigurationError, "subclass of celery.beat.Scheduler"),
            (lambda: beat.start(PersistentScheduler, last_run_at=START), ConfigurationError, "remembers nothing"),
            (lambda: beat.start(last_run_at="soon"), ConfigurationError, "last_run_at='soon' is no ISO 8601 time"),
            (lambda: beat.simulate("0001-01-01T00:00+05:00", days=1), ConfigurationError, "no time in UTC"),
            (lambda: [beat.start(name="x"), beat.start(name="x")], ConfigurationError, "of this name"),
            (lambda: beat.start(name=["y"]), ConfigurationError, r"takes a text; given: \['y'\]"),
            (lambda: beat.start().resume(), ConfigurationError, "runs already"),
        ]:
            with pytest.raises(error, match=said):
                wrong()


@memory_only
def test_a_scheduler_that_raises_ends_its_beat(entries, caplog, open_harness):
    class Broken(Scheduler):
        def tick(self, **kwargs):
            if self.app.now() > START + timedelta(minutes=5):
                raise OSError("no database")
            return super().tick(**kwargs)

    entries["often"] = every(60)
    with open_harness() as harness, caplog.at_level(logging.CRITICAL):
        beat = harness.beat.start(Broken)
        with pytest.raises(ScheduleError, match=r"beat has died: its scheduler raised OSError: no database"):
            harness.clock.advance(hours=1)
        assert beat.counts == {"often": 5}
        harness.clock.advance(hours=1)
        assert len(harness.runs()) == 5
