"""What is random comes again with the seed, and a failure says which one it was."""

from __future__ import annotations

import re

import pytest

PUBLISHING = """
from shop import add

def test_one(harness):
    print("one:", add.delay(1, 2).id)

def test_two(harness):
    print("two:", add.delay(1, 2).id)
"""


def ids(result):
    found = re.findall(r"(?:one|two): (\S+)", result.stdout.str())
    assert len(found) == 2
    return found


def test_the_ids_of_a_test_are_the_same_each_time_and_no_other_tests(project):
    first, second = ids(project.test(PUBLISHING, "-s")), ids(project.run("-s"))

    assert first == second
    assert first[0] != first[1]


def test_another_seed_gives_other_ids(project):
    first, second = ids(project.test(PUBLISHING, "-s")), ids(project.run("-s", "--taskharness-seed=1"))

    assert not set(first) & set(second)


@pytest.mark.parametrize("arguments", [[], ["-n", "1"]])
def test_a_harness_that_the_test_has_opened_is_shown_in_its_failure_too(project, arguments):
    result = project.test(
        """
        from pytest_taskharness import Harness
        from shop import add, app

        def test_fails():
            with Harness.open(app, seed=12) as harness:
                add.delay(1, 2)
                assert harness is None
        """,
        *arguments,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*--- taskharness timeline (memory, seed 12) ---*", "*publish  shop.add *  (1, 2)*"])


def test_never_means_never_for_that_one_too(project):
    result = project.test(
        """
        from pytest_taskharness import Harness
        from shop import app

        def test_fails():
            with Harness.open(app) as harness:
                assert harness is None
        """,
        "--taskharness-timeline=never",
    )

    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*taskharness timeline*")
