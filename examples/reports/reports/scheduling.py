"""Publishing articles later."""

from datetime import datetime

from celery.result import AsyncResult

from reports.tasks import publish_article


def schedule_in_an_hour(article_id: int) -> AsyncResult:
    """Leave an hour to have second thoughts."""
    return publish_article.apply_async((article_id,), countdown=3600)


def schedule_at(article_id: int, when: datetime) -> AsyncResult:
    """Publish at a certain moment (aware)."""
    return publish_article.apply_async((article_id,), eta=when)
