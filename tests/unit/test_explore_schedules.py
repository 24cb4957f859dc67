"""Which schedules there are for two copies, and in which order they are tried."""

from __future__ import annotations

from pytest_taskharness.explore.schedules import Search, lines_to_its_end
from pytest_taskharness.explore.stage import Step


def steps(copies):
    """As ``AABBA``: whose line each was."""
    return [Step(copy=ord(copy) - ord("A"), file="tasks.py", line=number) for number, copy in enumerate(copies)]


def run_two(schedule, *, lines):
    """Two copies of so many lines each, on a schedule."""
    left, ran, turn = [lines, lines], "", 0
    for wanted in schedule:
        count = min(wanted, left[turn])
        ran += "AB"[turn] * count
        left[turn] -= count
        turn = 1 - turn
    return steps(ran + "AB"[turn] * left[turn] + "AB"[1 - turn] * left[1 - turn])


def search(*, bound, lines, most=2_000, fails=()):
    tried = []

    def attempt(schedule):
        tried.append(schedule)
        return run_two(schedule, lines=lines), schedule not in fails

    looking = Search(bound, most)
    return looking, looking.run(attempt, lines=lines), tried


def test_how_long_the_one_went_on_whose_turn_it_was():
    assert lines_to_its_end((2,), steps("AABBBA")) == 3
    assert lines_to_its_end((2, 1), steps("AABAABB")) == 2
    assert lines_to_its_end((2,), steps("AA")) == 0


def test_with_one_preemption_the_second_copy_runs_between_two_lines_of_the_first():
    _, failed, tried = search(bound=1, lines=4)
    assert tried == [(1,), (2,), (3,), (4,)]
    assert failed is None


def test_with_two_the_first_copy_goes_on_between_two_lines_of_the_second():
    _, _, tried = search(bound=2, lines=2)
    assert tried == [(1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_with_three_there_are_no_more_than_there_are_lines_left():
    _, _, tried = search(bound=3, lines=3)
    found = [schedule for schedule in tried if len(schedule) == 3]
    assert found[:4] == [(1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2)]
    assert {schedule[0] + schedule[2] for schedule in found} == {2, 3}


def test_two_bodies_of_ten_lines_have_a_hundred_and_ten_schedules():
    looking, _, tried = search(bound=2, lines=10)
    assert looking.tried == len(tried) == len(set(tried)) == 110


def test_the_first_that_fails_ends_the_search():
    looking, failed, tried = search(bound=2, lines=3, fails={(1, 2)})
    assert failed == (1, 2) == tried[-1]
    assert looking.tried == 5


def test_one_that_needs_fewer_preemptions_is_found_first():
    _, failed, _ = search(bound=2, lines=3, fails={(2,), (1, 1)})
    assert failed == (2,)


def test_a_budget_leaves_some_out_and_says_so():
    looking, _, tried = search(bound=2, lines=10, most=20)
    assert len(tried) == 20
    assert looking.left_out


def test_a_body_of_one_line_can_be_interrupted_when_it_has_ended():
    _, _, tried = search(bound=2, lines=1)
    assert tried == [(1,), (1, 1)]


def test_a_body_without_lines_cannot_be_interrupted():
    _, _, tried = search(bound=2, lines=0)
    assert tried == []
