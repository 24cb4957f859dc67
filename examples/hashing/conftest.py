import pytest

from hashing.celeryapp import app
from hashing.jobs import Jobs


@pytest.fixture(scope="session")
def taskharness_app():
    return app


@pytest.fixture
def jobs():
    """An empty table of jobs; each test has its own."""
    jobs = Jobs()
    yield jobs
    jobs.close()
