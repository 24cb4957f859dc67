"""The app that the tests of real workers share: a worker has to be able to import it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from celery import Celery, group
from celery.result import allow_join_result

app = Celery("plant", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")


class Refused(Exception):
    """Cannot be made again from its ``args``."""

    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code


class Stuck(Exception):
    """Holds what cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def push(url, key, value):
    import redis

    with redis.Redis.from_url(url) as client:
        client.lpush(key, value)


@app.task
def where():
    return os.getpid()


@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds


@app.task(bind=True, max_retries=5)
def flaky(self, failures, countdown=0):
    if self.request.retries < failures:
        raise self.retry(exc=ValueError("not yet"), countdown=countdown)
    return "at last"


@app.task
def refuse():
    raise Refused(7, reason="closed")


@app.task
def get_stuck():
    raise Stuck("in a lift")


@app.task
def raise_something_local():
    class Local(LookupError):
        pass

    raise Local("known to nobody else")


@app.task(bind=True)
def progress(self):
    self.update_state(state="HALFWAY", meta={"done": 1})
    return 2


@app.task
def remember(request, error, traceback):
    return None


@app.task
def spread(number):
    for each in range(number):
        add.delay(each, each)


@app.task
def send_elsewhere(queue):
    add.apply_async((1, 2), queue=queue)


@app.task
def leave(code):
    os._exit(code)


@app.task(acks_late=True, reject_on_worker_lost=True)
def leave_once(marker):
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task
def kill_main_process():
    os.kill(os.getppid(), signal.SIGKILL)


@app.task
def nap_and_clean_up(seconds, marker):
    try:
        time.sleep(seconds)
    except Exception as error:
        return type(error).__name__
    finally:
        Path(marker).touch()


@app.task
def grow(megabytes):
    grow.ballast = bytearray(megabytes * 1024 * 1024)
    return os.getpid()


@app.task(acks_late=True)
def late_nap(seconds):
    time.sleep(seconds)
    return "rested"


@app.task
def nap_and_add(seconds, x, y):
    time.sleep(seconds)
    return x + y


@app.task
def ask(x, y, countdown=0, queue="celery", timeout=None):
    with allow_join_result():
        return add.apply_async((x, y), countdown=countdown, queue=queue).get(timeout=timeout)


@app.task
def ask_many(numbers):
    with allow_join_result():
        return group(nap_and_add.s(each, each, each) for each in numbers).delay().get()


@app.task
def read_clocks():
    before = time.time(), time.monotonic(), datetime.now(timezone.utc).isoformat()
    time.sleep(90)
    after = time.time(), time.monotonic(), datetime.now(timezone.utc).isoformat()
    return after[0] - before[0], after[1] - before[1], before[2], after[2]


@app.task
def date_of_a_child_process():
    return subprocess.run(["date", "+%Y"], capture_output=True, text=True, check=True).stdout.strip()


@app.task(acks_late=True)
def append_line(path):
    with Path(path).open("a") as file:
        file.write("line\n")


@app.task(acks_late=True)
def write_line(path):
    Path(path).write_text("line\n")


def tidy_up(self, *args):
    time.sleep(0.3)


@app.task(after_return=tidy_up)
def tidy():
    return "tidied"
