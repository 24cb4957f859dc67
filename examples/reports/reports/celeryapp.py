"""The Celery app: ``celery -A reports.celeryapp worker -Q celery,reports``."""

from celery import Celery

app = Celery(
    "reports",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
    include=["reports.tasks", "reports.delivery"],
)
app.conf.update(
    task_routes={"reports.tasks.build_report": {"queue": "reports"}},
    result_expires=86400,
)
