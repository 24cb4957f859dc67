"""The program of a worker process: ``python -m pytest_taskharness.process.inside.child DIRECTORY``.

It imports the user's app as ``celery -A`` would, points it at the test's broker, and is ``celery worker`` from there.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

__all__ = ["main"]

#: What Celery's command line takes from the environment; it would lead a test's worker to another broker.
_LEADS_AWAY = (
    "BROKER_URL", "RESULT_BACKEND", "APP", "LOADER", "WORKDIR", "CELERY_BROKER_URL", "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND",
)  # fmt: skip
CANNOT_START = 70


def main(directory: str) -> int:
    """Be a worker until told to stop."""
    from ..between.spec import SPEC, WorkerSpec
    from .moving import join_the_clock

    os.environ[SPEC] = directory
    spec = WorkerSpec.read(Path(directory))
    try:
        if spec.instant is not None:
            join_the_clock(spec.instant)
        app = _prepared_app(spec)
    except BaseException as error:  # noqa: BLE001 - also SystemExit, from a module that is a script
        return _cannot_start(error)
    return _work(app, spec)


def _prepared_app(spec: Any) -> Any:
    from .importing import import_app, name_main

    name_main(spec)
    if spec.instant is not None:
        from .sleeping import sleep_by_the_clock

        sleep_by_the_clock()
    app = import_app(spec)
    from .amqp_worker import is_amqp, own_copies
    from .beating import watch_beat
    from .belonging import belong_to_test
    from .collecting import watch_strategies
    from .scribe import the_scribe
    from .tracing import listen, watch_pool
    from .watching import watch_consumer

    belong_to_test(app, spec)
    scribe = the_scribe()
    if is_amqp(scribe):
        own_copies(app)
    listen(scribe, app)
    collection = watch_strategies(scribe)
    watch_consumer(scribe)
    watch_pool(collection)
    watch_beat(scribe)
    if spec.instant is not None:
        from .holding import hold_by_the_clock
        from .sleeping import tell_of_waits

        hold_by_the_clock()
        tell_of_waits()
    return app


def _cannot_start(error: BaseException) -> int:
    from ...worker.borrowing.apps import user_part
    from .scribe import the_scribe

    traceback.print_exc()
    found = user_part(error.__traceback__) or error.__traceback__
    lines = traceback.format_exception(type(error), error, found)
    the_scribe().note("failed", error=f"{type(error).__name__}: {error}", traceback="".join(lines))
    return CANNOT_START


def _work(app: Any, spec: Any) -> int:
    from celery import signals
    from click import ClickException

    from .scribe import the_scribe

    kept = {name: os.environ.pop(name) for name in _LEADS_AWAY if name in os.environ}

    def put_back(**_: object) -> None:
        # The user's tasks may read them; Celery's configuration must not.
        os.environ.update({name: value for name, value in kept.items() if not name.startswith("CELERY_")})

    signals.celeryd_init.connect(put_back, weak=False)
    try:
        app.worker_main(argv=["worker", *spec.arguments])
    except ClickException as error:
        the_scribe().note("failed", error=error.format_message(), traceback="")
        return CANNOT_START
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
