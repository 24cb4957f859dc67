"""The app of the tests of workers that go on: its tasks leave behind whatever a process can be left with."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from celery import Celery
from celery.result import allow_join_result

app = Celery("trail", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")

seen: list[object] = []


@app.task
def add(x, y):
    return x + y


@app.task
def where():
    return os.getpid()


@app.task
def leave_everything(folder):
    seen.append(folder)
    os.environ["TRAIL"] = folder
    os.chdir(folder)
    sys.path.append(folder)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    app.conf.task_time_limit = 1
    add.max_retries = 77
    os.umask(0o077)
    Path.exists = lambda self: "patched"
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


@app.task
def look_around():
    umask = os.umask(0o022)
    os.umask(umask)
    return [
        list(seen), os.environ.get("TRAIL"), str(Path.cwd()), sys.path[-1], str(signal.getsignal(signal.SIGUSR1)),
        app.conf.task_time_limit, add.max_retries, umask, Path("/").exists(), threading.active_count(),
    ]  # fmt: skip


@app.task
def read_monotonic():
    return time.monotonic()


@app.task
def publish_later(pipe):
    """Long after it has ended."""

    def publish():
        Path(pipe).read_bytes()
        add.delay(1, 2)

    threading.Thread(target=publish, daemon=True).start()


@app.task
def slow_others_down():
    with allow_join_result():
        app.control.rate_limit(add.name, "1/m", reply=True, limit=1)


@app.task
def crash():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def print_something(text):
    sys.stdout.write(f"{text}\n")
