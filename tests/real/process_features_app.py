"""The app of the tests of what only worker processes do: a worker has to be able to import it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

app = Celery("mill", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")


def is_again(task):
    """Whether this delivery is not the first."""
    return bool(task.request.delivery_info["redelivered"])


def by_name(name, args, kwargs, options, task=None, **more):
    """A route; to be given to a worker, it has to be found there."""
    return {"queue": f"for {name}"}


@app.task
def where():
    return os.getpid()


@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds


@app.task(acks_late=True)
def late_nap(seconds):
    time.sleep(seconds)
    return seconds


@app.task(acks_late=True)
def wait_for(gate):
    with Path(gate).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return "through"


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=False)
def nap_once(self, seconds):
    if not is_again(self):
        time.sleep(seconds)
    return "rested"


@app.task
def stubborn(seconds, marker):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        Path(marker).touch()
        time.sleep(seconds)


@app.task(bind=True, max_retries=1)
def impatient(self, seconds):
    try:
        time.sleep(0 if self.request.retries else seconds)
    except SoftTimeLimitExceeded as error:
        raise self.retry(exc=error, countdown=0) from None
    return "second try"


@app.task
def on_error(request, error, traceback):
    return None


@app.task(bind=True, reject_on_worker_lost=True)
def crash(self):
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True)
def crash_late(self):
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def nap_unless_again(self, seconds):
    if not is_again(self):
        time.sleep(seconds)
    return "again" if is_again(self) else "first"


@app.task(bind=True, acks_late=True)
def fail_late(self, seconds):
    time.sleep(seconds)
    raise ValueError("again" if is_again(self) else "first")


@app.task
def leave():
    raise SystemExit(3)
