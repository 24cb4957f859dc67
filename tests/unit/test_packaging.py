"""What a user installs is what the repository says."""

from __future__ import annotations

import re
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def test_version_is_the_changelogs_newest():
    newest = re.search(r"^## \[(.+?)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert version("pytest-taskharness") == newest[1]


def test_type_hints_are_shipped():
    assert files("pytest_taskharness").joinpath("py.typed").is_file()


def test_pytest_finds_the_plugin():
    [plugin] = entry_points(group="pytest11", name="taskharness")

    assert plugin.value == "pytest_taskharness.plugin"
