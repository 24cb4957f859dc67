"""Which line of the user's code published a message."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_taskharness.recorder.callsite import call_site

HERE = os.path.relpath(__file__)


def line():
    return sys._getframe(1).f_lineno


def from_a_module(name, source):
    """The result of `f()` in a module of that name."""
    namespace = {"__name__": name, "call_site": call_site, "root": f"{Path.cwd()}/"}
    exec(compile(source, f"/elsewhere/{name}.py", "exec"), namespace)
    return namespace["f"]


def test_the_innermost_line_of_the_user_is_meant():
    before = line()
    site = call_site(f"{Path.cwd()}/")

    assert (site.file, site.line, site.function) == (HERE, before + 1, "test_the_innermost_line_of_the_user_is_meant")


def test_frames_of_celery_and_of_context_managers_are_passed_over():
    for plumbing in ("celery.app.task", "kombu.messaging", "contextlib", "pytest_taskharness.harness"):
        publish = from_a_module(plumbing, "def f():\n    return call_site(root)")

        before = line()
        site = publish()

        assert (site.file, site.line) == (HERE, before + 1)


def test_a_module_whose_name_only_begins_like_celery_is_the_users():
    site = from_a_module("celery_tasks", "def f():\n    return call_site(root)")()

    assert str(site) == "/elsewhere/celery_tasks.py:2 in f"


def test_what_celery_publishes_by_itself_has_no_line():
    """Between the body, which is the user's, and the test stands our pool."""
    pool = from_a_module("pytest_taskharness.worker.bodies.pool", "def f(body):\n    return body()")
    tracer = from_a_module("celery.app.trace", "def f():\n    return call_site(root)")

    assert pool(tracer) is None


def test_what_a_body_publishes_has_the_line_of_the_body():
    pool = from_a_module("pytest_taskharness.worker.bodies.pool", "def f(body):\n    return body()")
    body = from_a_module("shop", "def f():\n    return call_site(root)")

    assert str(pool(body)) == "/elsewhere/shop.py:2 in f"


def test_a_path_below_the_working_directory_is_shortened(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)

    assert call_site(f"{Path.cwd()}/").file == Path(__file__).name
