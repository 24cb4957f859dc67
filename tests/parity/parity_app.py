"""The app of all scenarios: a worker process can import it by its path, ``parity_app:app``.

The tasks stand beside their scenarios, in ``scenarios/``; Celery's own ``include`` loads them in a worker.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from celery import Celery
from kombu import Queue
from parity_log import Told

THEMES = sorted(path.stem for path in (Path(__file__).parent / "scenarios").glob("[a-z]*.py"))


class Parity(Celery):
    def gen_task_name(self, name, module):
        """As ``results.add``, wherever the module lies."""
        return f"{module.rpartition('.')[2]}.{name}"


app = Parity(
    "parity",
    broker="redis://localhost:1/0",  # read for the rules of its kind; a harness puts its own broker in its place
    include=[f"scenarios.{theme}" for theme in THEMES],
    task_cls=Told,
    set_as_current=False,
)
# One body at a time, first come, first served: what a real worker does is then repeatable.
app.conf.worker_concurrency = 1
app.conf.task_publish_retry = False
# A real worker consumes what is declared when it starts.
app.conf.task_queues = [Queue(name, routing_key=name) for name in ("celery", "slow", "kept")]

#: Never shared: the tasks must not appear in the apps of other tests.
task = partial(app.task, shared=False)


@task
def add(x, y):
    return x + y


@task
def total(numbers):
    return sum(numbers)


@task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@task
def boom(*args):
    raise ValueError("boom")
