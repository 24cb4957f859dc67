"""An app whose workers run a beat."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.beat import Scheduler
from celery.schedules import crontab
from celery.signals import beat_embedded_init

app = Celery("clockwork", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")
app.conf.beat_schedule = {
    "every minute": {"task": "process_beat_app.strike", "schedule": 60.0},
    "at half past": {"task": "process_beat_app.strike", "schedule": crontab(minute=30), "args": ("half",)},
}


@app.task
def strike(what="minute"):
    return what


@beat_embedded_init.connect
def tell_process(**_):
    if "BEAT_PIDS" in os.environ:
        Path(os.environ["BEAT_PIDS"], str(os.getpid())).touch()


class Broken(Scheduler):
    """Fails when it looks at its entries for the first time after the start."""

    ticks = 0

    def tick(self, *args, **kwargs):
        self.ticks += 1
        if self.ticks > 2:
            raise LookupError("the spring is gone")
        return super().tick(*args, **kwargs)


class Napping(Scheduler):
    """Looks every ten minutes, and sleeps on its way."""

    max_interval = 600

    def tick(self, *args, **kwargs):
        import time

        time.sleep(30)
        return super().tick(*args, **kwargs)
