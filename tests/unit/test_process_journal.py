"""The journal: many writers, one reader, and nothing lost but what a killed writer did not write."""

from __future__ import annotations

import os
import select
import threading

import pytest

from pytest_taskharness.process.between.journal import FRAME, MAGIC, Journal, Pen


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def pen(tmp_path, journal):
    return Pen(tmp_path)


def rings(journal):
    return bool(select.select([journal], [], [], 0)[0])


def test_records_are_read_in_the_order_in_which_they_were_written(journal, pen):
    for number in range(3):
        pen.write({"number": number})
    assert [record["number"] for record in journal.read()] == [0, 1, 2]
    assert journal.read() == []


def test_the_bell_rings_until_it_is_answered(journal, pen):
    assert not rings(journal)
    pen.write({})
    pen.write({})
    assert rings(journal)
    journal.read()
    assert not rings(journal)


def test_a_bell_that_nobody_answers_does_not_hold_a_writer_up(journal, pen):
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pen._bell, b"!" * 4096)
    pen.write({"number": 1})
    assert [record["number"] for record in journal.read()] == [1]


def test_records_of_several_writers_do_not_mix(tmp_path, journal):
    def write(writer):
        pen = Pen(tmp_path)
        for number in range(200):
            pen.write({"writer": writer, "number": number, "ballast": "x" * 5000})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = journal.read()
    assert len(found) == 800
    for writer in range(4):
        assert [record["number"] for record in found if record["writer"] == writer] == list(range(200))


def test_a_forked_writer_goes_on_with_the_pen_of_its_parent(journal, pen):
    pid = os.fork()
    if pid == 0:
        pen.write({"pid": os.getpid()})
        os._exit(0)
    os.waitpid(pid, 0)
    assert journal.read() == [{"pid": pid}]


def test_a_record_that_is_not_there_in_full_is_waited_for(journal, pen, tmp_path):
    pen.write({"number": 1})
    whole = (tmp_path / "journal").read_bytes()
    os.ftruncate(pen._file, 0)
    os.write(pen._file, whole[:20])
    assert journal.read() == []
    os.write(pen._file, whole[20:])
    assert journal.read() == [{"number": 1}]


@pytest.mark.parametrize("torn", [MAGIC, MAGIC + b"\xff\xff\x00", FRAME.pack(MAGIC, 5000, 1) + b"begun", b"nonsense"])
def test_what_a_killed_writer_has_begun_is_passed_over(journal, pen, torn):
    pen.write({"number": 1})
    os.write(pen._file, torn)
    pen.write({"number": 2})
    pen.write({"number": 3})
    assert [record["number"] for record in journal.read()] == [1, 2, 3]


def test_nobody_else_may_read_it(tmp_path, journal):
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    assert (tmp_path / "bell").stat().st_mode & 0o077 == 0
