"""The Celery app: ``celery -A carts.celeryapp worker``."""

from celery import Celery

app = Celery(
    "carts",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
    include=["carts.tasks"],
)
# Longer than anything waits or works.  Without this line it is an hour.
app.conf.broker_transport_options = {"visibility_timeout": 3 * 3600}
