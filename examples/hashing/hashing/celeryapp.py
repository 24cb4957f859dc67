"""The Celery app: ``celery -A hashing.celeryapp worker``."""

from celery import Celery

app = Celery(
    "hashing",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
    include=["hashing.tasks", "hashing.billing"],
)
