"""Code is copied once for all tracebacks, and the tracebacks are what they were."""

from __future__ import annotations

import pickle
import traceback

import pytest
from billiard import einfo
from billiard.einfo import ExceptionInfo
from celery import Celery

from pytest_taskharness import Harness
from pytest_taskharness.worker import frames
from pytest_taskharness.worker.frames import code_copied_once


def fail():
    raise ValueError("boom")


def failed(body=fail):
    try:
        body()
    except ValueError:
        return ExceptionInfo()
    raise AssertionError


def code_of(info):
    """The copy of the code of the innermost frame."""
    return info.tb.tb_next.tb_frame.f_code


def test_a_copy_is_shared():
    with code_copied_once():
        first, second = failed(), failed()
    assert code_of(first) is code_of(second)


def test_what_is_copied_says_what_it_said_before():
    plain = failed()
    with code_copied_once():
        shared = [failed(), failed()]
    assert [info.traceback for info in shared] == [plain.traceback] * 2
    assert vars(code_of(shared[1])) == vars(code_of(plain))
    assert [traceback.format_tb(info.tb) for info in shared] == [traceback.format_tb(plain.tb)] * 2


def test_it_can_be_pickled():
    with code_copied_once():
        assert pickle.loads(pickle.dumps(failed())).traceback == failed().traceback


def test_equal_code_in_two_files_stays_apart():
    source = "def fail():\n    raise ValueError('boom')\n"
    bodies = []
    for name in ("one.py", "other.py"):
        scope = {}
        exec(compile(source, name, "exec"), scope)
        bodies.append(scope["fail"])
    assert bodies[0].__code__ == bodies[1].__code__
    with code_copied_once():
        assert [code_of(failed(body)).co_filename for body in bodies] == ["one.py", "other.py"]


def test_not_more_than_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(frames, "MOST", 3)
    monkeypatch.setattr(frames, "_copies", {})
    with code_copied_once():
        for number in range(5):
            scope = {}
            exec(compile("def fail():\n    raise ValueError", f"{number}.py", "exec"), scope)
            failed(scope["fail"])
    assert 0 < len(frames._copies) <= 3


def test_billiard_is_given_back_even_after_an_error():
    before = einfo._Frame.__dict__["Code"]
    with pytest.raises(ValueError, match="boom"), code_copied_once(), code_copied_once():
        fail()
    assert einfo._Frame.__dict__["Code"] is before


def test_a_harness_uses_it():
    app = Celery("frames", set_as_current=False)

    @app.task(shared=False)
    def task():
        fail()

    before = einfo._Frame.__dict__["Code"]
    with Harness.open(app, "memory") as harness:
        assert einfo._Frame.__dict__["Code"] is not before
        text = harness.perform(task.s()).traceback
    assert einfo._Frame.__dict__["Code"] is before
    assert text.splitlines()[-1] == "ValueError: boom"
