"""Tests beside plugins that must not be in the environment of the others: ``tox -e neighbours``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Suites that do not use the harness, and the project of a user.
sys.path.append(str(Path(__file__).parents[1] / "plugin"))

from users_project import Project


@pytest.fixture
def project(pytester):
    return Project(pytester)
