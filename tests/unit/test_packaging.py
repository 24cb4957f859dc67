"""What a user installs is what the repository says."""

from __future__ import annotations

import re
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHANGELOG = ROOT / "CHANGELOG.md"
#: A requirement with a lower bound.
REQUIREMENT = re.compile(r'"(?P<name>[\w-]+)>=(?P<version>[\d.]+)[^"]*"')


def test_version_is_the_changelogs_newest():
    newest = re.search(r"^## \[(.+?)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert version("pytest-taskharness") == newest[1]


def test_type_hints_are_shipped():
    assert files("pytest_taskharness").joinpath("py.typed").is_file()


def test_pytest_finds_the_plugin():
    [plugin] = entry_points(group="pytest11", name="taskharness")

    assert plugin.value == "pytest_taskharness.plugin"


def test_the_environment_of_lower_bounds_has_the_bounds_of_the_project():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    required = project[project.index("dependencies = [") : project.index("# All that the tests, the checks")]
    bounds = {found["name"]: found["version"] for found in REQUIREMENT.finditer(required)}
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^    lowest: ([\w-]+)==([\d.]+)", tox, re.MULTILINE))

    assert {"celery", "freezegun", "pytest", "fakeredis", "hypothesis"} <= set(bounds)
    assert {name: shortened(pins[name]) for name in bounds} == {name: shortened(at) for name, at in bounds.items()}


def shortened(version):
    """3 is 3.0, and 3.0.0."""
    return re.sub(r"(\.0)+$", "", version)


def test_every_folder_of_tests_is_run():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    run = set(re.findall(r'"(tests/\w+)"', project[project.index("testpaths") :].partition("]")[0]))
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}

    assert folders == run | {"tests/neighbours"}
    assert "no:celery" in (ROOT / "tox.ini").read_text(encoding="utf-8").partition("tests/neighbours")[0]
