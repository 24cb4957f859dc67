"""An app whose worker stops consuming a while after it has said so: any worker does, by a turn of its event loop."""

from __future__ import annotations

import time

from celery import Celery
from celery.worker.consumer import Consumer

app = Celery("late", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")
app.conf.worker_consumer = "process_late_app:LateConsumer"


class LateConsumer(Consumer):
    """Obeys ``cancel_consumer`` when the test has long gone on."""

    def cancel_task_queue(self, queue):
        time.sleep(0.5)
        super().cancel_task_queue(queue)


@app.task
def nothing():
    """Nothing to see: that it runs is."""
