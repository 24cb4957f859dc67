"""The section that a report shows."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

from pytest_taskharness.report.section import MAX_ROWS, sections
from pytest_taskharness.timeline import Timeline
from pytest_taskharness.worker.report import Report

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


def only_section(harness):
    (section,) = sections(harness)
    return section


def harness(events=0):
    timeline = Timeline(START)
    for number in range(events):
        timeline.record("publish", START, task=f"task{number}", id=str(number), queue="celery")
    return SimpleNamespace(mode="memory", seed=7, timeline=timeline, worker_logs={})


def test_the_title_names_what_to_repeat_the_test_with():
    title, _ = only_section(harness())

    assert title == "taskharness timeline (memory, seed 7)"


def test_nothing_happened_is_said():
    _, text = only_section(harness())

    assert text == "nothing was published or run (t+0.000s is 2030-01-01T00:00:00+00:00)"


def test_the_first_line_says_when_the_clock_began():
    _, text = only_section(harness(1))

    assert text.splitlines() == [
        "t+0.000s is 2030-01-01T00:00:00+00:00",
        "t+0.000s  publish  task0 0  () queue='celery'",
    ]


def test_a_table_that_just_fits_is_whole():
    _, text = only_section(harness(MAX_ROWS))

    assert len(text.splitlines()) == MAX_ROWS + 1
    assert "not shown" not in text


def test_a_long_table_keeps_both_its_ends():
    _, text = only_section(harness(MAX_ROWS + 5))

    lines = text.splitlines()
    assert len(lines) == MAX_ROWS + 2
    assert "task0 " in lines[1]
    assert lines[1 + MAX_ROWS // 2] == "… 5 events not shown; harness.timeline has them all"
    assert f"task{MAX_ROWS + 4} " in lines[-1]


# -- what a verb did


def test_a_report_counts_attempts_by_outcome():
    timeline = harness(1).timeline
    seq = len(timeline)
    for kind, outcome in [("retry", "RETRY"), ("retry", "RETRY"), ("finish", "SUCCESS"), ("finish", None)]:
        timeline.record(kind, START, task="task0", id="0", outcome=outcome)
    timeline.record("revoke", START, task="task1", id="1")

    report = Report.since(timeline, seq, elapsed=START - START)

    assert report.counts == {"RETRY": 2, "SUCCESS": 1, "REVOKED": 1}
    assert [run.id for run in report.runs] == ["0", "1"]
    assert repr(report) == "<Report RETRY 2, SUCCESS 1, REVOKED 1 in 0:00:00>"


def test_a_report_of_nothing_says_so():
    assert repr(Report.since(harness(3).timeline, 3, elapsed=START - START)) == "<Report nothing ran in 0:00:00>"


class Unshowable(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")


def test_a_repr_that_raises_does_not_end_the_session():
    broken = harness()
    broken.timeline.record("finish", START, outcome="FAILURE", error=Unshowable())

    assert sections(broken)[0][1] == "the timeline could not be drawn: RuntimeError in a repr"


def test_real_workers_show_the_end_of_their_logs():
    shown = harness()
    shown.worker_logs = {"a": "[INFO] a@taskharness ready."}

    assert sections(shown)[1:] == [("taskharness log of worker 'a'", "[INFO] a@taskharness ready.")]


def test_a_cycle_of_a_thousand_turns_does_not_push_the_failure_out_of_sight():
    many = harness()
    for _ in range(1000):
        many.timeline.record("restore", START, task="task", id="1", note="not acknowledged for 3600 s")
    many.timeline.record("start", START, task="task", id="1")
    _, text = only_section(many)

    assert [line.split("  ")[1] for line in text.splitlines() if line.startswith("t+0.000s  ")] == [
        "restore", "restore", "start",
    ]  # fmt: skip
    assert "… this line 998 more times" in text
