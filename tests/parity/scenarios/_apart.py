"""Tasks with a Request or a Strategy of their own: the worker of such an app is not used again for another test.

A scenario that needs them has ``imports=APART`` in its settings, and finds them by ``task_apart()``.
"""

from __future__ import annotations

import time
from importlib.util import find_spec

from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy
from parity_app import app, task
from parity_log import Told, note


class Watching(Request):
    """Writes down what the worker's main process makes of a task."""

    def on_success(self, failed__retval__runtime, **kwargs):
        note("request: on_success", self.id)
        return super().on_success(failed__retval__runtime, **kwargs)

    def on_failure(self, exc_info, *args, **kwargs):
        note("request: on_failure", self.id, error=type(exc_info.exception).__name__)
        return super().on_failure(exc_info, *args, **kwargs)

    def on_retry(self, exc_info):
        note("request: on_retry", self.id, retries=self.request_dict["retries"])
        return super().on_retry(exc_info)

    def on_timeout(self, soft, timeout):
        note("request: on_timeout", self.id, soft=bool(soft), timeout=timeout)
        return super().on_timeout(soft, timeout)


class Watched(Told):
    """Its messages become requests of another class."""

    abstract = True
    Request = Watching


@task(base=Watched, bind=True, max_retries=1)
def watched(self, what):
    if what == "fail":
        raise ValueError("no")
    if what == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if what == "sleep":
        time.sleep(10)
    return what


def choosy(task, app, consumer):
    """Acknowledges what is stale, and leaves the rest to Celery."""
    handle = default_strategy(task, app, consumer)

    def task_message_handler(message, body, ack, reject, callbacks, **kwargs):
        if message.headers.get("stale"):
            ack(None, consumer.connection_errors)
            return
        handle(message, body, ack, reject, callbacks, **kwargs)

    return task_message_handler


@task(Strategy="scenarios._apart:choosy")
def chosen(value):
    return value


if find_spec("celery_batches"):
    from celery_batches import Batches

    @task(base=Batches, flush_every=3, flush_interval=1)
    def double(requests):
        numbers = [request.args[0] for request in requests]
        note("batch", requests[0].id, numbers=numbers)
        if -1 in numbers:
            raise ValueError("a bad batch")
        if -2 in numbers:
            time.sleep(10)
        for request in requests:
            app.backend.mark_as_done(request.id, request.args[0] * 2, request=request)
