"""A small project of a user, in a process of its own."""

from __future__ import annotations

SHOP = """
from celery import Celery

app = Celery("shop", broker="amqp://nobody@nowhere.invalid//", backend="redis://nowhere.invalid/0")


@app.task
def add(x, y):
    return x + y


@app.task
def boom():
    raise RuntimeError("boom")


@app.task
def charge(card, amount):
    raise RuntimeError("declined")
"""


class Project:
    """A directory with a `shop` and a configuration that names its app."""

    def __init__(self, pytester):
        self.pytester = pytester
        pytester.makepyfile(shop=SHOP)
        self.ini("taskharness_app = shop:app")

    def ini(self, *lines):
        self.pytester.makeini("\n".join(["[pytest]", *lines]))

    def file(self, **files):
        """Write `name.py` for each argument."""
        self.pytester.makepyfile(**files)

    def run(self, *args):
        """Run pytest; without Hypothesis's plugin, which takes longer to load than all the rest."""
        return self.pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *args, timeout=120
        )  # fmt: skip

    def test(self, source, *args):
        """Run one test module."""
        self.file(test_shop=source)
        return self.run(*args)
