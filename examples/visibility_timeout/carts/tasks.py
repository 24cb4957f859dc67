"""The tasks."""

from celery import chain
from celery.result import AsyncResult

from carts import archive, mail
from carts.celeryapp import app

TWO_HOURS = 2 * 3600
CHAPTERS = (1, 2, 3)


@app.task(autoretry_for=(mail.ProviderDown,), default_retry_delay=TWO_HOURS, max_retries=3)
def remind(cart_id: int) -> None:
    """Write to whoever left a cart behind."""
    mail.send(f"Your cart {cart_id} is still here")


@app.task
def remind_with_key(cart_id: int) -> None:
    """The same, and the provider knows which mail is meant."""
    mail.send(f"Your cart {cart_id} is still here", key=f"reminder-{cart_id}")


@app.task(acks_late=True)
def export(month: str) -> None:
    """Export a month in one go; acknowledged afterwards, so that the death of a worker does not lose it."""
    for chapter in CHAPTERS:
        archive.write(month, chapter)


@app.task(acks_late=True)
def export_chapter(month: str, chapter: int) -> None:
    """Export a third of a month."""
    archive.write(month, chapter)


def export_by_chapters(month: str) -> AsyncResult:
    """Export a month as three tasks, one after the other."""
    return chain(export_chapter.si(month, chapter) for chapter in CHAPTERS).delay()
