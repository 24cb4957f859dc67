import pytest

from reports import articles, source
from reports.celeryapp import app


@pytest.fixture(scope="session")
def taskharness_app():
    return app


class Accounting:
    """Stands in for the accounting system: it can be down, and a test can look on while a report is being built."""

    def __init__(self):
        self.outages = 0
        self.down_at = "orders"
        self.on_read = lambda section: None

    def count_rows(self, customer_id, month, section):
        self.on_read(section)
        if self.outages and section == self.down_at:
            self.outages -= 1
            raise source.SourceDown("accounting does not answer")
        return 10


@pytest.fixture
def accounting(monkeypatch):
    stand_in = Accounting()
    monkeypatch.setattr(source, "count_rows", stand_in.count_rows)
    return stand_in


@pytest.fixture
def article():
    yield articles.save(articles.Article(7, "Celery, on time"))
    articles.clear()
