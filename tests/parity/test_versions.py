"""The installed Celery does what the table says of its release, and the page has the rows of the table.

That the other modes do what a real worker does is a matter of ``test_parity.py``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import celery
import pytest
import version_probes
from celery.app.defaults import DEFAULTS
from parity_scenario import load
from parity_trace import play
from version_table import BEHAVIOURS, OLDEST, SETTINGS, markdown, number

PAGE = Path(__file__).parents[2] / "docs" / "celery-versions.md"
INSTALLED = celery.VERSION[:3]
SHOWN = [behaviour for behaviour in BEHAVIOURS if not behaviour.is_probe]
PROBED = [behaviour for behaviour in BEHAVIOURS if behaviour.is_probe]
# Before Celery 5.7, a hook that raises is a warning of the worker's.
pytestmark = pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")


def each(behaviours):
    """One test for each, with the name of its scenario."""
    return [pytest.param(each, id=f"{each.seen}-{position}") for position, each in enumerate(behaviours)]


def check(behaviour, trace):
    """The trace shows what holds in this release, and nothing that holds only in another one."""
    holds = behaviour.step(INSTALLED)
    others = {line for step in behaviour.steps if step.shows != holds.shows for line in step.shows}
    missing = [line for line in holds.shows if line not in trace]
    wrong = [line for line in trace if line in others]
    if missing or wrong:
        told = [f"Celery {celery.__version__}: {behaviour.what}: {holds.says} (since {holds.since}). Instead:"]
        pytest.fail("\n".join([*told, *(f"missing: {line}" for line in missing), *trace]), pytrace=False)


@pytest.mark.parametrize("behaviour", each(SHOWN))
def test_a_stepped_worker_does_what_this_release_does(behaviour, log):
    check(behaviour, play(load()[behaviour.seen], "memory"))


@pytest.mark.parametrize("behaviour", each(SHOWN))
def test_a_real_worker_does_what_this_release_does(behaviour, expected):
    check(behaviour, expected(behaviour.seen))


@pytest.mark.parametrize("behaviour", each(PROBED))
def test_this_release_does_what_the_table_says(behaviour):
    holds = behaviour.step(INSTALLED)
    assert getattr(version_probes, behaviour.seen)() == holds.shows, f"{behaviour.what}: {holds.says}"


@pytest.mark.parametrize("name, since", SETTINGS.items())
def test_a_setting_is_known_since_the_release_that_the_table_says(name, since):
    assert (name in DEFAULTS) == (number(since) <= INSTALLED)


def test_the_page_has_the_rows_of_the_table():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert [row for row in rows if "---" not in row and row not in HEADS] == list(markdown())


HEADS = ["| what | before | since | now |", "| setting | since |"]


@pytest.mark.parametrize("behaviour", each(BEHAVIOURS))
def test_each_step_differs_from_the_one_before(behaviour):
    first, *later = behaviour.steps
    assert first.since == OLDEST
    assert later
    numbers = [number(step.since) for step in behaviour.steps]
    assert numbers == sorted(set(numbers))
    shown = [step.shows for step in behaviour.steps]
    assert all(one != other for one, other in pairwise(shown))


def test_each_scenario_of_versions_is_in_the_table():
    known = {behaviour.seen for behaviour in BEHAVIOURS} | {"versions.revoked_after_its_success"}
    assert {name for name in load() if name.startswith("versions.")} <= known
