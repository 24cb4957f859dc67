"""The tasks."""

import time
from datetime import datetime, timezone

from reports import articles, source
from reports.celeryapp import app
from reports.models import Format, Progress, Report


@app.task(
    bind=True,
    autoretry_for=(source.SourceDown,),
    retry_backoff=True,
    retry_jitter=False,
    max_retries=5,
)
def build_report(self, customer_id: int, *, month: str, fmt: Format = "pdf") -> dict:
    """Build the report of one customer and one month: five sections, two seconds each."""
    rows = 0
    for done, section in enumerate(source.SECTIONS, start=1):
        rows += source.count_rows(customer_id, month, section)
        time.sleep(2)  # typesetting
        self.update_state(state="PROGRESS", meta=Progress(done=done, total=len(source.SECTIONS)).model_dump())
    path = f"/reports/{customer_id}/{month}.{fmt}"
    return Report(customer_id=customer_id, month=month, fmt=fmt, rows=rows, path=path).model_dump()


@app.task
def publish_article(article_id: int) -> None:
    """Put an article online, now."""
    articles.get(article_id).published_at = datetime.now(timezone.utc)
