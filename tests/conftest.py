"""What all tests share."""

from __future__ import annotations

from contextlib import suppress

# tests/extras and tests/neighbours run where Hypothesis is not installed, too.
with suppress(ModuleNotFoundError):
    from hypothesis import settings

    # Repeatable, and as slow as the machine happens to be; what was found once stands in a test of its own.
    settings.register_profile("taskharness", database=None, deadline=None, derandomize=True)
    settings.load_profile("taskharness")

pytest_plugins = ["pytester"]
