"""What all tests share."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

# tests/extras and tests/neighbours run where Hypothesis is not installed, too.
with suppress(ModuleNotFoundError):
    from hypothesis import settings

    # Repeatable, and as slow as the machine happens to be; what was found once stands in a test of its own.
    settings.register_profile("taskharness", database=None, deadline=None, derandomize=True)
    settings.load_profile("taskharness")

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def needed():
    """``needed(thing, what)``: the thing; where it is missing, skip the test, but in CI fail it."""

    def check(thing, what):
        if thing:
            return thing
        if os.environ.get("CI"):
            pytest.fail(f"CI must have what the tests need; missing: {what}")
        pytest.skip(f"needs {what}")

    return check


@pytest.fixture(scope="session")
def libfaketime(needed):
    """What moves the clock of a worker process."""
    from pytest_taskharness.process.between.faketime import find_library

    return needed(find_library(), "libfaketime")
