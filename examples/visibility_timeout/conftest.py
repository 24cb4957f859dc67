import pytest

from carts import mail
from carts.celeryapp import app


@pytest.fixture(scope="session")
def taskharness_app():
    return app


@pytest.fixture
def sent():
    """The mails that were sent."""
    yield mail.sent
    mail.clear()
