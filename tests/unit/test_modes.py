"""Names of modes, as users write them."""

from __future__ import annotations

import re

import pytest

from pytest_taskharness import modes
from pytest_taskharness.errors import ConfigurationError

NAMES = ", ".join(modes.MODES)


@pytest.mark.parametrize(
    "values, expected",
    [
        (["memory"], ("memory",)),
        (["memory,eager"], ("memory", "eager")),
        (["eager", "memory"], ("eager", "memory")),
        ([" eager , memory "], ("eager", "memory")),
        (["memory,,", "memory"], ("memory",)),
        (["all"], tuple(modes.MODES)),
        (["redis,all"], ("redis", *(name for name in modes.MODES if name != "redis"))),
    ],
)
def test_lists_are_split_and_each_mode_is_named_once(values, expected):
    assert modes.parse(values, origin="here") == expected


def test_the_default_is_a_mode_that_works():
    assert modes.DEFAULT in modes.MODES


def test_a_planned_mode_is_never_one_that_works():
    assert not modes.MODES.keys() & modes.PLANNED.keys()


def test_a_misspelt_mode_is_answered_with_the_one_that_was_meant():
    with pytest.raises(ConfigurationError) as caught:
        modes.parse(["memmory"], origin="--taskharness-mode")

    assert str(caught.value) == (
        f"unknown mode 'memmory' (from --taskharness-mode). Did you mean 'memory'? Modes: {NAMES}, or all."
    )


def test_a_mode_that_resembles_none_lists_them():
    with pytest.raises(ConfigurationError) as caught:
        modes.parse(["xyz"], origin="here")

    assert str(caught.value) == f"unknown mode 'xyz' (from here). Modes: {NAMES}, or all."


@pytest.mark.parametrize("name", modes.PLANNED)
def test_a_planned_mode_says_that_it_is_planned(name):
    with pytest.raises(ConfigurationError) as caught:
        modes.parse([name], origin="the marker")

    assert str(caught.value) == (
        f"mode {name!r} (from the marker) is planned and not in this version. Modes that work: {NAMES}."
    )


@pytest.mark.parametrize("values", [[], [""], [" , "]])
def test_no_name_at_all_is_an_error(values):
    with pytest.raises(ConfigurationError, match=rf"^here names no mode\. Modes: {re.escape(NAMES)}, or all\.$"):
        modes.parse(values, origin="here")


def test_modes_are_case_sensitive_but_the_near_miss_is_found():
    with pytest.raises(ConfigurationError, match="Did you mean 'memory'"):
        modes.parse(["Memory"], origin="here")
