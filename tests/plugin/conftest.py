"""Each test meets the plugin as a user does."""

from __future__ import annotations

import pytest
from users_project import Project


@pytest.fixture
def project(pytester):
    return Project(pytester)


@pytest.fixture
def no_app(project):
    """A project that has not said which app it tests."""
    project.ini()
    return project
