"""A program whose app is its own: a worker must not run what stands under ``if __name__ == "__main__"``."""

from __future__ import annotations

from celery import Celery

app = Celery("program", broker="redis://nowhere.invalid:1/0", backend="redis://nowhere.invalid:1/0")


@app.task
def where():
    return __name__


if __name__ == "__main__":
    from process_worlds import opened

    with opened(app):
        print(where.name, where.delay().get(timeout=20))  # noqa: T201 - it is a program
