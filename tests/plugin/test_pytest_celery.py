"""A suite for Celery's own fixtures, in an environment where pytest-celery is installed and no Docker runs.

The pytest-celery here is a stand-in with an entry point; tests/neighbours has the real one.
"""

from __future__ import annotations

import pytest

SUITE = """
import pytest

def test_a_worker(celery_worker):
    assert celery_worker == "in a thread"

def test_plain():
    pass
"""


@pytest.fixture
def installed(project):
    """What pip would have installed: a plugin that takes the name of Celery's, and the client of Docker."""
    project.file(
        **{
            "pytest_celery/__init__": "",
            "pytest_celery/plugin": """
            import pytest
            from docker.errors import DockerException

            @pytest.fixture(params=["celery_setup_worker"])
            def celery_worker(request):
                raise DockerException("Error while fetching server API version")
            """,
            "docker/__init__": "",
            "docker/errors": "class DockerException(Exception): ...",
            "stock": """
            import pytest

            @pytest.fixture
            def celery_worker():
                return "in a thread"
            """,
        }
    )
    info = project.pytester.mkdir("pytest_celery-1.3.0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-celery\nVersion: 1.3.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[pytest11]\ncelery = pytest_celery.plugin\n", encoding="utf-8")
    return project


EXPLAINED = [
    "*docker.errors.DockerException: Error while fetching server API version",
    "*- taskharness: this celery_worker is pytest-celery's -*",
    "expected: the fixture of celery.contrib.pytest, *",
    "instead:  that of pytest-celery, which is installed: *",
    "  - give the tests Celery's own fixture back:  pytest -p no:celery -p celery.contrib.pytest",
]


def test_the_error_says_whose_fixture_it_is(installed):
    result = installed.test(SUITE)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(EXPLAINED)


def test_the_error_says_so_under_xdist(installed):
    result = installed.test(SUITE, "-n", "1")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(EXPLAINED)


def test_the_first_way_out_leads_out(installed):
    result = installed.test(SUITE, "-p", "no:celery", "-p", "stock")

    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*pytest-celery*")
