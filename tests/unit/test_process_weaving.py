"""One story from the records of several processes."""

from __future__ import annotations

import itertools

import pytest

from pytest_taskharness.process.outside.weaving import Weaver

MAIN, CHILD, OTHER = (1, 1), (2, 1), (3, 1)


def record(kind, stream, *, id="t", tag="m0", retries=0, redelivered=False, acks_late=False):
    detail = {"retries": retries, "redelivered": redelivered}
    about = {"retries": retries, "acks_late": acks_late}
    return {"kind": kind, "stream": stream, "id": id, "tag": tag, "detail": detail, "about": about}


def told(weaver, records):
    return [(each["kind"], each["stream"]) for given in records for each in weaver.take(given)]


def interleavings(*streams):
    """Every order in which several writers can have written."""
    owners = [number for number, stream in enumerate(streams) for _ in stream]
    for order in sorted(set(itertools.permutations(owners))):
        queues = [list(stream) for stream in streams]
        yield [queues[owner].pop(0) for owner in order]


def test_an_early_acknowledgement_is_told_before_the_body_however_they_were_written():
    main = [record("deliver", MAIN), record("receive", MAIN), record("ack", MAIN)]
    child = [record("start", CHILD), record("store", CHILD), record("finish", CHILD)]
    for written in interleavings(main, child):
        weaver = Weaver()
        weaver.published("t", 0)
        assert [kind for kind, _ in told(weaver, written)] == ["deliver", "receive", "ack", "start", "store", "finish"]
        assert not weaver.is_waiting


def test_a_late_one_after_it():
    weaver = Weaver()
    weaver.published("t", 0)
    late = {"acks_late": True}
    written = [
        record("deliver", MAIN),
        record("receive", MAIN, **late),
        record("start", CHILD),
        record("finish", CHILD),
    ]
    assert [kind for kind, _ in told(weaver, [*written, record("ack", MAIN)])][-2:] == ["finish", "ack"]


def test_where_the_receiver_runs_the_body_itself_its_own_order_holds():
    weaver = Weaver()
    weaver.published("t", 0)
    kinds = ["deliver", "receive", "start", "finish", "ack"]
    assert [kind for kind, _ in told(weaver, [record(kind, MAIN) for kind in kinds])] == kinds


def test_a_delivery_waits_for_its_publish():
    weaver = Weaver()
    early = told(weaver, [record("deliver", MAIN), record("receive", MAIN)])
    assert early == [] and weaver.is_waiting
    assert [kind for kind, _ in told(weaver, [record("publish", OTHER)])] == ["publish", "deliver", "receive"]


def test_a_retry_is_delivered_when_the_attempt_before_has_ended():
    weaver = Weaver()
    weaver.published("t", 0)
    first = [record("deliver", MAIN), record("receive", MAIN), record("ack", MAIN), record("start", CHILD)]
    overlap = [
        record("publish", CHILD, retries=1), record("deliver", MAIN, retries=1, tag="m1"),
        record("receive", MAIN, tag="m1"), record("start", OTHER), record("ack", MAIN, tag="m1"),
        record("store", CHILD), record("retry", CHILD), record("finish", OTHER),
    ]  # fmt: skip
    assert [kind for kind, _ in told(weaver, [*first, *overlap])] == [
        "deliver", "receive", "ack", "start", "publish", "store", "retry",
        "deliver", "receive", "ack", "start", "finish",
    ]  # fmt: skip


def test_a_late_note_of_an_early_acknowledgement_is_not_held_back_by_the_retry_that_has_come_meanwhile():
    weaver = Weaver()
    weaver.published("t", 0)
    written = [
        record("deliver", MAIN), record("receive", MAIN), record("start", CHILD), record("publish", CHILD, retries=1),
        record("deliver", MAIN, retries=1, tag="m1"), record("receive", MAIN, tag="m1"), record("ack", MAIN),
        record("store", CHILD), record("retry", CHILD),
    ]  # fmt: skip
    assert [kind for kind, _ in told(weaver, written)] == [
        "deliver", "receive", "ack", "start", "publish", "store", "retry", "deliver", "receive"
    ]  # fmt: skip


def test_a_redelivery_needs_no_publish():
    weaver = Weaver()
    assert told(weaver, [record("deliver", MAIN, redelivered=True)]) == [("deliver", MAIN)]


@pytest.mark.parametrize("other", ["u", None])
def test_one_task_does_not_wait_for_another(other):
    weaver = Weaver()
    assert told(weaver, [record("deliver", MAIN)]) == []
    assert told(weaver, [record("revoke", MAIN, id=other)]) == [("revoke", MAIN)]


def test_what_nothing_can_explain_any_more_is_told_as_it_was_written():
    weaver = Weaver()
    written = [record("deliver", MAIN), record("start", CHILD), record("receive", MAIN)]
    assert told(weaver, written) == []
    assert [each["kind"] for each in weaver.rest()] == ["deliver", "start", "receive"]
    assert not weaver.is_waiting


def test_what_a_beat_publishes_is_delivered_after_the_beat_has_told_of_it():
    published = record("publish", OTHER, tag=None)
    published["about"] = {"fires": True}
    beat = [published, record("beat fire", OTHER, tag=None)]
    main = [record("deliver", MAIN), record("receive", MAIN)]
    for written in interleavings(beat, main):
        weaver = Weaver()
        assert [kind for kind, _ in told(weaver, written)] == ["publish", "beat fire", "deliver", "receive"]
        assert not weaver.is_waiting
