"""The app of the tests with workers on a RabbitMQ: a worker has to be able to import it."""

from __future__ import annotations

import time

from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

app = Celery("yard", broker="amqp://nowhere.invalid//", backend="redis://nowhere.invalid:1/0")
app.conf.task_queues = [
    Queue("celery"), Queue("urgent", routing_key="urgent", queue_arguments={"x-max-priority": 10}), Broadcast("all"),
    Queue("delayed", routing_key="delayed", queue_arguments={"x-message-ttl": 1000}),
]  # fmt: skip


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def nap(seconds):
    time.sleep(seconds)


@app.task(bind=True, max_retries=3)
def flaky(self, failures):
    if self.request.retries < failures:
        raise self.retry(countdown=60)
    return "at last"


@app.task(bind=True, acks_late=True)
def nap_once(self, seconds):
    again = bool(self.request.delivery_info["redelivered"])
    if not again:
        time.sleep(seconds)
    return "again" if again else "first"
