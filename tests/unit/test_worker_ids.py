"""The ids that Celery draws while a harness is open."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import celery
import kombu.utils.uuid
import pytest

from pytest_taskharness.worker.ids import ids_for, seeded_ids


def some(count=3):
    return [celery.uuid() for _ in range(count)]


@pytest.fixture
def app():
    return SimpleNamespace()


def test_they_follow_from_the_seed(app):
    with seeded_ids(app, 7):
        first = some()
    with seeded_ids(app, 7):
        second = some()
    with seeded_ids(app, 8):
        other = some()

    assert first == second
    assert not set(first) & set(other)
    assert len(set(first)) == 3


def test_they_are_uuids_of_version_4(app):
    with seeded_ids(app, 0):
        assert {uuid.UUID(each).version for each in some()} == {4}


def test_afterwards_they_are_random_again(app):
    with seeded_ids(app, 0):
        some()
    assert kombu.utils.uuid.__defaults__ == (uuid.uuid4,)


def test_those_of_the_user_are_random_meanwhile(app):
    with seeded_ids(app, 0):
        first = uuid.uuid4()
    with seeded_ids(app, 0):
        assert uuid.uuid4() != first


def test_two_that_are_open_at_once_have_no_id_in_common(app):
    with seeded_ids(app, 0):
        outer = some()
        with seeded_ids(app, 0):
            inner = some()
        outer += some()

    assert len({*outer, *inner}) == 9


def test_one_inside_another_begins_anew_each_time(app):
    with seeded_ids(app, 0):
        with seeded_ids(app, 0):
            first = some()
        some()
        with seeded_ids(app, 0):
            assert some() == first


def test_they_may_be_closed_in_any_order(app):
    first, second = seeded_ids(app, 0), seeded_ids(app, 0)
    first.__enter__()
    second.__enter__()
    before = some()
    first.__exit__(None, None, None)
    with seeded_ids(app, 0):
        meanwhile = some()
    after = some()
    second.__exit__(None, None, None)

    assert len({*before, *meanwhile, *after}) == 9
    assert kombu.utils.uuid.__defaults__ == (uuid.uuid4,)


def test_each_purpose_has_its_own_and_so_has_what_is_opened_for_it(app):
    found = []
    for purpose in ("test_one", "test_two"):
        with ids_for(purpose):
            opened = seeded_ids(app, 0)
            opened.__enter__()
        found += some()
        with seeded_ids(app, 0):
            found += some()
        opened.__exit__(None, None, None)

    assert len(set(found)) == 12


def test_all_threads_of_an_app_have_one_oid_that_follows_from_the_seed(app):
    with seeded_ids(app, 7):
        oid = app._local.oid
    with seeded_ids(app, 7):
        assert app._local.oid == oid
