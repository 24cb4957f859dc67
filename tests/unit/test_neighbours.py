"""Which names are left to other plugins, and which error of theirs is explained."""

from __future__ import annotations

import types

import pytest

from pytest_taskharness import fixtures
from pytest_taskharness.neighbours import explained, without_theirs


def module(name="suite_fixtures", **names):
    made = types.ModuleType(name)
    made.__file__ = f"/suite/{name}.py"
    vars(made).update(names)
    return made


@pytest.fixture
def theirs():
    """A fixture that another plugin calls ``harness``."""

    @pytest.fixture
    def harness(): ...

    return harness


def left(*plugins):
    found = without_theirs(fixtures, plugins)
    return {"harness", "memory_harness", "taskharness_app"} - set(vars(found))


def test_a_name_of_another_plugin_is_left_to_it(theirs):
    assert left(module(harness=theirs)) == {"harness"}


def test_a_fixture_may_have_another_name_than_its_function():
    @pytest.fixture(name="memory_harness")
    def function(): ...

    assert left(module(function=function)) == {"memory_harness"}


def test_a_plugin_may_be_an_object(theirs):
    class Plugin:
        harness = theirs

    assert left(Plugin()) == {"harness"}


def test_what_is_no_fixture_takes_no_name():
    def harness(): ...

    assert left(module(harness=harness, memory_harness="text", taskharness_app=object())) == set()


def test_a_conftest_overrides_for_its_directory_only(theirs):
    assert left(module("conftest", harness=theirs)) == set()


def test_where_no_name_is_taken_nothing_is_copied():
    assert without_theirs(fixtures, [module(), object(), None]) is fixtures


# -- pytest-celery without Docker

DockerException = type("DockerException", (Exception,), {"__module__": "docker.errors"})
ImageNotFound = type("ImageNotFound", (DockerException,), {"__module__": "docker.errors"})
PYTEST_CELERY = module("pytest_celery.plugin")


def test_where_pytest_celery_finds_no_docker_three_ways_out_are_named():
    [(title, text)] = explained(DockerException(), ["celery_app", "celery_worker"], [PYTEST_CELERY])

    assert title == "taskharness: this celery_worker is pytest-celery's"
    assert text.splitlines() == [
        "expected: the fixture of celery.contrib.pytest, a worker in a thread of this process",
        "instead:  that of pytest-celery, which is installed: a worker in a container; and no Docker engine answers",
        "Three ways out:",
        "  - give the tests Celery's own fixture back:  pytest -p no:celery -p celery.contrib.pytest",
        "  - let the stepped worker serve it:           taskharness_replace_celery_fixtures = true  (in the ini file)",
        "  - if they are written for pytest-celery:     start a Docker engine, or say with DOCKER_HOST where it is",
    ]


@pytest.mark.parametrize(
    "error, names, plugins",
    [
        (RuntimeError(), ["celery_worker"], [PYTEST_CELERY]),
        (ImageNotFound(), ["celery_worker"], [PYTEST_CELERY]),
        (DockerException(), ["postgres"], [PYTEST_CELERY]),
        (DockerException(), ["celery_setup", "celery_worker"], [PYTEST_CELERY]),
        (DockerException(), ["celery_worker"], [module()]),
    ],
    ids=["another error", "an engine answers", "another container", "its own tests", "without pytest-celery"],
)
def test_nothing_else_is_explained(error, names, plugins):
    assert explained(error, names, plugins) == []
