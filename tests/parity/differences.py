"""Where a stepped worker differs from a real one: the table, each row with what exactly differs.

A row that no longer differs fails the suite, as does a difference without a row.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIFFERENCES", "Difference", "known"]


@dataclass(frozen=True)
class Difference:
    """One row.

    Attributes:
        number: Its number in the printed matrix.
        scenario: The scenario that shows it.
        modes: Where.
        title: The row of the table in ``docs/design.md`` that tells of it, by its first cell.
        lines: The lines that differ, as in a diff: ``-`` the worker process, ``+`` the mode.
    """

    number: int
    scenario: str
    modes: tuple[str, ...]
    title: str
    lines: tuple[str, ...]

    def shows(self, diff: list[str]) -> bool:
        """Whether this is exactly what a diff shows."""
        return [line for line in diff[2:] if line[0] in "+-"] == list(self.lines)


#: All stepped modes have the same worker.
STEPPED = ("memory", "fakeredis", "redis")

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        1,
        "unlike.two_bodies_at_once",
        STEPPED,
        title="bodies at the same time",
        lines=(
            "-the user saw at once",
            "+the user saw one after the other",
        ),
    ),
    Difference(
        2,
        "unlike.globals_of_a_module",
        STEPPED,
        title="module globals",
        lines=(
            "-the user saw 0",
            "+the user saw 1",
        ),
    ),
    Difference(
        3,
        "unlike.a_limit_on_a_body_that_computes",
        STEPPED,
        title="time limits",
        lines=(
            "-the user saw struck",
            "+the user saw computed",
            "-compute 1, attempt 1: on_success value='struck'",
            "-compute 1, attempt 1: success value='struck'",
            "-compute 1, attempt 1: after_return status='SUCCESS' value='struck'",
            "-compute 1, attempt 1: postrun state='SUCCESS' value='struck'",
            "+compute 1, attempt 1: on_success value='computed'",
            "+compute 1, attempt 1: success value='computed'",
            "+compute 1, attempt 1: after_return status='SUCCESS' value='computed'",
            "+compute 1, attempt 1: postrun state='SUCCESS' value='computed'",
            "-run compute 1: result struck, error None",
            "+run compute 1: result computed, error None",
        ),
    ),
    Difference(
        4,
        "unlike.terminated_while_it_runs",
        STEPPED,
        title="`revoke(terminate=True)` of a running task",
        lines=(
            "-the user saw ['REVOKED', 'TaskRevokedError: terminated']",
            "+the user saw ['SUCCESS', None]",
            "-sleep 1, attempt 1: postrun",
            "-sleep 1, attempt 1: revoked expired=False terminated=True",
            "+sleep 1, attempt 1: on_success",
            "+sleep 1, attempt 1: success",
            "+sleep 1, attempt 1: after_return status='SUCCESS'",
            "+sleep 1, attempt 1: postrun state='SUCCESS'",
            "-run sleep 1: unlike.sleep, PENDING, RECEIVED, STARTED, REVOKED",
            "+run sleep 1: unlike.sleep, PENDING, RECEIVED, STARTED, SUCCESS",
            "-run sleep 1: attempt 1: None None",
            "+run sleep 1: attempt 1: SUCCESS None",
        ),
    ),
    Difference(
        5,
        "unlike.a_broadcast_that_nobody_has_declared",
        STEPPED,
        title="exchanges that only the worker has declared",
        lines=(
            "-the user saw 0",
            "+the user saw 1",
            "-run hear 1: unlike.hear, PENDING",
            "+hear 1, attempt 1: received",
            "+hear 1, attempt 1: prerun",
            "+hear 1, attempt 1: before_start",
            "+hear 1, attempt 1: on_success",
            "+hear 1, attempt 1: success",
            "+hear 1, attempt 1: after_return status='SUCCESS'",
            "+hear 1, attempt 1: postrun state='SUCCESS'",
            "+run hear 1: unlike.hear, PENDING, RECEIVED, STARTED, SUCCESS",
            "+run hear 1: attempt 1: SUCCESS None",
            "-run hear 1: acked False, redelivered False, inline False",
            "+run hear 1: acked True, redelivered False, inline False",
        ),
    ),
)


def known(scenario: str, mode: str) -> Difference | None:
    """The row about a scenario in a mode."""
    return next((row for row in DIFFERENCES if row.scenario == scenario and mode in row.modes), None)
